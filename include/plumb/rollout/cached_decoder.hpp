// SPDX-License-Identifier: BSL-1.0
// Sequences that grow token by token: their keys and values lie in a cache, and a sequence is a list of cache rows.
#pragma once

#include <span>
#include <utility>
#include <vector>

#include <plumb/models/adapter_set.hpp>
#include <plumb/models/policy.hpp>
#include <plumb/rollout/cache_rows.hpp>

namespace plumb::inline v0 {

/// The cache rows of one sequence, position by position. Copying it forks the sequence: rows are never overwritten, so
/// samples of one prompt, and beams, share what they have in common.
using token_path = std::vector<std::int32_t>;

/// Runs a model on growing sequences. Not shared between threads.
template <class B, class T>
class cached_decoder {
 public:
  /// `adapters` off: the reference. `panels`: the first `advance` copies the weights into the order in which products of
  /// few rows read them fastest, where the backend has one; it takes the weights' memory once more, but for copies that
  /// the model keeps (`language_model::keep_copies`), which are used in any case.
  /// `named`: adapters that sequences choose among; null: all run with what is on the model. It must outlive the decoder.
  cached_decoder(const language_model<B, T>& model, bool adapters, bool panels = true,
                 const adapter_table<B, T>* named = nullptr)
      : model_(model), adapters_(adapters), wants_panels_(panels), kept_(model.copies()), tape_(model.device()) {
    if (model.config().encodes()) throw error(errc::unsupported, model.source(), detail::no_next_token);
    mixture_.table = named;
    if (kept_ && !kept_->up_to_date()) kept_.reset();
    if (kept_) {
      panels_.set_others(&kept_->panels());
      wants_panels_ = true;
    }
    tape_.set_recording(false);
  }

  [[nodiscard]] const language_model<B, T>& model() const noexcept { return model_; }
  [[nodiscard]] plumb::tape<B, T>& tape() noexcept { return tape_; }
  /// Rows of the cache that fit `bytes`.
  [[nodiscard]] index_t affordable_rows(std::size_t bytes) const {
    const auto& s = model_.network().sizes();
    const auto numbers = static_cast<std::size_t>(std::max<index_t>(1, 2 * s.layers * s.kv_width));
    const std::size_t row_bytes = kv_cache<B, T>::number_bytes(*model_.device()) * numbers;
    return static_cast<index_t>(bytes / row_bytes);
  }
  /// Forgets all sequences and makes room for `rows` tokens. `stretch`: how many tokens a sequence will have of its own, so that
  /// their rows lie side by side.
  void reset(index_t rows, index_t stretch = 1) {
    const auto& s = model_.network().sizes();
    const auto& tokens = model_.network().ahead();
    cache_.reset(model_.device(), s.layers, s.kv_width, rows, tokens ? tokens->count : 0);
    rows_.reset(cache_.capacity, stretch);
  }

  /// Rows that are taken; `reset` frees them.
  [[nodiscard]] index_t used_rows() const noexcept { return rows_.used(); }
  [[nodiscard]] index_t capacity() const noexcept { return cache_.capacity; }

  /// Reads prompts into free rows of the cache; gives each one's path and, `copies` times one after another, the logits after
  /// its last token, [prompts · copies, vocabulary]. They live until the next call. `adapters`: each prompt's, by number;
  /// empty: what is on the model.
  variable<B, T> start(std::span<const std::vector<token_id>> prompts, index_t copies, std::vector<token_path>& paths,
                       std::span<const index_t> adapters = {}) {
    forest all;
    for (std::size_t i = 0; i < prompts.size(); ++i)
      all.add_root(prompts[i], adapters.empty() ? own_adapter : adapters[i]);
    all.lay_out(layout_);
    places_.clear();
    rows_.begin(static_cast<index_t>(layout_.tokens.size()), places_);
    const auto place_of = [&](index_t row) { return places_[static_cast<std::size_t>(row)]; };
    for (std::int32_t& row : layout_.key_rows) row = place_of(row);
    paths.clear();
    std::vector<std::int32_t> last;
    for (std::size_t i = 0; i < prompts.size(); ++i) {
      const segment& s = all[static_cast<index_t>(i)];
      paths.emplace_back();
      for (index_t r = s.first; r < s.first + s.length; ++r) paths.back().push_back(place_of(r));
      last.insert(last.end(), static_cast<std::size_t>(copies), static_cast<std::int32_t>(s.first + s.length - 1));
    }
    return run(last);
  }
  /// Appends tokens[i] to paths[i]; the logits after them, [paths, vocabulary], live until the next call.
  variable<B, T> advance(std::span<token_path* const> paths, std::span<const token_id> tokens,
                         std::span<const index_t> adapters = {}) {
    if (std::exchange(wants_panels_, false)) make_panels();
    layout_ = {};
    places_.clear();
    std::vector<std::int32_t> last;
    for (std::size_t i = 0; i < paths.size(); ++i) {
      token_path& path = *paths[i];
      const auto row = static_cast<std::int32_t>(i), position = static_cast<std::int32_t>(path.size());
      layout_.tokens.push_back(tokens[i]);
      layout_.positions.push_back(position);
      layout_.segments.push_back({row, 1, position, static_cast<std::int32_t>(layout_.key_rows.size())});
      layout_.row_segment.push_back(row);
      path.push_back(rows_.after(path.back()));
      places_.push_back(path.back());
      layout_.key_rows.insert(layout_.key_rows.end(), path.begin(), path.end());
      append_rows(layout_.adapters, 1, adapters.empty() ? own_adapter : adapters[i]);
      last.push_back(row);
    }
    return run(last);
  }

  /// Logits on the host, [rows · vocabulary].
  std::vector<T> download(const variable<B, T>& logits) {
    std::vector<T> out(static_cast<std::size_t>(logits.value.size()));
    B::download(tape_.device(), logits.value.data, out.data(), logits.value.size());
    return out;
  }
  /// log p(tokens[i]) under row i of the logits, nats: the bits that training computes.
  std::vector<T> log_probabilities(const variable<B, T>& logits, std::span<const token_id> tokens) {
    const auto count = static_cast<index_t>(tokens.size());
    T* logp = tape_.memory().template make_array<T>(count);
    const std::vector<std::int32_t> targets(tokens.begin(), tokens.end());
    B::row_statistics(tape_.device(), logits.value, upload(tape_, std::span<const std::int32_t>(targets)),
                      row_outputs<T>{logp, nullptr, nullptr, nullptr});
    std::vector<T> out(tokens.size());
    B::download(tape_.device(), static_cast<const T*>(logp), out.data(), count);
    return out;
  }

 private:
  void make_panels() {
    const auto add = [&](const lora<B, T>& change) {
      panels_.add(*change.a);
      panels_.add(*change.b);
    };
    model_.network().for_each_linear([&](const std::string&, linear<B, T>& map) {
      panels_.add(*map.weight);
      if (adapters_ && map.adapter) add(*map.adapter);
    });
    if (adapters_ && mixture_.table) mixture_.table->for_each(add);
    panels_.make(model_.device());
    tape_.set_panels(&panels_);
  }
  variable<B, T> run(std::span<const std::int32_t> rows) {
    tape_.reset();
    pass<B, T> p{tape_, upload(tape_, layout_), &cache_, adapters_};
    if (mixture_.table && !layout_.one_adapter()) {
      mixture_.rows = layout_.adapters;
      mixture_.head_rows = ranges_of(layout_.adapters, rows);
      p.mixture = &mixture_;
    }
    cache_.used = places_.front();
    bool side_by_side = true;
    for (std::size_t i = 1; i < places_.size(); ++i) side_by_side = side_by_side && places_[i] == places_[i - 1] + 1;
    cache_.rows = side_by_side ? nullptr : upload(tape_, std::span<const std::int32_t>(places_));
    const auto hidden = model_.network().hidden(p);  // [tokens, width]
    cache_.rows = nullptr;                           // it lies in the step's memory
    const auto count = static_cast<index_t>(rows.size());
    const auto last = gather_rows(tape_, hidden, upload(tape_, rows), count);  // [rows, width]
    return model_.network().logits(p, last);                                   // [rows, vocabulary]
  }

  language_model<B, T> model_;
  bool adapters_, wants_panels_;
  adapter_mixture<B, T> mixture_;
  std::shared_ptr<const kept_weights<B, T>> kept_;  ///< the model's, or null
  weight_panels<B, T> panels_;
  plumb::tape<B, T> tape_;
  kv_cache<B, T> cache_;
  cache_rows rows_;
  std::vector<std::int32_t> places_;  ///< the rows of the tokens that run
  batch_layout layout_;
};

/// Throws errc::bad_argument for an empty prompt, one that leaves no position for a reply, or an id outside the
/// vocabulary.
template <class B, class T>
void check_prompts(const language_model<B, T>& model, std::span<const std::vector<token_id>> prompts) {
  const auto& sizes = model.network().sizes();
  for (std::size_t i = 0; i < prompts.size(); ++i) {
    const auto length = static_cast<index_t>(prompts[i].size());
    if (length == 0)
      throw error(errc::bad_argument, join("prompt ", i),
                  "it is empty; a model needs at least one token to go on from");
    if (length > sizes.positions - (model.config().encodes() ? 0 : 1))
      throw error(errc::bad_argument, join("prompt ", i),
                  join("it has ", length, " tokens; the model has ", sizes.positions,
                       " positions, so there is no room for a reply"));
    for (const token_id t : prompts[i])
      if (t < 0 || t >= sizes.vocabulary)
        throw error(errc::bad_argument, join("prompt ", i),
                    join("token id ", t, " lies outside the vocabulary of ", sizes.vocabulary));
  }
}

}  // namespace plumb::inline v0

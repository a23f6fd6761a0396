// SPDX-License-Identifier: BSL-1.0
// Sampling replies from a model: prompts are computed once, keys and values are cached, sequences advance together.
#pragma once

#include <algorithm>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <plumb/models/policy.hpp>
#include <plumb/rollout/sampler.hpp>

namespace plumb::inline v0 {

struct generate_options {
  index_t max_tokens = 128;  ///< longest reply
  index_t samples = 1;       ///< replies per prompt
  plumb::sampling sampling{};
  std::vector<std::string> stop{};  ///< a reply ends when its text contains one of these; the text is cut before it
  std::size_t cache_memory = std::size_t{256} << 20;  ///< bytes for keys and values; more prompts than fit wait
  bool adapters = true;                               ///< off: sample from the reference
};

/// A sampled reply.
struct generated {
  std::vector<token_id> tokens;  ///< with the end-of-text token that ended it, if one did
  std::vector<double>
      logp;              ///< [tokens] of the model itself (temperature 1), nats: the same bits that training computes
  std::string text;      ///< without special tokens, cut before a stop string
  bool stopped = false;  ///< ended by itself or by a stop string; false: ran into max_tokens or the model's limit
};

namespace detail {

/// A group of prompts whose keys and values fit the cache together.
template <class B, class T>
class generation {
 public:
  generation(const language_model<B, T>& model, const generate_options& options)
      : model_(model), options_(options), tape_(model.device()) {
    tape_.set_recording(false);
  }

  /// Replies to prompts[first …), `samples` each; `first` numbers their random streams.
  void run(std::span<const std::vector<token_id>> prompts, std::size_t first,
           std::vector<std::vector<generated>>& out) {
    index_t rows = 0;
    for (const auto& p : prompts) rows += rows_for(p);
    reserve(rows);
    cache_.used = 0;
    sequences_.clear();

    forest prompts_only;
    for (const auto& p : prompts) prompts_only.add(p);
    prompts_only.lay_out(layout_);
    std::vector<std::int32_t> last_rows;
    for (std::size_t i = 0; i < prompts.size(); ++i) {
      const segment& s = prompts_only[static_cast<index_t>(i)];
      for (index_t k = 0; k < options_.samples; ++k) {
        last_rows.push_back(static_cast<std::int32_t>(s.first + s.length - 1));
        sequence q{
            &out[first + i][static_cast<std::size_t>(k)], derive_key(first + i, static_cast<std::uint64_t>(k)), {}};
        for (index_t r = s.first; r < s.first + s.length; ++r) q.rows.push_back(static_cast<std::int32_t>(r));
        sequences_.push_back(std::move(q));
      }
    }
    step(last_rows);
    while (!sequences_.empty()) {
      layout_ = {};
      last_rows.clear();
      for (sequence& q : sequences_) {
        const auto row = static_cast<std::int32_t>(layout_.tokens.size());
        const auto keys = static_cast<std::int32_t>(layout_.key_rows.size());
        layout_.tokens.push_back(q.reply->tokens.back());
        layout_.positions.push_back(static_cast<std::int32_t>(q.rows.size()));
        layout_.segments.push_back({row, 1, static_cast<std::int32_t>(q.rows.size()), keys});
        layout_.row_segment.push_back(row);
        q.rows.push_back(static_cast<std::int32_t>(cache_.used) + row);
        layout_.key_rows.insert(layout_.key_rows.end(), q.rows.begin(), q.rows.end());
        last_rows.push_back(row);
      }
      step(last_rows);
    }
  }

  /// Cache rows that a prompt and its replies can take.
  [[nodiscard]] index_t rows_for(const std::vector<token_id>& prompt) const {
    const auto length = static_cast<index_t>(prompt.size());
    return length + options_.samples * std::min(options_.max_tokens,
                                                std::max<index_t>(0, model_.network().sizes().positions - length));
  }
  [[nodiscard]] index_t affordable_rows() const {
    const auto& s = model_.network().sizes();
    const auto row_bytes = 2 * sizeof(T) * static_cast<std::size_t>(std::max<index_t>(1, s.layers * s.kv_width));
    return static_cast<index_t>(options_.cache_memory / row_bytes);
  }

 private:
  struct sequence {
    generated* reply;
    std::uint64_t stream;            ///< random stream: a function of prompt and sample number
    std::vector<std::int32_t> rows;  ///< cache row of every position so far
  };

  void reserve(index_t rows) {
    const auto& s = model_.network().sizes();
    if (cache_.capacity >= rows) return;
    cache_.layers.clear();
    for (index_t i = 0; i < s.layers; ++i)
      cache_.layers.push_back(
          {tensor<B, T>(model_.device(), {rows, s.kv_width}), tensor<B, T>(model_.device(), {rows, s.kv_width})});
    cache_.capacity = rows;
  }

  /// Runs the tokens of `layout_`, draws a token for each sequence from the logits at its row, and lets finished ones go.
  void step(std::span<const std::int32_t> rows) {
    tape_.reset();
    pass<B, T> p{tape_, upload(tape_, layout_), &cache_, options_.adapters};
    const auto hidden = model_.network().hidden(p);  // [tokens, width]
    cache_.used += static_cast<index_t>(layout_.tokens.size());
    const auto count = static_cast<index_t>(rows.size());
    const auto last = gather_rows(tape_, hidden, upload(tape_, rows), count);  // [sequences, width]
    const auto z = model_.network().logits(p, last);                           // [sequences, vocabulary]
    std::vector<T> logits(static_cast<std::size_t>(z.value.size()));
    B::download(tape_.device(), z.value.data, logits.data(), z.value.size());

    std::vector<std::int32_t> drawn;
    for (std::size_t i = 0; i < sequences_.size(); ++i)
      drawn.push_back(draw_token(std::span<const T>(logits).subspan(i * static_cast<std::size_t>(z.columns()),
                                                                    static_cast<std::size_t>(z.columns())),
                                 options_.sampling, sequences_[i].stream, sequences_[i].reply->tokens.size()));
    T* logp = tape_.memory().template make_array<T>(count);
    B::row_statistics(tape_.device(), z.value, upload(tape_, std::span<const std::int32_t>(drawn)),
                      row_outputs<T>{logp, nullptr, nullptr, nullptr});
    std::vector<T> host(static_cast<std::size_t>(count));
    B::download(tape_.device(), static_cast<const T*>(logp), host.data(), count);

    for (std::size_t i = 0; i < sequences_.size(); ++i) {
      sequences_[i].reply->tokens.push_back(drawn[i]);
      sequences_[i].reply->logp.push_back(static_cast<double>(host[i]));
    }
    std::erase_if(sequences_, [&](const sequence& q) { return finished(q); });
  }

  bool finished(const sequence& q) const {
    generated& r = *q.reply;
    const bool ended = model_.ends(r.tokens.back());
    const bool full = static_cast<index_t>(r.tokens.size()) >= options_.max_tokens ||
                      static_cast<index_t>(q.rows.size()) >= model_.network().sizes().positions;
    if (!ended && !full && options_.stop.empty()) return false;
    if (model_.has_tokenizer()) r.text = model_.tokenizer().decode(r.tokens, true);
    auto cut = std::string::npos;
    for (const std::string& s : options_.stop) cut = std::min(cut, r.text.find(s));
    if (cut != std::string::npos) r.text.resize(cut);
    r.stopped = ended || cut != std::string::npos;
    return r.stopped || full;
  }

  language_model<B, T> model_;
  generate_options options_;
  tape<B, T> tape_;
  kv_cache<B, T> cache_;
  batch_layout layout_;
  std::vector<sequence> sequences_;
};

}  // namespace detail

/// `samples` replies to each prompt of token ids. A reply depends on the prompt's number, the seed and the model alone,
/// not on what else is in the batch. Throws errc::bad_argument for an empty prompt, one that leaves no position for a
/// reply, or an id outside the vocabulary.
template <class B, class T>
std::vector<std::vector<generated>> generate(const language_model<B, T>& model,
                                             std::span<const std::vector<token_id>> prompts,
                                             const generate_options& options = {}) {
  options.sampling.check();
  if (options.max_tokens < 1)
    throw error(errc::bad_argument, "max_tokens", join("expected at least 1, found ", options.max_tokens));
  if (options.samples < 1)
    throw error(errc::bad_argument, "samples", join("expected at least 1, found ", options.samples));
  for (const std::string& s : options.stop)
    if (s.empty()) throw error(errc::bad_argument, "stop", "expected a text that is not empty");
  const auto& sizes = model.network().sizes();
  for (std::size_t i = 0; i < prompts.size(); ++i) {
    const auto length = static_cast<index_t>(prompts[i].size());
    if (length == 0)
      throw error(errc::bad_argument, join("prompt ", i),
                  "it is empty; a model needs at least one token to go on from");
    if (length >= sizes.positions)
      throw error(errc::bad_argument, join("prompt ", i),
                  join("it has ", length, " tokens; the model has ", sizes.positions,
                       " positions, so there is no room for a reply"));
    for (const token_id t : prompts[i])
      if (t < 0 || t >= sizes.vocabulary)
        throw error(errc::bad_argument, join("prompt ", i),
                    join("token id ", t, " lies outside the vocabulary of ", sizes.vocabulary));
  }
  std::vector<std::vector<generated>> out(prompts.size(),
                                          std::vector<generated>(static_cast<std::size_t>(options.samples)));
  detail::generation<B, T> engine(model, options);
  const index_t affordable = engine.affordable_rows();
  for (std::size_t first = 0; first < prompts.size();) {
    std::size_t end = first;
    for (index_t rows = 0; end < prompts.size(); ++end) {
      rows += engine.rows_for(prompts[end]);
      if (end > first && rows > affordable) break;
    }
    engine.run(prompts.subspan(first, end - first), first, out);
    first = end;
  }
  return out;
}

/// Replies to prompts given as text (with the tokenizer's own special tokens before it).
template <class B, class T>
std::vector<std::vector<generated>> generate(const language_model<B, T>& model, std::span<const std::string> prompts,
                                             const generate_options& options = {}) {
  std::vector<std::vector<token_id>> ids;
  for (const std::string& p : prompts) ids.push_back(model.tokenizer().encode(p));
  return generate(model, std::span<const std::vector<token_id>>(ids), options);
}
/// The same from a policy, with its adapter unless it is switched off.
template <class B, class T, class Prompt>
std::vector<std::vector<generated>> generate(const policy<B, T>& p, std::span<const Prompt> prompts,
                                             generate_options options = {}) {
  options.adapters = options.adapters && p.adapters_on();
  return generate(p.model(), prompts, options);
}

}  // namespace plumb::inline v0

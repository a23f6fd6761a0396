// SPDX-License-Identifier: BSL-1.0
// Sampling replies from a model: prompts are computed once, keys and values are cached, sequences advance together.
#pragma once

#include <algorithm>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <plumb/core/function_ref.hpp>
#include <plumb/rollout/cached_decoder.hpp>
#include <plumb/rollout/sampler.hpp>

namespace plumb::inline v0 {

struct generate_options {
  index_t max_tokens = 128;  ///< longest reply
  index_t samples = 1;       ///< replies per prompt
  plumb::sampling sampling{};
  std::vector<std::string> stop{};  ///< a reply ends when its text contains one of these; the text is cut before it
  std::size_t cache_memory = std::size_t{256} << 20;  ///< bytes for keys and values; prompts that do not fit wait
  bool adapters = true;                               ///< off: sample from the reference
  bool copy_weights = true;        ///< into the order of products: faster, and the weights' memory once more; see
                                   ///< language_model::keep_copies for copies that outlive the call
  std::uint64_t first_prompt = 0;  ///< number of the first prompt: a long list in pieces gives the replies of one call
};

/// A sampled reply.
struct generated {
  std::vector<token_id> tokens;  ///< with the end-of-text token that ended it, if one did
  std::vector<double>
      logp;              ///< [tokens] of the model itself (temperature 1), nats: the same bits that training computes
  std::string text;      ///< without special tokens, cut before a stop string
  bool stopped = false;  ///< ended by itself or by a stop string; false: ran into max_tokens or the model's limit
};

/// One token of one reply, while replies are being made.
struct token_event {
  std::size_t prompt = 0;  ///< its place in the list of prompts
  std::size_t sample = 0;
  const generated& reply;  ///< so far, this token last; its text is made when the reply ends
};
/// Called for every token; false ends that reply there.
using token_listener = function_ref<bool(const token_event&)>;

namespace detail {

/// Prompts whose keys and values share a cache. Those that do not fit wait until replies that ended have left room.
template <class B, class T>
class generation {
 public:
  generation(const language_model<B, T>& model, const generate_options& options, token_listener listen,
             const adapter_table<B, T>* named)
      : decoder_(model, options.adapters, options.copy_weights, named), options_(options), listen_(listen) {}

  /// Replies to the prompts, `samples` each, begun in this order. `adapters`: every prompt's, or empty.
  void run(std::span<const std::vector<token_id>> prompts, std::span<const index_t> adapters,
           std::span<const std::size_t> order, std::vector<std::vector<generated>>& out) {
    std::vector<token_path*> where;
    std::vector<token_id> tokens;
    std::vector<index_t> chosen;
    std::size_t begun = 0;
    while (begun < order.size() || !sequences_.empty()) {
      if (sequences_.empty()) {
        index_t longest = 0;
        for (const std::size_t n : order.subspan(begun)) longest = std::max(longest, longest_reply(prompts[n].size()));
        decoder_.reset(rows_to_take(prompts, order.subspan(begun)), longest);
      }
      std::size_t end = begun;
      for (index_t room = free_rows(); end < order.size(); ++end)
        if ((room -= rows_for(prompts[order[end]])) < 0) break;
      if (end > begun) {
        begin(prompts, adapters, order.subspan(begun, end - begun), out);
        begun = end;
        continue;
      }
      where.clear(), tokens.clear(), chosen.clear();
      for (sequence& q : sequences_) {
        where.push_back(&q.path), tokens.push_back(q.reply->tokens.back());
        chosen.push_back(q.adapter);
      }
      draw(decoder_.advance(where, tokens, chosen), 0);  // [sequences, vocabulary]
    }
  }

 private:
  struct sequence {
    generated* reply;
    std::span<const token_id> prompt;
    std::size_t number, sample;  ///< of the prompt in the list, of the reply to it
    std::uint64_t stream;        ///< random stream: a function of prompt and sample number
    index_t adapter;
    token_path path;
  };

  /// The longest reply that a prompt has room for.
  [[nodiscard]] index_t longest_reply(std::size_t prompt) const {
    const index_t room = decoder_.model().network().sizes().positions - static_cast<index_t>(prompt);
    return std::min(options_.max_tokens, std::max<index_t>(0, room));
  }
  /// Cache rows that a prompt and its replies can take.
  [[nodiscard]] index_t rows_for(const std::vector<token_id>& prompt) const {
    return static_cast<index_t>(prompt.size()) + options_.samples * longest_reply(prompt.size());
  }
  /// Rows for all of these prompts, or as many as memory affords, but enough for the first.
  [[nodiscard]] index_t rows_to_take(std::span<const std::vector<token_id>> prompts,
                                     std::span<const std::size_t> order) const {
    const index_t affordable = std::max(decoder_.affordable_rows(options_.cache_memory), rows_for(prompts[order[0]]));
    index_t rows = 0;
    for (const std::size_t n : order)
      if ((rows += rows_for(prompts[n])) >= affordable) return affordable;
    return rows;
  }
  /// Rows that neither hold a token nor may be needed by a reply that runs.
  [[nodiscard]] index_t free_rows() const {
    index_t out = decoder_.capacity() - decoder_.used_rows();
    for (const sequence& q : sequences_)
      out -= longest_reply(q.prompt.size()) - static_cast<index_t>(q.reply->tokens.size());
    return out;
  }

  /// Computes prompts and draws the first token of their replies.
  void begin(std::span<const std::vector<token_id>> prompts, std::span<const index_t> adapters,
             std::span<const std::size_t> numbers, std::vector<std::vector<generated>>& out) {
    std::vector<std::vector<token_id>> group;
    std::vector<index_t> chosen;
    for (const std::size_t n : numbers) {
      group.push_back(prompts[n]);
      if (!adapters.empty()) chosen.push_back(adapters[n]);
    }
    std::vector<token_path> paths;
    const auto logits = decoder_.start(group, options_.samples, paths, chosen);  // [new sequences, vocabulary]
    const std::size_t first = sequences_.size();
    for (std::size_t i = 0; i < numbers.size(); ++i)
      for (std::size_t k = 0; k < static_cast<std::size_t>(options_.samples); ++k)
        sequences_.push_back({&out[numbers[i]][k], prompts[numbers[i]], numbers[i], k,
                              derive_key(options_.first_prompt + numbers[i], static_cast<std::uint64_t>(k)),
                              chosen.empty() ? own_adapter : chosen[i], paths[i]});
    draw(logits, first);
  }

  /// What a thread draws with.
  struct drawer {
    token_drawer draw;
    std::vector<T> penalised;
  };

  /// Draws a token for each sequence from `first` on from its row of logits, and lets finished ones go.
  void draw(const variable<B, T>& logits, std::size_t first) {
    std::vector<token_id> drawn(sequences_.size() - first);
    if constexpr (!B::host_memory) host_ = decoder_.download(logits);
    auto& device = decoder_.tape().device();
    const auto draw_for = [&](index_t task, int worker) {
      const auto i = static_cast<std::size_t>(task);
      drawn[i] = draw_one(drawers_[static_cast<std::size_t>(worker)], row_of(logits, task), sequences_[first + i]);
    };
    const auto count = static_cast<index_t>(drawn.size());
    if constexpr (requires { device.run(count, draw_for); }) {
      drawers_.resize(static_cast<std::size_t>(device.threads()));
      device.run(count, draw_for);
    } else {
      drawers_.resize(1);
      for (index_t i = 0; i < count; ++i) draw_for(i, 0);
    }
    const std::vector<T> logp = decoder_.log_probabilities(logits, drawn);
    for (std::size_t i = 0; i < drawn.size(); ++i) {
      sequences_[first + i].reply->tokens.push_back(drawn[i]);
      sequences_[first + i].reply->logp.push_back(static_cast<double>(logp[i]));
    }
    const auto begin_of_new = sequences_.begin() + static_cast<std::ptrdiff_t>(first);
    sequences_.erase(std::remove_if(begin_of_new, sequences_.end(), [&](const sequence& q) { return finished(q); }),
                     sequences_.end());
  }

  /// Row i of the logits, on the host.
  std::span<const T> row_of(const variable<B, T>& logits, index_t i) const {
    const T* const all = B::host_memory ? logits.value.data : host_.data();
    return {all + i * logits.columns(), static_cast<std::size_t>(logits.columns())};
  }
  token_id draw_one(drawer& with, std::span<const T> logits, const sequence& q) const {
    const auto number = q.reply->tokens.size();
    if (!penalises(options_.sampling)) return with.draw(logits, options_.sampling, q.stream, number);
    with.penalised.assign(logits.begin(), logits.end());
    penalise(std::span<T>(with.penalised), options_.sampling, q.prompt, q.reply->tokens);
    return with.draw(std::span<const T>(with.penalised), options_.sampling, q.stream, number);
  }

  bool finished(const sequence& q) {
    generated& r = *q.reply;
    const auto& model = decoder_.model();
    const bool ended = model.ends(r.tokens.back());
    const bool full = static_cast<index_t>(r.tokens.size()) >= options_.max_tokens ||
                      static_cast<index_t>(q.path.size()) >= model.network().sizes().positions;
    const bool enough = !listen_({q.number, q.sample, r});
    if (!ended && !full && !enough && options_.stop.empty()) return false;
    if (model.has_tokenizer()) r.text = model.tokenizer().decode(r.tokens, true);
    auto cut = std::string::npos;
    for (const std::string& s : options_.stop) cut = std::min(cut, r.text.find(s));
    if (cut != std::string::npos) r.text.resize(cut);
    r.stopped = ended || enough || cut != std::string::npos;
    return r.stopped || full;
  }

  cached_decoder<B, T> decoder_;
  generate_options options_;
  token_listener listen_;
  std::vector<drawer> drawers_;  ///< one a thread
  std::vector<T> host_;          ///< the logits, where the backend's memory is not the host's
  std::vector<sequence> sequences_;
};

}  // namespace detail

namespace detail {

/// `adapters`: the number in `named` of every prompt's; both empty: what is on the model.
template <class B, class T>
std::vector<std::vector<generated>> generate_with(const language_model<B, T>& model,
                                                  std::span<const std::vector<token_id>> prompts,
                                                  const generate_options& options, token_listener listen,
                                                  const adapter_table<B, T>* named, std::span<const index_t> adapters) {
  options.sampling.check();
  if (options.max_tokens < 1)
    throw error(errc::bad_argument, "max_tokens", join("expected at least 1, found ", options.max_tokens));
  if (options.samples < 1)
    throw error(errc::bad_argument, "samples", join("expected at least 1, found ", options.samples));
  for (const std::string& s : options.stop)
    if (s.empty()) throw error(errc::bad_argument, "stop", "expected a text that is not empty");
  check_prompts(model, prompts);
  std::vector<std::vector<generated>> out(prompts.size(),
                                          std::vector<generated>(static_cast<std::size_t>(options.samples)));
  generation<B, T> engine(model, options, listen, named);
  const std::vector<index_t> same(adapters.empty() ? prompts.size() : 0, own_adapter);
  engine.run(prompts, adapters, grouped_by_adapter(adapters.empty() ? std::span<const index_t>(same) : adapters), out);
  return out;
}

}  // namespace detail

/// `samples` replies to each prompt of token ids. A reply depends on the prompt's number, the seed and the model alone,
/// not on what else is in the batch. `listen` is called for every token as it is drawn.
/// Throws errc::bad_argument for options out of range and what check_prompts refuses.
template <class B, class T>
std::vector<std::vector<generated>> generate(const language_model<B, T>& model,
                                             std::span<const std::vector<token_id>> prompts,
                                             const generate_options& options, token_listener listen) {
  return detail::generate_with<B, T>(model, prompts, options, listen, nullptr, {});
}
template <class B, class T>
std::vector<std::vector<generated>> generate(const language_model<B, T>& model,
                                             std::span<const std::vector<token_id>> prompts,
                                             const generate_options& options = {}) {
  return generate(model, prompts, options, [](const token_event&) { return true; });
}

/// Replies to prompts[i] with the adapter called names[i], all in one batch; "" is the bare model. A reply is that of its
/// adapter alone, to the bit. Throws errc::bad_argument for a name that the set lacks, listing those it has.
template <class B, class T>
std::vector<std::vector<generated>> generate(const adapter_set<B, T>& adapters,
                                             std::span<const std::vector<token_id>> prompts,
                                             std::span<const std::string> names, const generate_options& options,
                                             token_listener listen) {
  detail::check_names(prompts.size(), names.size());
  adapters.check_bare();
  const auto numbers = adapters.numbers(names);
  return detail::generate_with<B, T>(adapters.model(), prompts, options, listen, &adapters.table(), numbers);
}
template <class B, class T>
std::vector<std::vector<generated>> generate(const adapter_set<B, T>& adapters,
                                             std::span<const std::vector<token_id>> prompts,
                                             std::span<const std::string> names, const generate_options& options = {}) {
  return generate(adapters, prompts, names, options, [](const token_event&) { return true; });
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

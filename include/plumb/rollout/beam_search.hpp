// SPDX-License-Identifier: BSL-1.0
// Beam search: the most probable replies, by keeping several unfinished ones beside each other.
#pragma once

#include <algorithm>
#include <cmath>
#include <span>
#include <string>
#include <vector>

#include <plumb/rollout/generate.hpp>

namespace plumb::inline v0 {

struct beam_options {
  index_t beams = 4;          ///< replies that are kept while they grow
  index_t replies = 1;        ///< of each prompt, the best first; at most `beams`
  index_t max_tokens = 128;   ///< longest reply
  double length_penalty = 1;  ///< a finished reply counts Σ log p / tokens^length_penalty; above 0 favours long ones
  bool adapters = true;       ///< off: search in the reference

  void check() const {
    if (beams < 1) throw error(errc::bad_argument, "beams", join("expected at least 1, found ", beams));
    if (replies < 1 || replies > beams)
      throw error(errc::bad_argument, "replies", join("expected 1 up to the number of beams, found ", replies));
    if (max_tokens < 1) throw error(errc::bad_argument, "max_tokens", join("expected at least 1, found ", max_tokens));
    if (!std::isfinite(length_penalty))
      throw error(errc::bad_argument, "length_penalty", join("expected a finite number, found ", length_penalty));
  }
};

namespace detail {

/// The search for one prompt after another.
template <class B, class T>
class beam_searcher {
 public:
  beam_searcher(const language_model<B, T>& model, const beam_options& options, const adapter_table<B, T>* named)
      : decoder_(model, options.adapters, true, named), options_(options) {}

  /// `adapter`: the prompt's, by its number in the table.
  std::vector<generated> run(const std::vector<token_id>& prompt, index_t adapter) {
    const auto& model = decoder_.model();
    const auto length = static_cast<index_t>(prompt.size());
    const index_t longest = std::min(options_.max_tokens, model.network().sizes().positions - length);
    decoder_.reset(length + options_.beams * longest);
    finished_.clear();
    std::vector<token_path> paths;
    auto logits = decoder_.start(std::span(&prompt, 1), 1, paths, std::span(&adapter, 1));  // [1, vocabulary]
    running_.assign(1, beam{.path = paths[0], .reply = {}, .sum = 0});
    for (index_t tokens = 1; !running_.empty(); ++tokens) {
      extend(logits, tokens, tokens == longest);
      if (running_.empty() || is_settled(tokens)) break;
      std::vector<token_path*> where;
      std::vector<token_id> last;
      const std::vector<index_t> same(running_.size(), adapter);
      for (beam& b : running_) where.push_back(&b.path), last.push_back(b.reply.tokens.back());
      logits = decoder_.advance(where, last, same);  // [beams, vocabulary]
    }
    std::vector<generated> out;
    for (const ended& e : finished_) {
      if (static_cast<index_t>(out.size()) == options_.replies) break;
      out.push_back(e.reply);
      if (model.has_tokenizer()) out.back().text = model.tokenizer().decode(e.reply.tokens, true);
    }
    return out;
  }

 private:
  struct beam {
    token_path path;
    generated reply;
    double sum;  ///< Σ log p, nats
  };
  struct ended {
    generated reply;
    double score;  ///< Σ log p / tokens^length_penalty
  };
  struct candidate {
    std::size_t beam;
    token_id token;
    double logp, sum;
  };

  /// Extends every beam by every token; of the best, those that end are finished and the others run on.
  void extend(const variable<B, T>& logits, index_t tokens, bool last) {
    const auto& model = decoder_.model();
    const auto ends = std::max<std::size_t>(2, 1 + model.config().eos.size());
    const auto beams = static_cast<std::size_t>(options_.beams);
    const std::vector<candidate> best = best_candidates(logits, ends * beams);
    std::vector<beam> next;
    for (std::size_t rank = 0; rank < best.size(); ++rank) {
      const candidate& c = best[rank];
      const bool stops = model.ends(c.token);
      if (stops || last) {  // only the best `beams` may finish: the others are there to keep the search going
        if (rank < beams) finish(c, stops, tokens);
      } else if (next.size() < beams) {
        beam b = running_[c.beam];
        b.reply.tokens.push_back(c.token), b.reply.logp.push_back(c.logp), b.sum = c.sum;
        next.push_back(std::move(b));
      }
    }
    running_ = std::move(next);
  }

  std::vector<candidate> best_candidates(const variable<B, T>& logits, std::size_t count) {
    const std::vector<T> host = decoder_.download(logits);
    const auto columns = static_cast<std::size_t>(logits.columns());
    std::vector<candidate> all;
    const auto better = [](const candidate& a, const candidate& b) {
      return a.sum != b.sum ? a.sum > b.sum : a.beam != b.beam ? a.beam < b.beam : a.token < b.token;
    };
    for (std::size_t i = 0; i < running_.size(); ++i) {
      const std::span<const T> row = std::span<const T>(host).subspan(i * columns, columns);
      double highest = -HUGE_VAL, total = 0;
      for (const T z : row) {
        if (std::isnan(z)) throw error(errc::not_finite, "", "a logit is NaN; are the model's weights damaged?");
        highest = std::max(highest, static_cast<double>(z));
      }
      for (const T z : row) total += std::exp(static_cast<double>(z) - highest);
      const double partition = highest + std::log(total);
      for (std::size_t k = 0; k < columns; ++k) {
        const double logp = static_cast<double>(row[k]) - partition;
        all.push_back({i, static_cast<token_id>(k), logp, running_[i].sum + logp});
      }
      const auto kept = std::min(count, all.size());
      std::partial_sort(all.begin(), all.begin() + static_cast<std::ptrdiff_t>(kept), all.end(), better);
      all.resize(kept);
    }
    return all;
  }

  void finish(const candidate& c, bool stops, index_t tokens) {
    generated reply = running_[c.beam].reply;
    reply.tokens.push_back(c.token), reply.logp.push_back(c.logp), reply.stopped = stops;
    const ended e{std::move(reply), c.sum / std::pow(static_cast<double>(tokens), options_.length_penalty)};
    const auto place = std::upper_bound(finished_.begin(), finished_.end(), e,
                                        [](const ended& a, const ended& b) { return a.score > b.score; });
    finished_.insert(place, e);
    if (static_cast<index_t>(finished_.size()) > options_.beams) finished_.pop_back();
  }

  /// Can no running beam, as it is now, enter the list of finished ones any more?
  [[nodiscard]] bool is_settled(index_t tokens) const {
    if (static_cast<index_t>(finished_.size()) < options_.beams) return false;
    return running_.front().sum / std::pow(static_cast<double>(tokens), options_.length_penalty) <=
           finished_.back().score;
  }

  cached_decoder<B, T> decoder_;
  beam_options options_;
  std::vector<beam> running_;    ///< the best first
  std::vector<ended> finished_;  ///< the best first
};

/// `adapters`: the number in `named` of every prompt's; both empty: what is on the model.
template <class B, class T>
std::vector<std::vector<generated>> beam_search_with(const language_model<B, T>& model,
                                                     std::span<const std::vector<token_id>> prompts,
                                                     const beam_options& options, const adapter_table<B, T>* named,
                                                     std::span<const index_t> adapters) {
  options.check();
  check_prompts(model, prompts);
  beam_searcher<B, T> searcher(model, options, named);
  std::vector<std::vector<generated>> out;
  for (std::size_t i = 0; i < prompts.size(); ++i)
    out.push_back(searcher.run(prompts[i], adapters.empty() ? own_adapter : adapters[i]));
  return out;
}

}  // namespace detail

/// The best `replies` to each prompt that a search with `beams` finds; the same rule as transformers' with
/// early_stopping=False: it goes on until no running beam could still enter the list of finished replies.
/// Throws errc::bad_argument for options out of range and what check_prompts refuses.
template <class B, class T>
std::vector<std::vector<generated>> beam_search(const language_model<B, T>& model,
                                                std::span<const std::vector<token_id>> prompts,
                                                const beam_options& options = {}) {
  return detail::beam_search_with<B, T>(model, prompts, options, nullptr, {});
}

/// The same with the adapter called names[i] for prompts[i], all of one model; "" is the bare model. What is found is what
/// the adapter alone finds, to the bit. Throws errc::bad_argument for a name that the set lacks, listing those it has.
template <class B, class T>
std::vector<std::vector<generated>> beam_search(const adapter_set<B, T>& adapters,
                                                std::span<const std::vector<token_id>> prompts,
                                                std::span<const std::string> names, const beam_options& options = {}) {
  detail::check_names(prompts.size(), names.size());
  adapters.check_bare();
  const auto numbers = adapters.numbers(names);
  return detail::beam_search_with<B, T>(adapters.model(), prompts, options, &adapters.table(), numbers);
}

}  // namespace plumb::inline v0

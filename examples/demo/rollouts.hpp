// SPDX-License-Identifier: BSL-1.0
// Samples of the policy as it learns, and as rows for `fit`: a stream that makes its rows when they are asked for.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include <plumb/data/example_stream.hpp>

#include "exam.hpp"
#include "training.hpp"

namespace demo {

/// Questions with several replies to each, scored by the oracle: what one round of sampling gives.
struct sampled_round {
  std::vector<question> asked;
  std::vector<std::vector<marked_reply>> replies;  ///< [questions][samples]

  /// The oracle's scores of all replies, [questions · samples].
  [[nodiscard]] std::vector<double> rewards() const {
    std::vector<double> out;
    for (const auto& group : replies)
      for (const marked_reply& r : group) out.push_back(r.marks.total());
    return out;
  }
  /// Which question each reply answers, [questions · samples].
  [[nodiscard]] std::vector<plumb::index_t> groups() const {
    std::vector<plumb::index_t> out;
    for (std::size_t q = 0; q < replies.size(); ++q) out.insert(out.end(), replies[q].size(), plumb::index_t(q));
    return out;
  }
  /// The tokens of each reply, counted, [questions · samples].
  [[nodiscard]] std::vector<plumb::index_t> lengths() const {
    std::vector<plumb::index_t> out;
    for (const auto& group : replies)
      for (const marked_reply& r : group) out.push_back(static_cast<plumb::index_t>(r.drawn.tokens.size()));
    return out;
  }
};

/// A sampled reply as what is learnt from it: its tokens, and how likely each was when it was drawn.
inline plumb::reply learnt(const marked_reply& r) { return {.tokens = r.drawn.tokens, .old = r.drawn.logp}; }

/// A question and its replies as a row.
inline plumb::example row(const plumb::tokenizer& words, const question& q,
                          std::initializer_list<plumb::reply> replies = {}) {
  return {.prompt = words.encode(prompt(q)), .replies = replies};
}

/// The rows of an online run. Whenever the last round's rows are used up, `sample` gives the next round and `teach` makes
/// rows of it; both see the policy as it is at that moment.
class rollout_stream final : public plumb::example_stream {
 public:
  using sampler = std::function<sampled_round(std::uint64_t round)>;
  using teacher = std::function<std::vector<plumb::example>(const sampled_round&)>;
  /// Told after each round: rows drawn so far, and the round.
  using listener = std::function<void(plumb::index_t, const sampled_round&)>;

  rollout_stream(plumb::index_t rows, sampler sample, teacher teach, listener listen)
      : rows_(rows), sample_(std::move(sample)), teach_(std::move(teach)), listen_(std::move(listen)) {}

  plumb::example next() override {
    for (int tries = 0; at_ == ready_.size(); ++tries) {
      if (tries == 100)
        throw plumb::error(plumb::errc::bad_data, "online training",
                           "the oracle saw no difference between any two replies in 100 rounds of sampling");
      const sampled_round round = sample_(rounds_++);
      listen_(drawn_, round);
      ready_ = teach_(round);
      at_ = 0;
    }
    ++drawn_;
    return ready_[at_++];
  }
  void put_back() override { --at_, --drawn_; }
  [[nodiscard]] plumb::index_t drawn() const override { return drawn_; }
  [[nodiscard]] plumb::index_t rows() const override { return rows_; }
  [[nodiscard]] std::uint64_t fingerprint() const override { return static_cast<std::uint64_t>(rows_); }
  [[nodiscard]] std::vector<std::uint64_t> position() const override { return {}; }
  void restore(std::span<const std::uint64_t>) override {
    throw plumb::error(plumb::errc::unsupported, "resume", "samples are not kept; begin the online run anew");
  }

 private:
  plumb::index_t rows_, drawn_ = 0;
  std::uint64_t rounds_ = 0;
  sampler sample_;
  teacher teach_;
  listener listen_;
  std::vector<plumb::example> ready_;
  std::size_t at_ = 0;
};

}  // namespace demo

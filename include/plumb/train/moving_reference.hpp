// SPDX-License-Identifier: BSL-1.0
// TR-DPO: a reference that follows the policy from afar, every so many steps.
#pragma once

#include <span>
#include <string>
#include <utility>
#include <vector>

#include <plumb/models/policy.hpp>
#include <plumb/rollout/scorer.hpp>
#include <plumb/rollout/split.hpp>

namespace plumb::inline v0 {

/// Throws errc::bad_argument for an objective whose reference cannot move.
void check_moving(const std::string& objective, need needs);

/// The weights of a reference that moves: after every `every` optimiser steps
///
///   π_ref ← α π + (1 − α) π_ref,   number by number
///
/// Until the first move the reference is what it always is: the model without its adapter, or its weights before the
/// run. Then log-probabilities under it are no longer known beforehand: each step scores its own rows, one forward pass
/// more. With an adapter α is 1: then the reference is the adapter as it was; a mixture of factors A, B would not be the
/// mixture of the weights B·A. Gorbatovski et al. 2024, arXiv:2404.09656 (α 0.6, or 1 and rarer moves).
template <class B, class T>
class moving_reference {
 public:
  moving_reference(const policy<B, T>& p, index_t every, double share) : policy_(p), every_(every), share_(share) {
    if (every > 0 && share != 1 && p.has_adapter())
      throw error(errc::bad_argument, "reference_share",
                  join("expected 1 with an adapter, whose factors cannot be mixed like weights, found ", share,
                       "; set reference_share=1, or train all weights"));
  }
  [[nodiscard]] bool moved() const noexcept { return !weights_.empty(); }

  /// Before the first step: weights that are trained without an adapter are their own reference as they stand.
  void begin() {
    if (every_ > 0 && share_ != 1) keep();
  }
  /// The weights as they are now become the reference.
  void keep() {
    const auto& now = policy_.trainable();
    if (weights_.size() != now.size()) {
      weights_.clear();
      for (const auto& each : now) weights_.push_back(each.parameter->value.clone());
      return;
    }
    for (std::size_t i = 0; i < now.size(); ++i)
      B::copy(*weights_[i].device(), std::as_const(now[i].parameter->value).get(), weights_[i].get());
  }
  /// After step `done`.
  void follow(index_t done) {
    if (every_ <= 0 || done % every_ != 0) return;
    if (share_ == 1) return keep();
    for (std::size_t i = 0; i < weights_.size(); ++i) {
      auto mixed = weights_[i].host();
      const auto now = policy_.trainable()[i].parameter->value.host();
      for (std::size_t k = 0; k < mixed.size(); ++k)
        mixed[k] = static_cast<T>(share_ * static_cast<double>(now[k]) + (1 - share_) * static_cast<double>(mixed[k]));
      weights_[i].assign(mixed);
    }
  }
  /// Scores replies with the reference as it is now, in place of what they had. `by_token`: each token, too.
  void score(scorer<B, T>& engine, std::span<example* const> rows, const head_options& head, bool by_token,
             index_t tokens = 2048) {
    for (example* e : rows)
      for (reply& r : e->replies) r.reference = missing, r.token_references.clear();
    swap();
    try {
      const std::span<const example* const> view = rows;
      training_batch& batch = engine.scratch();
      for_each_run(view, tokens, [&](std::size_t first, std::size_t count) {
        batch.assign(view.subspan(first, count));
        const auto& scores = engine.run(batch, {.head = head});
        index_t which = 0;
        for (example* e : rows.subspan(first, count))
          for (reply& r : e->replies) {
            r.reference = detail::sequence_of(batch, scores, which, r).logp;
            if (by_token) detail::put_logp_per_token(batch, scores, which, r, r.token_references);
            ++which;
          }
      });
    } catch (...) {
      swap();
      throw;
    }
    swap();
  }

  /// For checkpoints: one tensor per trainable one of the policy, or none.
  [[nodiscard]] std::vector<tensor<B, T>>& weights() noexcept { return weights_; }

 private:
  void swap() {
    for (std::size_t i = 0; i < weights_.size(); ++i) std::swap(policy_.trainable()[i].parameter->value, weights_[i]);
  }
  const policy<B, T>& policy_;
  index_t every_;
  double share_;
  std::vector<tensor<B, T>> weights_;
};

}  // namespace plumb::inline v0

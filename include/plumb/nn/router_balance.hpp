// SPDX-License-Identifier: BSL-1.0
// How evenly the routers of a pass spread its tokens over their experts, and the loss that evens it out.
#pragma once

#include <span>
#include <vector>

#include <plumb/autograd/routing.hpp>
#include <plumb/core/error.hpp>

namespace plumb::inline v0 {

/// The load-balancing loss over all routers of a pass together (Fedus et al. 2022, Switch Transformer, eq. 4-6):
///
///   L = E Σ_e f_e P_e,  f_e = chosen_e / N,  P_e = probability_e / N,
///
/// E experts, N tokens times routers, chosen_e how often expert e was among the k chosen, probability_e the sum of its
/// probabilities. Evenly spread L = k; the worst is E. f counts as a constant: P alone has a gradient. Every token that runs
/// counts once, so that a prompt which replies share does so once.
template <class B, class T>
class router_balance {
 public:
  void clear() {
    chosen_.clear(), probability_.clear(), sums_.clear();
    rows_ = 0;
    slope_ = {};
  }
  /// Counts a router. `probabilities` [tokens, experts] on the device; `chosen`: experts, on the host, k for each token.
  void add(tape<B, T>& t, const variable<B, T>& probabilities, std::span<const std::int32_t> chosen) {
    const auto experts = static_cast<std::size_t>(probabilities.columns());
    if (chosen_.empty()) chosen_.resize(experts), probability_.resize(experts);
    if (chosen_.size() != experts)
      throw error(errc::bad_argument, "router",
                  join("expected ", chosen_.size(), " experts as in the layers before, found ", experts));
    for (const std::int32_t e : chosen) chosen_[static_cast<std::size_t>(e)] += 1;
    const auto sum = sum_columns(t, probabilities);  // [1, experts]
    std::vector<T> host(experts);
    B::download(t.device(), sum.value.data, host.data(), static_cast<index_t>(experts));
    for (std::size_t e = 0; e < experts; ++e) probability_[e] += static_cast<double>(host[e]);
    if (sum.needs_gradient()) sums_.push_back(sum);
    rows_ += static_cast<double>(probabilities.rows());
  }
  /// Were there routers?
  [[nodiscard]] bool counted() const noexcept { return rows_ > 0; }
  [[nodiscard]] double loss() const noexcept {
    double out = 0;
    for (std::size_t e = 0; e < chosen_.size(); ++e) out += chosen_[e] * probability_[e];
    return out * static_cast<double>(chosen_.size()) / (rows_ * rows_);
  }
  /// Puts factor · ∂L/∂probabilities on the tape of the pass, before it goes back.
  void seed(tape<B, T>& t, double factor) {
    if (chosen_.empty()) return;
    std::vector<T> slope(chosen_.size());
    for (std::size_t e = 0; e < slope.size(); ++e)
      slope[e] = static_cast<T>(factor * static_cast<double>(slope.size()) * chosen_[e] / (rows_ * rows_));
    const auto on_device = t.memory().template make<T>({1, static_cast<index_t>(slope.size())});
    B::upload(t.device(), slope.data(), on_device.data, on_device.size());
    slope_ = on_device;
    seed_from(t, *this);
  }
  /// Puts the slope of `whole`, which has been seeded (or not: then nothing happens), on routers that it counted before and
  /// that have run again.
  void seed_from(tape<B, T>& t, const router_balance& whole) const {
    if (!whole.slope_.data) return;
    for (const auto& sum : sums_) t.add_gradient(sum, whole.slope_);
  }
  /// How many routers wait for their slope.
  [[nodiscard]] std::size_t waiting() const noexcept { return sums_.size(); }
  /// Forgets those after the first `count`: their tape is gone, and they will run again.
  void forget_after(std::size_t count) { sums_.resize(count); }

 private:
  std::vector<double> chosen_, probability_;  ///< [experts]
  std::vector<variable<B, T>> sums_;          ///< of each router's probabilities, where they are learnt
  double rows_ = 0;
  view<const T> slope_;  ///< [1, experts], once it has been seeded
};

}  // namespace plumb::inline v0

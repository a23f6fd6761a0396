// SPDX-License-Identifier: BSL-1.0
// AdamW over a list of parameters, and the norm that gradients are clipped by.
#pragma once

#include <algorithm>
#include <cmath>
#include <span>
#include <utility>
#include <vector>

#include <plumb/autograd/tape.hpp>

namespace plumb::inline v0 {

/// Adam with decoupled weight decay (Loshchilov & Hutter 2019, algorithm 2).
struct adamw_options {
  double beta1 = 0.9;
  double beta2 = 0.999;
  double epsilon = 1e-8;
  double weight_decay = 0;  ///< of the parameters that decay
};

/// A parameter to optimise. Norm weights and biases customarily do not decay.
template <class B, class T>
struct adamw_parameter {
  std::shared_ptr<plumb::weight_tensor<B, T>> parameter;
  bool decays = true;
  double rate_factor = 1;  ///< times the step's rate
};

/// The moments of a list of parameters and one step for all of them.
template <class B, class T>
class adamw {
 public:
  struct state {
    adamw_parameter<B, T> of;
    tensor<B, T> m, v;  ///< running mean of the gradient and of its square, same shape as the parameter
  };

  adamw(std::span<const adamw_parameter<B, T>> parameters, const adamw_options& options) : options_(options) {
    for (const auto& p : parameters) {
      const auto& value = p.parameter->value;
      states_.push_back({p, {value.device(), value.extent(), T(0)}, {value.device(), value.extent(), T(0)}});
    }
  }

  /// √ Σ g² over all gradients.
  [[nodiscard]] double gradient_norm() const {
    double sum = 0;
    for (const auto& s : states_) {
      const auto& g = std::as_const(s.of.parameter->gradient);
      sum += B::template sum_of_squares<T>(*g.device(), g.get());
    }
    return std::sqrt(sum);
  }
  /// One step with rate `rate`; gradients are first multiplied by `gradient_scale` (clipping), and afterwards zero.
  void step(double rate, double gradient_scale = 1) {
    ++steps_;
    adamw_step s{rate,
                 options_.beta1,
                 options_.beta2,
                 options_.epsilon,
                 0,
                 1 - std::pow(options_.beta1, static_cast<double>(steps_)),
                 1 - std::pow(options_.beta2, static_cast<double>(steps_)),
                 gradient_scale};
    for (auto& each : states_) {
      auto& p = *each.of.parameter;
      s.rate = rate * each.of.rate_factor;
      s.weight_decay = each.of.decays ? options_.weight_decay : 0;
      B::adamw(*p.value.device(), s, p.gradient.get(), each.m.get(), each.v.get(), p.value.get());
    }
  }

  /// How many steps were taken, and the moments: what a checkpoint keeps.
  [[nodiscard]] index_t steps() const noexcept { return steps_; }
  void set_steps(index_t steps) noexcept { steps_ = steps; }
  [[nodiscard]] std::vector<state>& states() noexcept { return states_; }

 private:
  adamw_options options_;
  std::vector<state> states_;
  index_t steps_ = 0;
};

/// The factor that brings gradients of norm `norm` down to `limit`: min(1, limit / (norm + 10⁻⁶)); 1 when limit is 0.
inline double clip_factor(double norm, double limit) noexcept {
  return limit > 0 ? std::min(1.0, limit / (norm + 1e-6)) : 1;
}

}  // namespace plumb::inline v0

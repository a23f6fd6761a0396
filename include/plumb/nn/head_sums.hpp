// SPDX-License-Identifier: BSL-1.0
// Which sums over the vocabulary the head makes beside log p, and how a function φ becomes one.
#pragma once

#include <plumb/backend/plan.hpp>
#include <plumb/core/row_sum.hpp>
#include <plumb/core/view.hpp>

namespace plumb::inline v0 {

/// S_i = Σ_v φ(log p_iv, other_iv) for a φ that is known at run time only.
template <class B, class T>
class vocabulary_sum {
 public:
  using device = typename B::device;
  virtual ~vocabulary_sum() = default;
  /// out[i] = S_i of logits z and, when φ compares, `other` [rows, vocabulary].
  virtual void sums(device& d, view<const T> z, view<const T> other, T* out) const = 0;
  /// dz += slope_i ∂S_i/∂z_i
  virtual void add_gradients(device& d, view<const T> z, view<const T> other, const T* slope, view<T> dz) const = 0;
  [[nodiscard]] virtual bool compares() const noexcept = 0;
};

/// φ as a vocabulary_sum. φ has `static constexpr bool compares` (does it look at the other row?) and
/// `template <class Real> Real operator()(const Real& logp, double other) const`; with a member `temperature` both rows
/// are softened by it.
template <class B, class T, class Phi>
class vocabulary_sum_of final : public vocabulary_sum<B, T> {
 public:
  using typename vocabulary_sum<B, T>::device;
  explicit vocabulary_sum_of(const Phi& phi) : phi_(phi) {}
  void sums(device& d, view<const T> z, view<const T> other, T* out) const override {
    B::template row_sums<T>(d, z, other, sharpness(), phi_, out);
  }
  void add_gradients(device& d, view<const T> z, view<const T> other, const T* slope, view<T> dz) const override {
    B::template row_sum_gradients<T>(d, z, other, sharpness(), phi_, slope, dz);
  }
  bool compares() const noexcept override { return Phi::compares; }

 private:
  double sharpness() const noexcept {
    if constexpr (requires { phi_.temperature; })
      return 1 / phi_.temperature;
    else
      return 1;
  }
  Phi phi_;
};

/// Σ_v log p_v / V: the mean log-probability, which label smoothing raises.
struct mean_log_probability {
  static constexpr bool compares = false;
  double share = 1;  ///< 1 / vocabulary
  template <class Real>
  constexpr Real operator()(const Real& logp, double) const {
    return share * logp;
  }
};
/// Σ_v p_v²: the probability that two draws agree.
struct collision_probability {
  static constexpr bool compares = false;
  template <class Real>
  constexpr Real operator()(const Real& logp, double) const {
    return exp(2.0 * logp);
  }
};
/// KL(other ‖ p) = Σ_v o_v (log o_v − log p_v).
struct forward_divergence {
  static constexpr bool compares = true;
  template <class Real>
  constexpr Real operator()(const Real& logp, double other) const {
    const double weight = exp(other);
    return weight == 0 ? Real(0.0) : weight * (other - logp);
  }
};

/// The sums that the head shall make; null is not asked for. `collision` is a number, the others have a way back.
template <class B, class T>
struct head_sums {
  const vocabulary_sum<B, T>* mean_logp = nullptr;
  const vocabulary_sum<B, T>* sequential_kl = nullptr;
  const vocabulary_sum<B, T>* statistic = nullptr;
  const vocabulary_sum<B, T>* collision = nullptr;

  template <class F>
  void for_each(F&& f) const {
    for (const vocabulary_sum<B, T>* each : {mean_logp, sequential_kl, statistic, collision})
      if (each) f(*each);
  }
  [[nodiscard]] index_t count() const {
    index_t n = 0;
    for_each([&](const vocabulary_sum<B, T>&) { ++n; });
    return n;
  }
  [[nodiscard]] bool compares() const {
    bool any = false;
    for_each([&](const vocabulary_sum<B, T>& each) { any = any || each.compares(); });
    return any;
  }
};

}  // namespace plumb::inline v0

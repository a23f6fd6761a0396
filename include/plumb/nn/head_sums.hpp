// SPDX-License-Identifier: BSL-1.0
// Which sums over the vocabulary the head makes beside log p, and how a function φ becomes one.
#pragma once

#include <cstdint>

#include <plumb/backend/plan.hpp>
#include <plumb/core/row_sum.hpp>
#include <plumb/core/top_words.hpp>
#include <plumb/core/view.hpp>
#include <plumb/tensor/arena.hpp>

namespace plumb::inline v0 {

/// What sums compare with, for some rows: the other network's logits, or the log-probabilities of the words that it finds
/// likeliest.
template <class T>
struct compared_rows {
  view<const T> logits{};               ///< [rows, vocabulary], or empty
  const std::int32_t* words = nullptr;  ///< [rows, count] ids ascending, −1 after the last; or null
  const T* logp = nullptr;              ///< [rows, count] nats
  index_t count = 0;
};

/// S_i = Σ_v φ(log p_iv, other_iv) for a φ that is known at run time only.
template <class B, class T>
class vocabulary_sum {
 public:
  using device = typename B::device;
  virtual ~vocabulary_sum() = default;
  /// out[i] = S_i of logits z and, when φ compares, of `other`. `memory` is for what is needed on the way.
  virtual void sums(device& d, arena<B>& memory, view<const T> z, const compared_rows<T>& other, T* out) const = 0;
  /// dz += slope_i ∂S_i/∂z_i
  virtual void add_gradients(device& d, arena<B>& memory, view<const T> z, const compared_rows<T>& other,
                             const T* slope, view<T> dz) const = 0;
  [[nodiscard]] virtual bool compares() const noexcept = 0;
  /// How many words of the other distribution count; 0: all.
  [[nodiscard]] virtual index_t top_words() const noexcept = 0;
};

namespace detail {

// The loops of core/top_words.hpp, one row each.
template <class T>
struct pick_each {
  view<const T> z;
  std::int32_t* ids;
  index_t words;
  PLUMB_HD void operator()(index_t i) const { pick_top_words(z.row(i), z.columns, ids + i * words, words); }
};
template <class T>
struct gather_each {
  view<const T> z;
  const std::int32_t* ids;
  index_t words;
  bool tail;
  double sharpness;
  view<T> out;
  PLUMB_HD void operator()(index_t i) const {
    gather_words(z.row(i), z.columns, ids + i * words, words, tail, sharpness, out.row(i));
  }
};
template <class T>
struct place_each {
  const T* logp;
  index_t all;
  const std::int32_t* ids;
  index_t words;
  bool tail;
  double sharpness;
  view<T> out;
  PLUMB_HD void operator()(index_t i) const {
    place_words(logp + i * words, all, ids + i * words, words, tail, sharpness, out.row(i));
  }
};
template <class T>
struct scatter_each {
  view<const T> z;
  const std::int32_t* ids;
  index_t words;
  bool tail;
  double sharpness;
  view<const T> row, d_row;
  view<T> dz;
  PLUMB_HD void operator()(index_t i) const {
    scatter_words(z.row(i), z.columns, ids + i * words, words, tail, sharpness, row.row(i), d_row.row(i), dz.row(i));
  }
};

}  // namespace detail

/// φ as a vocabulary_sum. φ has `static constexpr bool compares` (does it look at the other row?) and
/// `template <class Real> Real operator()(const Real& logp, double other) const`; with a member `temperature` both rows
/// are softened by it. With members `top_k` and `tail` (as distill has) and top_k > 0 the sum runs over the other
/// distribution's top_k likeliest words (its own, where φ does not compare) and, with tail, all others together as one
/// more: over short rows (core/top_words.hpp).
template <class B, class T, class Phi>
class vocabulary_sum_of final : public vocabulary_sum<B, T> {
 public:
  using typename vocabulary_sum<B, T>::device;
  explicit vocabulary_sum_of(const Phi& phi) : phi_(phi) {}
  void sums(device& d, arena<B>& memory, view<const T> z, const compared_rows<T>& other, T* out) const override {
    if constexpr (short_rows_possible)
      if (phi_.top_k > 0) {
        const auto rows = shorten(d, memory, z, other);
        return B::template row_sums<T>(d, rows.own, rows.other, sharpness(), phi_, out);
      }
    B::template row_sums<T>(d, z, beside(other), sharpness(), phi_, out);
  }
  void add_gradients(device& d, arena<B>& memory, view<const T> z, const compared_rows<T>& other, const T* slope,
                     view<T> dz) const override {
    if constexpr (short_rows_possible)
      if (phi_.top_k > 0) {
        const auto rows = shorten(d, memory, z, other);
        const view<T> d_row = memory.template make<T>(rows.own.extent());
        B::fill(d, d_row, T(0));
        B::template row_sum_gradients<T>(d, rows.own, rows.other, sharpness(), phi_, slope, d_row);
        return B::for_each(
            d, z.rows, detail::scatter_each<T>{z, rows.ids, rows.words, phi_.tail, sharpness(), rows.own, d_row, dz});
      }
    B::template row_sum_gradients<T>(d, z, beside(other), sharpness(), phi_, slope, dz);
  }
  bool compares() const noexcept override { return Phi::compares; }
  index_t top_words() const noexcept override {
    if constexpr (short_rows_possible)
      return phi_.top_k;
    else
      return 0;
  }

 private:
  static constexpr bool short_rows_possible = requires(const Phi& phi) { phi.top_k, phi.tail; };
  /// Both distributions over the likeliest words of the other one; of one alone, over its own.
  struct short_rows {
    const std::int32_t* ids;
    index_t words;
    view<const T> own, other;  ///< [rows, words + tail]
  };
  short_rows shorten(device& d, arena<B>& memory, view<const T> z, const compared_rows<T>& other) const {
    const index_t all = z.columns, wanted = phi_.top_k;
    const index_t words = Phi::compares && other.words ? other.count : wanted < all ? wanted : all;
    const std::int32_t* ids = Phi::compares ? other.words : nullptr;
    const view<const T> chooser = Phi::compares ? other.logits : z;  // whose likeliest words
    const shape extent{z.rows, words + (phi_.tail ? 1 : 0)};
    const view<T> own = memory.template make<T>(extent);
    const view<T> beside = Phi::compares ? memory.template make<T>(extent) : view<T>();
    if (ids) {
      B::for_each(d, z.rows, detail::place_each<T>{other.logp, all, ids, words, phi_.tail, sharpness(), beside});
    } else {
      auto* const picked = memory.template make_array<std::int32_t>(z.rows * words);
      B::for_each(d, z.rows, detail::pick_each<T>{chooser, picked, words});
      ids = picked;
      if (Phi::compares)
        B::for_each(d, z.rows, detail::gather_each<T>{chooser, ids, words, phi_.tail, sharpness(), beside});
    }
    B::for_each(d, z.rows, detail::gather_each<T>{z, ids, words, phi_.tail, sharpness(), own});
    return {ids, words, own, beside};
  }
  static view<const T> beside(const compared_rows<T>& other) { return Phi::compares ? other.logits : view<const T>(); }
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

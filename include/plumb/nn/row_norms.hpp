// SPDX-License-Identifier: BSL-1.0
// The length of every row of an adapted weight, without making that weight.
#pragma once

#include <plumb/autograd/weight_product.hpp>
#include <plumb/config.hpp>
#include <plumb/core/math.hpp>

namespace plumb::inline v0 {

namespace detail {

/// squares_j = Σ_i W_ji²
template <class T>
struct row_squares_each {
  view<const T> weight;
  T* squares;
  PLUMB_HD void operator()(index_t j) const {
    double sum = 0;
    for (index_t i = 0; i < weight.columns; ++i) {
      const auto w = static_cast<double>(weight.row(j)[i]);
      sum += w * w;
    }
    squares[j] = static_cast<T>(sum);
  }
};

/// norms_j = ‖W_j + s B_j A‖ from ‖W_j‖² + 2 s B_j · (A W_jᵀ) + s² B_j (A Aᵀ) B_jᵀ. Where the terms cancel, the row is made.
template <class T>
struct adapted_norm_each {
  view<const T> weight;  ///< [out, in]
  view<const T> a, b;    ///< [rank, in], [out, rank]
  const T* squares;      ///< [out] ‖W_j‖²
  view<const T> aw;      ///< [rank, out] A Wᵀ
  view<const T> aa;      ///< [rank, rank] A Aᵀ
  double scale;
  T* norms;

  PLUMB_HD void operator()(index_t j) const {
    const index_t rank = a.rows;
    double mixed = 0, own = 0;
    for (index_t k = 0; k < rank; ++k) {
      const double bk = static_cast<double>(b.row(j)[k]);
      double inner = 0;
      for (index_t l = 0; l < rank; ++l) inner += static_cast<double>(aa.row(k)[l]) * static_cast<double>(b.row(j)[l]);
      mixed += bk * static_cast<double>(aw.row(k)[j]);
      own += bk * inner;
    }
    const double first = static_cast<double>(squares[j]), last = scale * scale * own;
    double square = first + 2 * scale * mixed + last;
    if (!(square > 0.01 * (first + last))) square = made(j);
    norms[j] = static_cast<T>(__builtin_sqrt(square));
  }

 private:
  PLUMB_HD double made(index_t j) const {
    double sum = 0;
    for (index_t i = 0; i < weight.columns; ++i) {
      double change = 0;
      for (index_t k = 0; k < a.rows; ++k)
        change += static_cast<double>(b.row(j)[k]) * static_cast<double>(a.row(k)[i]);
      const double w = static_cast<double>(weight.row(j)[i]) + scale * change;
      sum += w * w;
    }
    return sum;
  }
};

}  // namespace detail

/// Σ_i W_ji² of every row j, [1, out].
template <class B, class T>
tensor<B, T> row_squares(const device_ptr<B>& device, view<const T> weight) {
  tensor<B, T> out(device, {1, weight.rows});
  B::for_each(*device, weight.rows, detail::row_squares_each<T>{weight, out.get().data});
  return out;
}

/// ‖W_j + s B_j A‖ of every row j, [1, out], in the tape's memory; W [out, in], A [rank, in], B [out, rank].
/// `squares` [1, out] are those of W. Costs what `rank` tokens cost in W, not the [out, in] numbers of the sum.
template <class B, class T>
view<const T> adapted_row_norms(tape<B, T>& t, const variable<B, T>& weight, view<const T> squares, view<const T> a,
                                view<const T> b, double scale) {
  const view<T> norms = t.memory().template make<T>({1, weight.rows()});
  typename tape<B, T>::scope forgotten(t, false);
  const view<T> aw = t.memory().template make<T>({a.rows, weight.rows()});
  const view<T> aa = t.memory().template make<T>({a.rows, a.rows});
  detail::with_plain(t, weight, [&](view<const T> plain) {  // rows whose terms cancel are made anew from it
    B::multiply(t.device(), product::nt, T(1), a, plain, T(0), aw);
    B::multiply(t.device(), product::nt, T(1), a, a, T(0), aa);
    B::for_each(t.device(), plain.rows,
                detail::adapted_norm_each<T>{plain, a, b, squares.data, aw, aa, scale, norms.data});
  });
  return norms;
}

}  // namespace plumb::inline v0

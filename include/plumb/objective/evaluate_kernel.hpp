// SPDX-License-Identifier: BSL-1.0
// One record in, its loss and slopes out: the function object that every backend runs once per record.
#pragma once

#include <plumb/objective/concept.hpp>
#include <plumb/objective/record.hpp>

namespace plumb::inline v0 {

namespace detail {

/// Copies a record of plain numbers into one of duals; differentiable field k becomes the variable of slot k.
template <class Real>
struct seed_fields {
  int slot = 0;
  constexpr void operator()(const field&, Real& to, const double& from) { to = Real::variable(from, slot++); }
  template <class Plain>
  constexpr void operator()(const field&, Plain& to, const Plain& from) {
    to = from;
  }
};

}  // namespace detail

/// The record with its differentiable fields turned into dual variables, in the order of `for_each_slot`.
template <level L>
constexpr record<L, dual_of<L>> seed(const record<L>& plain) {
  record<L, dual_of<L>> result;
  detail::seed_fields<dual_of<L>> copy;
  record<L>::fields(copy, "", result, plain);
  return result;
}

/// Evaluates record i: losses[i] = L_i (unweighted) and slopes[i, s] = w_i ∂L_i/∂slot_s.
///
/// A plain struct of pointers and numbers; a backend's for_each may run it anywhere, on any thread, in any order:
/// records [n], weights [n], losses [n], slopes [n, slot_count]. constants: [n] when the objective prepares one per
/// record, [1] when it prepares one for the batch, else null. A record of weight 0 is skipped: loss 0, slopes 0,
/// whatever it holds.
template <class O>
struct evaluate_kernel {
  static_assert(check_objective<O>());
  static constexpr int slots = slot_count<O::level>();

  O objective;
  const prepared<O>* constants;
  const record<O::level>* records;
  const double* weights;
  double* losses;
  double* slopes;

  constexpr void operator()(index_t i) const {
    const double weight = weights[i];
    double* const slope = slopes + i * slots;
    if (weight == 0) {
      losses[i] = 0;
      for (int s = 0; s < slots; ++s) slope[s] = 0;
      return;
    }
    const dual_of<O::level> loss = value(i);
    losses[i] = loss.value;
    for (int s = 0; s < slots; ++s) slope[s] = weight * loss.slope[s];
  }

 private:
  constexpr dual_of<O::level> value(index_t i) const {
    if constexpr (detail::with_prepare<O>)
      return objective(seed<O::level>(records[i]), constants[prepares_each<O> ? i : 0]);
    else
      return objective(seed<O::level>(records[i]));
  }
};

}  // namespace plumb::inline v0

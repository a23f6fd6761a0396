// SPDX-License-Identifier: BSL-1.0
// The regression of a value head, as actor-critic objectives do it.
#pragma once

#include <plumb/core/math.hpp>
#include <plumb/objective/record.hpp>

namespace plumb::inline v0 {

/// The regression of a value head on the return, as far as one step may go: ½ max((V − R)², (clip(V, V_old ± ε) − R)²).
///
/// V `value`, V_old `old_value`, R `return`, all in units of the reward; ε `clip`. ∂/∂V = V − R, and 0 where V has already
/// left V_old ± ε towards R.
template <class Real>
constexpr Real clipped_value_loss(const token_record<Real>& r, double clip) {
  const Real held = clamp(r.value, r.old_value - clip, r.old_value + clip);
  return 0.5 * max(square(r.value - r.ret), square(held - r.ret));
}

namespace detail {
/// add(name, value) of the value head's loss and of whether the clipping has changed it.
constexpr void value_metrics(const token_record<double>& r, double clip, auto& add) {
  const double loss = clipped_value_loss(r, clip);
  add("loss/value_avg", loss);
  add("val/clipfrac_avg", loss > 0.5 * square(r.value - r.ret) ? 1 : 0);
}
}  // namespace detail

}  // namespace plumb::inline v0

// SPDX-License-Identifier: BSL-1.0
// A dual number does not turn into a plain one by itself: the slopes would be lost in silence.
// expect: cannot convert
// or: no viable conversion
#include <plumb/core/math.hpp>

double run(plumb::dual<2> x) {
#if defined(FIXED)
  return plumb::value_of(x);
#else
  return x;
#endif
}

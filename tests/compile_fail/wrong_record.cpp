// SPDX-License-Identifier: BSL-1.0
// expect: this objective cannot be called with a record of its level
#include <plumb/objective/evaluate.hpp>

struct mine {
  static constexpr const char* name = "mine";
#if defined(FIXED)
  static constexpr auto level = plumb::level::sequence;
#else
  static constexpr auto level = plumb::level::pair;
#endif
  static constexpr auto needs = plumb::need::logp;
  template <class Real>
  constexpr Real operator()(const plumb::sequence_record<Real>& r) const {
    return -r.logp;
  }
};

static_assert(plumb::check_objective<mine>());

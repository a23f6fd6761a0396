// SPDX-License-Identifier: BSL-1.0
// expect: this objective cannot be called with a record of its level; add `template <class Real>
#include <plumb/objective/evaluate.hpp>

struct mine {
  static constexpr const char* name = "mine";
  static constexpr auto level = plumb::level::pair;
  static constexpr auto needs = plumb::need::logp;
#if defined(FIXED)
  template <class Real>
  constexpr Real operator()(const plumb::pair_record<Real>& r) const {
    return r.rejected.logp - r.chosen.logp;
  }
#endif
};

double run(const std::vector<plumb::pair_record<>>& records) { return plumb::evaluate(mine{}, records).total; }

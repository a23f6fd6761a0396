// SPDX-License-Identifier: BSL-1.0
// expect: this objective has no name; add `static constexpr const char* name
#include <plumb/objective/evaluate.hpp>

struct mine {
#if defined(FIXED)
  static constexpr const char* name = "mine";
#endif
  static constexpr auto level = plumb::level::pair;
  static constexpr auto needs = plumb::need::logp;
  template <class Real>
  constexpr Real operator()(const plumb::pair_record<Real>& r) const {
    return r.rejected.logp - r.chosen.logp;
  }
};

double run(const std::vector<plumb::pair_record<>>& records) { return plumb::evaluate(mine{}, records).total; }

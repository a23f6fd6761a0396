// SPDX-License-Identifier: BSL-1.0
// expect: operator() takes records of plain numbers only, so it cannot be differentiated
#include <plumb/objective/evaluate.hpp>

struct mine {
  static constexpr const char* name = "mine";
  static constexpr auto level = plumb::level::group;
  static constexpr auto needs = plumb::need::reward;
#if defined(FIXED)
  template <class Real>
#else
  using Real = double;
#endif
  Real operator()(std::span<const plumb::sequence_record<Real>> ranked) const {
    return -ranked[0].reward;
  }
};

double run(const std::vector<plumb::group_record<>>& groups) { return plumb::evaluate(mine{}, groups).total; }

// SPDX-License-Identifier: BSL-1.0
// expect: an objective of level group is handed the ranked replies of one prompt, best first; add
#include <plumb/objective/evaluate.hpp>

struct mine {
  static constexpr const char* name = "mine";
  static constexpr auto level = plumb::level::group;
  static constexpr auto needs = plumb::need::reward;
  template <class Real>
#if defined(FIXED)
  Real operator()(std::span<const plumb::sequence_record<Real>> ranked) const {
    return -ranked[0].reward;
  }
#else
  Real operator()(const plumb::group_record<Real>& group) const {
    return -group.replies[0].reward;
  }
#endif
};

double run(const std::vector<plumb::group_record<>>& groups) { return plumb::evaluate(mine{}, groups).total; }

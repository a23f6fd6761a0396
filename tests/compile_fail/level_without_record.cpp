// SPDX-License-Identifier: BSL-1.0
// expect: objectives on records have level token, sequence, pair or group
#include <plumb/objective/evaluate.hpp>

struct mine {
  static constexpr const char* name = "mine";
#if defined(FIXED)
  static constexpr auto level = plumb::level::token;
#else
  static constexpr auto level = plumb::level::row;
#endif
  static constexpr auto needs = plumb::need::logp;
  template <class Real>
  constexpr Real operator()(const plumb::token_record<Real>& r) const {
    return -r.logp;
  }
};

double run(const std::vector<plumb::token_record<>>& records) { return plumb::evaluate(mine{}, records).total; }

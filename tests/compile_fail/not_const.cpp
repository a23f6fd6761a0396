// SPDX-License-Identifier: BSL-1.0
// expect: operator() must be const: an objective is a value that does not change while it works
#include <plumb/objective/evaluate.hpp>

struct mine {
  static constexpr const char* name = "mine";
  static constexpr auto level = plumb::level::token;
  static constexpr auto needs = plumb::need::logp;
#if defined(FIXED)
  template <class Real>
  constexpr Real operator()(const plumb::token_record<Real>& r) const {
    return -r.logp;
  }
#else
  template <class Real>
  constexpr Real operator()(const plumb::token_record<Real>& r) {
    return -r.logp;
  }
#endif
};

double run(const std::vector<plumb::token_record<>>& records) { return plumb::evaluate(mine{}, records).total; }

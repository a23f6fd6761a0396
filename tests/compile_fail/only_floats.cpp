// SPDX-License-Identifier: BSL-1.0
// expect: operator() takes records of plain numbers only, so it cannot be differentiated; write `template <class Real>
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
  constexpr float operator()(const plumb::token_record<float>& r) const { return -r.logp; }
#endif
};

double run(const std::vector<plumb::token_record<>>& records) { return plumb::evaluate(mine{}, records).total; }

// SPDX-License-Identifier: BSL-1.0
// expect: operator() must return Real, the number type of its record, not float, double or auto of something else
// expect: would train with zero gradient
#include <plumb/objective/evaluate.hpp>

struct mine {
  static constexpr const char* name = "mine";
  static constexpr auto level = plumb::level::token;
  static constexpr auto needs = plumb::need::logp;
  template <class Real>
#if defined(FIXED)
  constexpr Real operator()(const plumb::token_record<Real>& r) const {
    return -r.logp;
  }
#else
  constexpr float operator()(const plumb::token_record<Real>& r) const {
    return -static_cast<float>(plumb::value_of(r.logp));
  }
#endif
};

double run(const std::vector<plumb::token_record<>>& records) { return plumb::evaluate(mine{}, records).total; }

// SPDX-License-Identifier: BSL-1.0
// expect: operator() must return Real, the number type of its record, not float, double or auto of something else
#include <plumb/objective/evaluate.hpp>

struct mine {
  static constexpr const char* name = "mine";
  static constexpr auto level = plumb::level::token;
  static constexpr auto needs = plumb::need::logp;
  constexpr auto operator()(const auto& r) const {
#if defined(FIXED)
    return -r.logp;
#else
    return -plumb::value_of(r.logp);
#endif
  }
};

double run(const std::vector<plumb::token_record<>>& records) { return plumb::evaluate(mine{}, records).total; }

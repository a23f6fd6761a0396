// SPDX-License-Identifier: BSL-1.0
// expect: this objective does not say which fields it reads; add `static constexpr auto needs
#include <plumb/objective/evaluate.hpp>

struct mine {
  static constexpr const char* name = "mine";
  static constexpr auto level = plumb::level::token;
#if defined(FIXED)
  static constexpr auto needs = plumb::need::logp;
#endif
  template <class Real>
  constexpr Real operator()(const plumb::token_record<Real>& r) const {
    return -r.logp;
  }
};

double run(const std::vector<plumb::token_record<>>& records) { return plumb::evaluate(mine{}, records).total; }

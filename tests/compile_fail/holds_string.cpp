// SPDX-License-Identifier: BSL-1.0
// expect: an objective is copied to the device byte by byte, so its members must be plain numbers, bools or enums
#include <plumb/objective/evaluate.hpp>

struct mine {
  static constexpr const char* name = "mine";
  static constexpr auto level = plumb::level::token;
  static constexpr auto needs = plumb::need::logp;
#if defined(FIXED)
  int label = 0;
#else
  std::string label;
#endif
  template <class Real>
  constexpr Real operator()(const plumb::token_record<Real>& r) const {
    return -r.logp;
  }
};

double run(const std::vector<plumb::token_record<>>& records) { return plumb::evaluate(mine{}, records).total; }

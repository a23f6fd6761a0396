// SPDX-License-Identifier: BSL-1.0
// expect: this objective has prepare(), so its operator() takes two arguments
#include <plumb/objective/evaluate.hpp>

struct mine {
  static constexpr const char* name = "mine";
  static constexpr auto level = plumb::level::token;
  static constexpr auto needs = plumb::need::logp;
  double prepare(std::span<const plumb::token_record<>> records) const { return static_cast<double>(records.size()); }
  template <class Real>
#if defined(FIXED)
  constexpr Real operator()(const plumb::token_record<Real>& r, double count) const {
    return -r.logp / count;
  }
#else
  constexpr Real operator()(const plumb::token_record<Real>& r) const {
    return -r.logp;
  }
#endif
};

double run(const std::vector<plumb::token_record<>>& records) { return plumb::evaluate(mine{}, records).total; }

// SPDX-License-Identifier: BSL-1.0
// expect: what prepare() returned (the record's own element, where that is a std::vector)
#include <plumb/objective/evaluate.hpp>

struct mine {
  static constexpr const char* name = "mine";
  static constexpr auto level = plumb::level::token;
  static constexpr auto needs = plumb::need::logp;
  std::vector<double> prepare(std::span<const plumb::token_record<>> all) const {
    return std::vector<double>(all.size());
  }
#if defined(FIXED)
  using constant = double;
#else
  using constant = std::vector<double>;  // all of them, instead of the record's own
#endif
  template <class Real>
  constexpr Real operator()(const plumb::token_record<Real>& r, const constant&) const {
    return -r.logp;
  }
};

double run(const std::vector<plumb::token_record<>>& records) { return plumb::evaluate(mine{}, records).total; }

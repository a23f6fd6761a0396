// SPDX-License-Identifier: BSL-1.0
// expect: prepare() must be const and take the records of the batch
#include <plumb/objective/evaluate.hpp>

struct mine {
  static constexpr const char* name = "mine";
  static constexpr auto level = plumb::level::token;
  static constexpr auto needs = plumb::need::logp;
#if defined(FIXED)
  double prepare(std::span<const plumb::token_record<>> records) const { return static_cast<double>(records.size()); }
#else
  double prepare(std::span<const plumb::token_record<>> records) { return static_cast<double>(records.size()); }
#endif
  template <class Real>
  constexpr Real operator()(const plumb::token_record<Real>& r, double count) const {
    return -r.logp / count;
  }
};

double run(const std::vector<plumb::token_record<>>& records) { return plumb::evaluate(mine{}, records).total; }

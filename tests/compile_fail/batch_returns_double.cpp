// SPDX-License-Identifier: BSL-1.0
// expect: operator() must return Real, the number type of its records
#include <plumb/objective/evaluate.hpp>

struct mine {
  static constexpr const char* name = "mine";
  static constexpr auto level = plumb::level::pair;
  static constexpr auto needs = plumb::need::logp;
  template <class Real>
#if defined(FIXED)
  Real operator()(std::span<const plumb::pair_record<Real>> batch) const {
    return -batch[0].chosen.logp;
  }
#else
  double operator()(std::span<const plumb::pair_record<Real>> batch) const {
    return -plumb::value_of(batch[0].chosen.logp);
  }
#endif
};

double run(const std::vector<plumb::pair_record<>>& records) { return plumb::evaluate(mine{}, records).total; }

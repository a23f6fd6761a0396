// SPDX-License-Identifier: BSL-1.0
// expect: or for the loss of a whole batch `Real operator()(std::span<const plumb::pair_record<Real>> batch) const`
#include <plumb/objective/evaluate.hpp>

struct mine {
  static constexpr const char* name = "mine";
  static constexpr auto level = plumb::level::pair;
  static constexpr auto needs = plumb::need::logp;
  template <class Real>
#if defined(FIXED)
  Real operator()(std::span<const plumb::pair_record<Real>> batch) const {
#else
  Real operator()(const std::vector<plumb::pair_record<Real>>& batch) const {
#endif
      return batch[0].rejected.logp - batch[0].chosen.logp;
}
}
;

double run(const std::vector<plumb::pair_record<>>& records) { return plumb::evaluate(mine{}, records).total; }

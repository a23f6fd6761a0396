// SPDX-License-Identifier: BSL-1.0
// expect: an objective whose operator() is handed a span sees all records at once and has no prepare()
#include <plumb/objective/evaluate.hpp>

struct mine {
  static constexpr const char* name = "mine";
  static constexpr auto level = plumb::level::pair;
  static constexpr auto needs = plumb::need::logp;
#if !defined(FIXED)
  double prepare(std::span<const plumb::pair_record<>> batch) const { return static_cast<double>(batch.size()); }
#endif
  template <class Real>
  Real operator()(std::span<const plumb::pair_record<Real>> batch) const {
    return -batch[0].chosen.logp;
  }
};

double run(const std::vector<plumb::pair_record<>>& records) { return plumb::evaluate(mine{}, records).total; }

// SPDX-License-Identifier: BSL-1.0
// expect: one of these objectives is about single records, the other about the whole batch; add them as any_objective
#include <plumb/objective/any_objective.hpp>
#include <plumb/objective/compose.hpp>
#include <plumb/objective/dpo.hpp>

struct mine {
  static constexpr const char* name = "mine";
  static constexpr auto level = plumb::level::pair;
  static constexpr auto needs = plumb::need::logp;
  template <class Real>
  Real operator()(std::span<const plumb::pair_record<Real>> batch) const {
    return -batch[0].chosen.logp;
  }
};

double run(const std::vector<plumb::pair_record<>>& records) {
#if defined(FIXED)
  using any = plumb::any_objective<plumb::level::pair>;
  return (any(mine{}) + any(plumb::dpo{})).evaluate(records).total;
#else
  using plumb::operator+;
  const auto sum = mine{} + plumb::dpo{};
  return sizeof(sum) + static_cast<double>(records.size());
#endif
}

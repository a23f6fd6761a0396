// SPDX-License-Identifier: BSL-1.0
// expect: prepare() must return plain numbers, or a std::vector of them with one element per record
#include <plumb/objective/evaluate.hpp>

#if defined(FIXED)
using constant = std::vector<double>;
#else
using constant = std::vector<std::vector<double>>;
#endif

struct mine {
  static constexpr const char* name = "mine";
  static constexpr auto level = plumb::level::token;
  static constexpr auto needs = plumb::need::logp;
  constant prepare(std::span<const plumb::token_record<>>) const { return {}; }
  template <class Real>
  constexpr Real operator()(const plumb::token_record<Real>& r, const constant::value_type&) const {
    return -r.logp;
  }
};

double run(const std::vector<plumb::token_record<>>& records) { return plumb::evaluate(mine{}, records).total; }

// SPDX-License-Identifier: BSL-1.0
// Objectives on rows of the vocabulary, and how one becomes an objective on tokens. One row alone: evaluate_row.hpp.
#pragma once

#include <plumb/objective/concept.hpp>
#include <plumb/objective/record.hpp>

namespace plumb::inline v0 {

/// A function φ of one word's log-probability, and of another network's when it `compares`; its loss of a row is
/// Σ_v φ(log p_v, other_v). A small value with a name and level row.
template <class O>
concept row_objective = detail::with_name<O> && detail::with_level<O> && O::level == level::row &&
                        std::is_trivially_copyable_v<O> && requires(const O& o, const dual<1>& logp) {
                          { O::compares } -> std::convertible_to<bool>;
                          { o(logp, 0.0) } -> std::same_as<dual<1>>;
                        };

/// A row objective as an objective on tokens: the head makes Σ_v φ, the loss of a token is that sum.
template <row_objective Phi>
struct row_loss {
  static constexpr const char* name = Phi::name;
  static constexpr const char* paper = [] {
    if constexpr (requires { Phi::paper; })
      return Phi::paper;
    else
      return "";
  }();
  static constexpr auto level = plumb::level::token;
  static constexpr auto needs = need::statistic;
  using row_statistic = Phi;
  Phi function{};

  static constexpr void describe(auto& self, auto& about) {
    if constexpr (requires { Phi::describe(self.function, about); }) Phi::describe(self.function, about);
  }
  constexpr const char* conflict() const {
    if constexpr (requires { function.conflict(); })
      return function.conflict();
    else
      return nullptr;
  }
  constexpr Phi row_function() const { return function; }
  template <class Real>
  constexpr Real operator()(const token_record<Real>& r) const {
    return r.statistic;
  }
};

}  // namespace plumb::inline v0

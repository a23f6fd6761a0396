// SPDX-License-Identifier: BSL-1.0
// An objective of your own in ten lines: a preference loss whose margin grows with the length of the chosen reply.
#include <plumb/objective/all.hpp>

#include <cmath>
#include <cstdio>
#include <vector>

struct patient_dpo {
  static constexpr const char* name = "patient_dpo";
  static constexpr auto level = plumb::level::pair;  // one record is a preference pair
  static constexpr auto needs = plumb::need::logp | plumb::need::reference | plumb::need::tokens;

  double beta = 0.1;
  double per_token = 0.01;  // how much further apart the replies must be for every token of the chosen one

  static constexpr void describe(auto& self, auto& about) {
    about("beta", self.beta, "how strongly the policy is held to the reference", plumb::above(0));
    about("per_token", self.per_token, "margin per token of the chosen reply", plumb::at_least(0));
  }

  template <class Real>
  constexpr Real operator()(const plumb::pair_record<Real>& r) const {
    const Real gap = beta * (r.chosen.log_ratio() - r.rejected.log_ratio());
    return -plumb::log_sigmoid(gap - per_token * r.chosen.tokens);
  }

  double reward(const plumb::sequence_record<>& reply) const { return beta * reply.log_ratio(); }  // for the metrics
};
static_assert(plumb::check_objective<patient_dpo>());  // says in words what is missing, if anything is

int main() {
  // Records normally come from a model; here they are typed in. Log-probabilities are sums over tokens, in nats.
  std::vector<plumb::pair_record<>> pairs(2);
  pairs[0].chosen = {.logp = -12, .ref = -12.5, .tokens = 5};
  pairs[0].rejected = {.logp = -15, .ref = -14.2, .tokens = 8};
  pairs[1].chosen = {.logp = -30, .ref = -29, .tokens = 11};
  pairs[1].rejected = {.logp = -18, .ref = -19, .tokens = 6};

  patient_dpo mine;
  plumb::set_parameter(mine, "per_token", "0.02");  // as from a command line, with its range checked

  // It evaluates, adds to other objectives and reports metrics like those that plumb ships.
  using plumb::operator+;
  using plumb::operator*;
  const auto method = mine + 0.2 * plumb::sft_chosen{};
  const auto result = plumb::evaluate(method, pairs);
  std::printf("%s: loss %.6f\n", method.name, result.total);
  const int chosen = plumb::slot_of<plumb::level::pair>("chosen.logp"),
            rejected = plumb::slot_of<plumb::level::pair>("rejected.logp");
  for (int i = 0; i < 2; ++i) {
    std::printf("  pair %d: loss %.6f, d/dchosen.logp %.6f, d/drejected.logp %.6f\n", i,
                result.losses[static_cast<std::size_t>(i)], result.slope(i, chosen), result.slope(i, rejected));
  }
  plumb::metric_list metrics;
  plumb::collect_metrics(method, pairs, metrics);
  for (const auto& m : metrics) std::printf("  %-20s %.4f\n", m.name.c_str(), m.value());

  // Nobody derived the slopes by hand; here is the check that one would do once.
  const double h = 1e-6;
  auto moved = pairs;
  moved[0].chosen.logp += h;
  const double above = plumb::evaluate(method, moved).total;
  moved[0].chosen.logp -= 2 * h;
  const double below = plumb::evaluate(method, moved).total;
  return std::abs((above - below) / (2 * h) - result.slope(0, chosen)) < 1e-8 ? 0 : 1;
}

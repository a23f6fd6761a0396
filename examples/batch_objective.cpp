// SPDX-License-Identifier: BSL-1.0
// A loss of a whole batch in ten lines: each chosen reply against the rejected replies of all pairs (InfoNCE with
// negatives from the batch). No record can be judged alone, so operator() is handed all of them as a span.
#include <plumb/objective/all.hpp>

#include <cmath>
#include <cstdio>
#include <vector>

struct in_batch_contrast {
  static constexpr const char* name = "in_batch_contrast";
  static constexpr auto level = plumb::level::pair;
  static constexpr auto needs = plumb::need::reward;  // the outputs of a reward model's head

  double temperature = 1;

  template <class Real>
  Real operator()(std::span<const plumb::pair_record<Real>> batch) const {
    Real loss = 0;
    for (const auto& mine : batch) {
      Real all = mine.chosen.reward / temperature;  // log of a sum of exponentials, one term after another
      for (const auto& other : batch) all = plumb::log_add_exp(all, other.rejected.reward / temperature);
      loss += all - mine.chosen.reward / temperature;
    }
    return loss / static_cast<double>(batch.size());
  }
};
static_assert(plumb::check_objective<in_batch_contrast>());

int main() {
  std::vector<plumb::pair_record<>> pairs(3);
  const double chosen[] = {1.2, 0.0, -1.5}, rejected[] = {0.7, 0.1, 2.25};
  for (std::size_t i = 0; i < pairs.size(); ++i) {
    pairs[i].chosen.reward = chosen[i];
    pairs[i].rejected.reward = rejected[i];
  }

  // Real is plumb::scalar here: a tape writes down what happened and walks back once, for all slopes.
  const in_batch_contrast method{.temperature = 0.5};
  const auto result = plumb::evaluate(method, pairs);
  const int on_chosen = plumb::slot_of<plumb::level::pair>("chosen.reward"),
            on_rejected = plumb::slot_of<plumb::level::pair>("rejected.reward");
  std::printf("%s: loss %.6f\n", method.name, result.total);
  for (int i = 0; i < 3; ++i)
    std::printf("  pair %d: d/dchosen %.6f, d/drejected %.6f\n", i, result.slope(i, on_chosen),
                result.slope(i, on_rejected));

  // The third pair's rejected reply has the highest score of all: it pulls on every pair, and alone it would pull less.
  const auto alone = plumb::evaluate(method, std::vector{pairs[2]});
  std::printf("the third pair by itself: d/drejected %.6f\n", alone.slope(0, on_rejected) / 3);

  const double h = 1e-6;
  auto moved = pairs;
  moved[2].rejected.reward += h;
  const double above = plumb::evaluate(method, moved).total;
  moved[2].rejected.reward -= 2 * h;
  const double below = plumb::evaluate(method, moved).total;
  const double slope = result.slope(2, on_rejected);
  return std::abs((above - below) / (2 * h) - slope) < 1e-8 && slope > alone.slope(0, on_rejected) / 3 ? 0 : 1;
}

// SPDX-License-Identifier: BSL-1.0
// A dual number in ten lines of use: write a formula once, get its value and its exact slopes.
#include <plumb/core/dual.hpp>
#include <plumb/core/math.hpp>

#include <cmath>
#include <cstdio>

// The loss of a preference pair, as the paper prints it. `Real` is double here and a dual number there.
template <class Real>
Real preference_loss(const Real& chosen, const Real& rejected) {
  const double beta = 0.5;
  return -plumb::log_sigmoid(beta * (chosen - rejected));
}

int main() {
  // Step 1: a variable is a value that moves at speed 1, a constant one that stands still.
  using dual = plumb::dual<1>;
  const auto x = dual::variable(3, 0);
  const dual y = x * x + 2;
  std::printf("x*x + 2 at x = 3:        value %g, slope %g\n", y.value, y.slope[0]);

  // Step 2: two variables, two slopes, one evaluation.
  using pair = plumb::dual<2>;
  const pair loss = preference_loss(pair::variable(-12.0, 0), pair::variable(-11.0, 1));
  std::printf("loss of a pair:          %.6f, d/dchosen %.6f, d/drejected %.6f\n", loss.value, loss.slope[0],
              loss.slope[1]);

  // Step 3: compare with a finite difference, which is only an approximation.
  const double h = 1e-6;
  const double difference = (preference_loss(-12.0 + h, -11.0) - preference_loss(-12.0 - h, -11.0)) / (2 * h);
  std::printf("by finite differences:   d/dchosen %.6f\n", difference);

  // Step 4: why the vocabulary has words of its own. Composed from parts the same loss breaks far from zero.
  const pair far = pair::variable(-800, 0);
  const pair naive = plumb::log(1 / (1 + plumb::exp(-far)));
  const pair stable = plumb::log_sigmoid(far);
  std::printf("log(sigmoid(-800)):      %g with slope %g\n", naive.value, naive.slope[0]);
  std::printf("log_sigmoid(-800):       %g with slope %g\n", stable.value, stable.slope[0]);

  const bool as_taught = y.value == 11 && y.slope[0] == 6 && std::abs(loss.slope[0] - difference) < 1e-8 &&
                         stable.value == -800 && stable.slope[0] == 1;
  return as_taught ? 0 : 1;
}

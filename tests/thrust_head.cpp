// SPDX-License-Identifier: BSL-1.0
// Sums over the vocabulary: Thrust's blocks, run on the processor, and the cpu agree with the plain loops.
#include <plumb/backend/cpu.hpp>
#include <plumb/backend/reference.hpp>
#include <plumb/backend/thrust.hpp>
#include <plumb/nn/head_sums.hpp>
#include <plumb/objective/distill.hpp>

#include "catch.hpp"

#include <vector>

using namespace plumb;

TEMPLATE_TEST_CASE("row sums of thrust and cpu are those of the plain loops", "[head]", thrust_host, cpu) {
  using B = TestType;
  const index_t rows = 3, columns = 700;
  std::vector<double> z(static_cast<std::size_t>(rows * columns)), o(z.size());
  for (std::size_t i = 0; i < z.size(); ++i) {
    z[i] = 4 * std::sin(0.7 * static_cast<double>(i));
    o[i] = 3 * std::cos(0.3 * static_cast<double>(i));
  }
  z[5] = o[5] = o[9] = -std::numeric_limits<double>::infinity();  // forbidden words
  const view<const double> a(z.data(), {rows, columns}), b(o.data(), {rows, columns});
  const std::vector<double> slope{1, -2, 0.5};
  const auto compare = [&](const auto& phi, double sharpness) {
    const auto run = [&]<class Backend>(Backend, std::vector<double>& sums, std::vector<double>& dz) {
      typename Backend::device d;
      const view<const double> beside = std::remove_cvref_t<decltype(phi)>::compares ? b : view<const double>();
      Backend::template row_sums<double>(d, a, beside, sharpness, phi, sums.data());
      Backend::template row_sum_gradients<double>(d, a, beside, sharpness, phi, slope.data(),
                                                  view<double>(dz.data(), {rows, columns}));
    };
    std::vector<double> expected(3), found(3), expected_dz(z.size(), 0.25), found_dz(z.size(), 0.25);
    run(reference{}, expected, expected_dz);
    run(B{}, found, found_dz);
    for (std::size_t i = 0; i < 3; ++i) CHECK(found[i] == Approx(expected[i]).epsilon(1e-12));
    double worst = 0, moved = 0;
    for (std::size_t i = 0; i < z.size(); ++i) {
      worst = std::max(worst, std::abs(found_dz[i] - expected_dz[i]));
      moved = std::max(moved, std::abs(expected_dz[i] - 0.25));
    }
    CHECK(worst < 1e-13);
    CHECK(moved > 1e-6);  // there was something to agree on
  };
  compare(mean_log_probability{1.0 / 700}, 1.0);
  compare(collision_probability{}, 1.0);
  compare(forward_divergence{}, 1.0);
  for (const double beta : {0.0, 0.1, 0.5}) compare(distill{.temperature = 2, .beta = beta}, 0.5);
}

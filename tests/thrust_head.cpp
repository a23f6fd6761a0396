// SPDX-License-Identifier: BSL-1.0
// Sums over the vocabulary: Thrust's blocks, run on the processor, and the cpu agree with the plain loops. Products with
// packed weights, which Thrust unpacks.
#include <plumb/backend/cpu.hpp>
#include <plumb/backend/reference.hpp>
#include <plumb/backend/thrust.hpp>
#include <plumb/nn/head_sums.hpp>
#include <plumb/objective/distill.hpp>

#include "catch.hpp"
#include "packed_cases.hpp"

#include <cmath>
#include <memory>
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

TEMPLATE_TEST_CASE("sums over a teacher's likeliest words are the same everywhere", "[head]", thrust_host, cpu) {
  using B = TestType;
  const index_t rows = 4, columns = 300, words = 7;
  std::vector<double> z(static_cast<std::size_t>(rows * columns)), o(z.size()), logp;
  for (std::size_t i = 0; i < z.size(); ++i) {
    z[i] = 4 * std::sin(0.7 * static_cast<double>(i));
    o[i] = 3 * std::cos(0.3 * static_cast<double>(i));
  }
  std::vector<std::int32_t> ids;
  for (index_t i = 0; i < rows; ++i)
    for (index_t k = 0; k < words; ++k) {  // the last row knows three words only
      ids.push_back(i == 3 && k > 2 ? -1 : static_cast<std::int32_t>(11 * k + i));
      logp.push_back(-2.5 - 0.1 * static_cast<double>(k));
    }
  const view<const double> a(z.data(), {rows, columns}), b(o.data(), {rows, columns});
  const std::vector<double> slope{1, -2, 0.5, 3};
  for (const bool named : {false, true})
    for (const bool tail : {true, false})
      for (const auto how : {distill_divergence::forward_kl, distill_divergence::reverse_kl, distill_divergence::jsd}) {
        const distill method{.divergence = how, .temperature = 1.5, .top_k = static_cast<int>(words), .tail = tail};
        const compared_rows<double> beside =
            named ? compared_rows<double>{{}, ids.data(), logp.data(), words} : compared_rows<double>{.logits = b};
        const auto run = [&]<class Backend>(Backend, std::vector<double>& sums, std::vector<double>& dz) {
          const auto d = std::make_shared<typename Backend::device>();
          arena<Backend> memory(d);
          const vocabulary_sum_of<Backend, double, distill> sum(method);
          sum.sums(*d, memory, a, beside, sums.data());
          sum.add_gradients(*d, memory, a, beside, slope.data(), view<double>(dz.data(), {rows, columns}));
        };
        std::vector<double> expected(4), found(4), expected_dz(z.size(), 0.25), found_dz(z.size(), 0.25);
        run(reference{}, expected, expected_dz);
        run(B{}, found, found_dz);
        double worst = 0, moved = 0, total = 0;
        for (std::size_t i = 0; i < 4; ++i) worst = std::max(worst, std::abs(found[i] - expected[i]));
        for (std::size_t i = 0; i < z.size(); ++i) {
          worst = std::max(worst, std::abs(found_dz[i] - expected_dz[i]));
          moved = std::max(moved, std::abs(expected_dz[i] - 0.25));
          total += expected_dz[i] - 0.25;
        }
        CHECK(worst < 1e-12);
        CHECK(moved > 1e-6);
        CHECK(std::abs(total) < 1e-12);  // logits may all be raised without a change, the merged ones included
      }
}

TEST_CASE("products with packed weights on Thrust are those with their numbers", "[packed]") {
  const auto device = std::make_shared<thrust_host::device>();
  for (const packed_format format : plumb_test::packed_formats())
    for (const index_t tokens : {1, 40}) {
      CAPTURE(name(format), tokens);
      plumb_test::check_packed_products<thrust_host>(device, format, tokens);
    }
}

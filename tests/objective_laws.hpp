// SPDX-License-Identifier: BSL-1.0
// Every objective computes the same on every backend: its kernel, run once a record where the backend's memory is.
#pragma once

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include <plumb/backend/reference.hpp>
#include <plumb/core/random.hpp>
#include <plumb/objective/all.hpp>
#include "catch.hpp"
#include "device_numbers.hpp"

namespace plumb_test {

/// Fills a record's fields with numbers that make sense under their names.
class field_filler {
 public:
  explicit field_filler(std::uint64_t key) : key_(key) {}

  template <class Number>
  void operator()(const plumb::field& f, Number& member) {
    const double u = plumb::uniform_double(plumb::philox_word(key_, at_), plumb::philox_word(key_, at_ + 1));
    at_ += 2;
    const std::string_view name = f.name;
    if constexpr (std::is_same_v<Number, bool>) {
      member = u < 0.6;
    } else if (name == "sequence") {
      member = static_cast<Number>(4 * u);
    } else if (name == "tokens") {
      member = static_cast<Number>(1 + std::floor(9 * u));
    } else if (name == "target" || name == "correct") {
      member = u < 0.5 ? 0 : 1;
    } else if (name == "weight" || name == "margin" || name == "entropy" || name == "kl" || name == "sequential_kl") {
      member = static_cast<Number>(0.1 + u);
    } else if (name == "logp" || name == "ref" || name == "old" || name == "mean_logp" || name == "tail" ||
               name == "ref_tail" || name == "confidence") {
      member = static_cast<Number>(-4 * u - 0.01);
    } else {  // advantage, reward, value, return, statistic, …
      member = static_cast<Number>(3 * u - 1.5);
    }
  }

 private:
  std::uint64_t key_, at_ = 0;
};

/// Losses and slopes of one objective, computed where X keeps its memory.
template <class X, class O>
std::vector<double> run_objective(typename X::device& at, const O& objective,
                                  const std::vector<plumb::record<O::level>>& host,
                                  const std::vector<double>& weights) {
  constexpr int slots = plumb::slot_count<O::level>();
  const auto n = static_cast<index_t>(host.size());
  const numbers<X, plumb::record<O::level>> records(at, host);
  const numbers<X, plumb::prepared<O>> constants(
      at, plumb::prepare(objective, std::span<const plumb::record<O::level>>(host)));
  const numbers<X, double> weight(at, weights), losses(at, 9.0, n, 1), slopes(at, 9.0, n, slots);
  X::for_each(at, n,
              plumb::evaluate_kernel<O>{objective, constants.data(), records.data(), weight.data(), losses.data(),
                                        slopes.data()});
  auto result = losses.host();
  const auto more = slopes.host();
  result.insert(result.end(), more.begin(), more.end());
  return result;
}

/// All objectives on tokens, replies and pairs; those on ranked replies are made by the tape on the host.
template <class B>
void check_all_objectives() {
  using plumb::level;
  typename B::device d;
  plumb::reference::device host;
  int checked = 0;
  plumb::all_objectives::for_each([&](const auto& o) {
    using O = std::remove_cvref_t<decltype(o)>;
    if constexpr (O::level == level::token || O::level == level::sequence || O::level == level::pair) {
      if constexpr (!plumb::batch_objective<O>) {
        CAPTURE(std::string(O::name));
        std::vector<plumb::record<O::level>> records(13);
        std::vector<double> weights(records.size(), 0.25);
        for (std::size_t i = 0; i < records.size(); ++i) {
          field_filler fill(77 + i);
          plumb::record<O::level>::fields(fill, "", records[i]);
        }
        weights[3] = 0;
        const auto expected = run_objective<plumb::reference>(host, o, records, weights);
        const auto found = run_objective<B>(d, o, records, weights);
        REQUIRE(found.size() == expected.size());
        double largest = 0;
        for (std::size_t i = 0; i < found.size(); ++i) {
          CHECK(std::isfinite(expected[i]));
          CHECK(found[i] == Approx(expected[i]).epsilon(1e-12).margin(1e-14));
          largest = std::max(largest, std::abs(expected[i]));
        }
        CHECK(largest > 1e-6);
        CHECK(found[3] == 0);  // a record of weight 0 is skipped
        ++checked;
      }
    }
  });
  CHECK(checked > 30);
}

}  // namespace plumb_test

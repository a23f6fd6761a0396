// SPDX-License-Identifier: BSL-1.0
// The golden files of the objectives: records, and a case against plumb through names and texts as the program does it.
#pragma once

#include <algorithm>
#include <cmath>
#include <string>
#include <type_traits>
#include <vector>

#include <plumb/io/json.hpp>
#include <plumb/objective/all.hpp>
#include "catch.hpp"

namespace plumb_test {

inline double number(const plumb::json::value& v) { return v.to_number<double>(); }

template <plumb::level L>
std::vector<plumb::record<L>> read_records(const plumb::json::array& rows) {
  std::vector<plumb::record<L>> records;
  for (const auto& row : rows) {
    plumb::record<L> r;
    plumb::record<L>::fields(
        [&](const plumb::field& f, auto& member) {
          const auto& place = *f.part ? row.as_object().at(f.part).as_object() : row.as_object();
          const auto* found = place.if_contains(f.name);
          if (!found) return;
          if constexpr (std::is_same_v<decltype(member), bool&>)
            member = found->as_bool();
          else
            member = static_cast<std::remove_cvref_t<decltype(member)>>(number(*found));
        },
        "", r);
    records.push_back(r);
  }
  return records;
}

/// How far numbers may be from a golden file's: relative, and a margin for those near zero.
struct closeness {
  struct part {
    double relative = 0, margin = 0;
  };
  part total;  ///< the margin is relative to the largest loss of a record
  part losses, slopes, metrics;
};

inline Approx close(double expected, const closeness::part& allowed) {
  return Approx(expected).epsilon(allowed.relative).margin(allowed.margin);
}

/// One case: {"objective", "set", "loss", "losses", "slopes", "metrics"} on these records.
template <plumb::level L>
void compare_case(const plumb::json::object& c, const plumb::json::array& rows, const closeness& allowed) {
  auto objective = plumb::make_objective<L>(c.at("objective").as_string().c_str());
  for (const auto& [key, value] : c.at("set").as_object())
    plumb::set_option(objective, std::string(key),
                      value.is_string() ? std::string(value.as_string().c_str()) : plumb::json::dump(value));
  const auto records = read_records<L>(rows);
  CAPTURE(objective.name(), plumb::json::dump(c.at("set")));
  const auto result = objective.evaluate(records);
  double largest = 0;
  for (const double x : result.losses) largest = std::max(largest, std::abs(x));
  CHECK(result.total == close(number(c.at("loss")), {allowed.total.relative, allowed.total.margin * largest}));
  const auto paths = plumb::slot_paths<L>();
  for (std::size_t i = 0; i < records.size(); ++i) {
    CAPTURE(i);
    CHECK(result.losses[i] == close(number(c.at("losses").as_array()[i]), allowed.losses));
    const auto& slopes = c.at("slopes").as_array()[i].as_object();
    std::size_t compared = 0;
    for (std::size_t s = 0; s < paths.size(); ++s) {
      const auto* expected = slopes.if_contains(paths[s]);
      const double slope = result.slope(static_cast<plumb::index_t>(i), static_cast<int>(s));
      CHECK(slope == close(expected ? number(*expected) : 0.0, allowed.slopes));
      compared += expected ? 1 : 0;
    }
    CHECK(compared == slopes.size());
  }
  const auto* metrics = c.if_contains("metrics");
  if (!metrics) return;
  plumb::metric_list found;
  objective.collect_metrics(records, found);
  for (const auto& [key, value] : metrics->as_object()) {
    CAPTURE(std::string(key));
    CHECK(found.value(std::string(key)) == close(number(value), allowed.metrics));
  }
}

}  // namespace plumb_test

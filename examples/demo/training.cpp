// SPDX-License-Identifier: BSL-1.0
// The objectives by name, and their training loops.
#include "training.hpp"

#include <plumb/models/attach_lora.hpp>
#include <plumb/objective/all.hpp>
#include <plumb/train/fit.hpp>

namespace demo {

namespace {

using plumb::level;
using optional_teacher = std::optional<plumb::teacher<plumb::cpu, float>>;

template <level L>
plumb::any_objective<L> objective_of(const contender& c) {
  auto method = plumb::make_objective<L>(c.objective());
  std::string_view rest = c.settings;
  while (!rest.empty()) {
    const auto end = std::min(rest.find(' '), rest.size());
    const auto setting = rest.substr(0, end);
    const auto equals = setting.find('=');
    plumb::set_option(method, setting.substr(0, equals), setting.substr(equals + 1));
    rest.remove_prefix(std::min(end + 1, rest.size()));
  }
  return method;
}

/// Calls f(std::integral_constant<level, L>) for the level L of the contender's objective.
template <class F>
auto at_level_of(const contender& c, F&& f) {
  const level own = plumb::visit_objective(c.objective(), [](const auto& o) { return o.level; });
  switch (own) {
    case level::token: return f(std::integral_constant<level, level::token>{});
    case level::sequence: return f(std::integral_constant<level, level::sequence>{});
    case level::group: return f(std::integral_constant<level, level::group>{});
    case level::row: break;  // distill stands in plumb's list as an objective on tokens
    case level::pair: break;
  }
  return f(std::integral_constant<level, level::pair>{});
}

struct keep_log {
  std::vector<plumb::log_entry>& log;
  void on_log(plumb::log_entry entry) const { log.push_back(std::move(entry)); }
};

template <class Rows>
double train_on(student& policy, const contender& c, Rows&& rows, const plumb::fit_options& o,
                std::vector<plumb::log_entry>& log, const optional_teacher& teacher) {
  return at_level_of(c, [&](auto its) {
    return plumb::fit(policy, objective_of<its()>(c), std::forward<Rows>(rows), o, keep_log{log}, teacher).seconds;
  });
}

}  // namespace

wanted_rows rows_wanted_by(const contender& c) {
  return at_level_of(
      c, [&](auto its) { return wanted_rows{its(), static_cast<plumb::index_t>(objective_of<its()>(c).replies())}; });
}

double train(student& policy, const contender& c, std::vector<plumb::example> rows, const plumb::fit_options& o,
             std::vector<plumb::log_entry>& log, const optional_teacher& teacher) {
  return train_on(policy, c, std::move(rows), o, log, teacher);
}
double train(student& policy, const contender& c, plumb::example_stream& rows, const plumb::fit_options& o,
             std::vector<plumb::log_entry>& log) {
  return train_on(policy, c, rows, o, log, {});
}

}  // namespace demo

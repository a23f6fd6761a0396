// SPDX-License-Identifier: BSL-1.0
// Objectives by name; plumb objectives lists them.
#include "methods.hpp"

#include "commands.hpp"
#include "output.hpp"

#include <plumb/core/nearest.hpp>
#include <plumb/objective/needs.hpp>

namespace program {

std::pair<std::string, std::string> split_setting(const std::string& text) {
  const std::size_t equals = text.find('=');
  if (equals == 0 || equals == std::string::npos)
    throw error(errc::bad_argument, "--set", join("expected key=value, found \"", text, "\""));
  return {text.substr(0, equals), text.substr(equals + 1)};
}

method find_method(std::string_view name) {
  return visit_objective(name, [](const auto& objective) -> method {
    return any_objective<std::remove_cvref_t<decltype(objective)>::level>(objective);
  });
}

void apply_settings(method& m, const settings_list& settings) {
  std::visit(
      [&](auto& objective) {
        for (const auto& [key, value] : settings)
          if (key == "also") set_option(objective, key, value);
        for (const auto& [key, value] : settings) {
          if (key == "also") continue;
          std::vector<std::string_view> known{"also"};
          const auto parameters = objective.parameters();
          for (const parameter& p : parameters) known.push_back(p.name);
          if (std::find(known.begin(), known.end(), key) == known.end())
            throw error(errc::bad_argument, objective.name(), unknown_name("parameter", key, known));
          set_option(objective, key, value);
        }
      },
      m);
}

std::string name_of(const method& m) {
  return std::visit([](const auto& objective) { return objective.name(); }, m);
}
need needs_of(const method& m) {
  return std::visit([](const auto& objective) { return objective.needs(); }, m);
}
const distill* distillation_of(const method& m) {
  const auto* const on_tokens = std::get_if<any_objective<level::token>>(&m);
  return on_tokens ? on_tokens->find_row_function<distill>() : nullptr;
}
bool says_scores(const method& m) { return has(needs_of(m), need::reward) && !has(needs_of(m), need::logp); }
bool reads_steps(const method& m) {
  return std::holds_alternative<any_objective<level::token>>(m) && has(needs_of(m), need::target);
}
std::vector<parameter> parameters_of(const method& m) {
  return std::visit([](const auto& objective) { return objective.parameters(); }, m);
}

std::vector<std::string> need_names(need needs) {
  std::vector<std::string> out;
  for (const auto& each : all_needs)
    if (has(needs, each.what)) out.emplace_back(each.name);
  return out;
}

namespace {

/// A number where the text is one, so that defaults can be computed with.
json::value as_number(const std::string& text) {
  if (text == "true" || text == "false") return text == "true";
  double number = 0;
  return read_number(text, number) ? json::value(number) : json::value(text);
}

json::object describe_parameter(const parameter& p) {
  json::object out;
  out["name"] = p.name;
  out["default"] = as_number(p.value);
  out["meaning"] = p.meaning;
  out["range"] = describe_range(p.range);
  return out;
}

int run_objectives(const arguments& given) {
  (void)read_common(given);
  write_output(given.text("--out"), [&](output& out) {
    all_objectives::for_each([&](const auto& objective) {
      using O = std::remove_cvref_t<decltype(objective)>;
      json::object row;
      row["name"] = O::name;
      std::string_view level_name = name(O::level);
      if constexpr (requires { O::row_statistic::level; }) level_name = name(O::row_statistic::level);
      row["level"] = std::string(level_name);
      need needs = O::needs;  // with the parameters as they are by default
      if constexpr (requires { objective.active_needs(); }) needs = objective.active_needs();
      row["needs"] = list(need_names(needs));
      json::array described;
      for (const parameter& p : parameters(objective)) described.push_back(describe_parameter(p));
      row["parameters"] = std::move(described);
      if constexpr (requires { O::paper; })
        row["paper"] = O::paper;
      else
        row["paper"] = nullptr;
      out.line(row);
    });
  });
  return 0;
}

}  // namespace

const command objectives_command{
    "objectives",
    "",
    "Lists the objectives: level, needs, parameters with defaults, paper.",
    "Prints one JSON object per objective. Their names are what `loss`, `grad` and `train` take.",
    "  plumb objectives",
    {{"--out", "F", "where the list goes, instead of standard output"}},
    run_objectives};

}  // namespace program

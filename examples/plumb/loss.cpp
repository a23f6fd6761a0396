// SPDX-License-Identifier: BSL-1.0
// plumb loss: an objective on records given as numbers; its loss, metrics and slopes.
#include "commands.hpp"
#include "input.hpp"
#include "methods.hpp"
#include "output.hpp"

#include <plumb/core/nearest.hpp>
#include <plumb/objective/needs.hpp>
#include <plumb/objective/paths.hpp>

#include <map>

namespace program {

namespace {

/// Numbers for the completions that tokens name, whatever they are called: 7, "a" or "7".
using sequence_names = std::map<std::string, index_t>;

void read_member(const json::value& v, const field& f, const std::string& place, sequence_names&, double& out) {
  const std::string what = join("\"", path(f), "\"");
  out = json::as<double>(v, what, place);
  if (f.asks == need::tokens && !(out >= 1))
    throw error(errc::bad_data, place, join(what, ": expected a count from 1, found ", out));
}
void read_member(const json::value& v, const field& f, const std::string& place, sequence_names&, bool& out) {
  out = json::as<bool>(v, join("\"", path(f), "\""), place);
}
void read_member(const json::value& v, const field&, const std::string&, sequence_names& names, index_t& out) {
  out = names.try_emplace(json::dump(v), static_cast<index_t>(names.size())).first->second;
}

/// Refuses keys that no field of the level has, naming the nearest.
template <level L>
void check_fields(const json::object& row, const std::string& place) {
  std::vector<std::string> paths;
  std::vector<std::string_view> parts;
  const record<L> empty;
  record<L>::fields(
      [&](const field& f, const auto&) {
        paths.push_back(path(f));
        if (*f.part && (parts.empty() || parts.back() != f.part)) parts.emplace_back(f.part);
      },
      "", empty);
  const std::vector<std::string_view> known(paths.begin(), paths.end());
  const auto check = [&](const std::string& found) {
    if (std::find(paths.begin(), paths.end(), found) == paths.end())
      throw error(errc::bad_data, place, unknown_name("key", found, known));
  };
  for (const auto& member : row) {
    const std::string key(member.key().data(), member.key().size());
    if (std::find(parts.begin(), parts.end(), key) == parts.end()) {
      check(key);
    } else {
      for (const auto& inner : json::as_object(member.value(), join("\"", key, "\""), place))
        check(join(key, ".", std::string_view(inner.key().data(), inner.key().size())));
    }
  }
}

const json::value* find_field(const json::object& row, const field& f) {
  const json::object* from = &row;
  if (*f.part) {
    const json::value* const part = json::find(row, f.part);
    from = part ? part->if_object() : nullptr;
  }
  const json::value* const v = from ? json::find(*from, f.name) : nullptr;
  return v && !v->is_null() ? v : nullptr;
}

/// The fields of a record that are in the row; `within` is where the row is part of a larger one, "replies.0.".
template <level L>
record<L> read_fields(const json::object& row, need needs, const std::string& objective, const std::string& place,
                      sequence_names& names, const std::string& within = "") {
  check_fields<L>(row, place);
  record<L> out;
  record<L>::fields(
      [&](const field& f, auto& member) {
        if (const json::value* const v = find_field(row, f)) return read_member(*v, f, place, names, member);
        if (f.role == role::optional || f.asks == need::none || !has(needs, f.asks)) return;
        std::string_view remedy;
        for (const auto& each : all_needs)
          if (each.what == f.asks) remedy = each.remedy;
        throw error(
            errc::bad_data, place,
            join("the objective ", objective, " needs \"", within, path(f), "\", which the record lacks; ", remedy));
      },
      "", out);
  return out;
}

template <level L>
record<L> read_record(const json::object& row, const any_objective<L>& objective, const std::string& place,
                      sequence_names& names) {
  const json::value* const mask = json::find(row, "mask");
  const bool counts = !mask || !mask->is_bool() || mask->as_bool();  // a token that does not count may lack anything
  return read_fields<L>(row, counts ? objective.needs() : need::none, objective.name(), place, names);
}

/// {"rewards": [best … worst]} or {"replies": [{"reward": x, "logp": x, ..}, ..]}, best first. Bare rewards are what the
/// objective ranks by: the scores, or of an objective on log-probabilities alone those per token.
record<level::group> read_record(const json::object& row, const any_objective<level::group>& objective,
                                 const std::string& place, sequence_names& names) {
  check_keys(row, {"rewards", "replies", "weight"}, place);
  const json::value* const rewards = json::find(row, "rewards");
  const json::value* const replies = json::find(row, "replies");
  if (!rewards == !replies)
    throw error(
        errc::bad_data, place,
        join("expected one of \"rewards\" (best to worst) and \"replies\", found ", rewards ? "both" : "neither"));
  record<level::group> out;
  out.weight = json::get_or<double>(row, "weight", 1.0, place);
  if (rewards) {
    const need needs = objective.needs();
    const bool scores = needs == need::reward;
    if (!scores && needs != (need::logp | need::tokens))
      throw error(errc::bad_data, place,
                  join("the objective ", objective.name(), " needs ", describe_needs(needs),
                       " of every reply, which \"rewards\" do not say; give \"replies\""));
    for (const double x : json::as<std::vector<double>>(*rewards, "\"rewards\"", place)) {
      out.replies.emplace_back();
      if (scores)
        out.replies.back().reward = x;
      else
        out.replies.back().logp = x, out.replies.back().tokens = 1;
    }
  } else {
    for (const json::value& each : json::as<json::array>(*replies, "\"replies\"", place)) {
      const std::string part = join("replies.", out.replies.size());
      out.replies.push_back(read_fields<level::sequence>(json::as_object(each, join("\"", part, "\""), place),
                                                         objective.needs(), objective.name(), place, names,
                                                         part + "."));
    }
  }
  if (out.replies.size() < 2)
    throw error(errc::bad_data, place, join("expected at least two replies to rank, found ", out.replies.size()));
  return out;
}

/// Slopes by path. Of a group: of what the row gave, "rewards.0" or "replies.0.logp".
template <level L>
json::object slopes_of(const any_objective<L>& objective, const evaluation& result, index_t i, bool bare) {
  json::object out;
  const index_t replies =
      L == level::group ? result.first[static_cast<std::size_t>(i) + 1] - result.first[static_cast<std::size_t>(i)] : 1;
  for (index_t k = 0; k < replies; ++k)
    for_each_slot<unit_level<L>>([&](const field& f, int slot) {
      if (!has(objective.needs(), f.asks)) return;
      const auto column = static_cast<int>(k) * result.slots + slot;
      const std::string name = L != level::group ? path(f)
                               : bare            ? join("rewards.", k)
                                                 : join("replies.", k, ".", path(f));
      out[name] = result.slope(i, column);
    });
  return out;
}

template <level L>
void print_losses(const any_objective<L>& objective, const std::vector<record<L>>& records,
                  const std::vector<bool>& bare, output& out) {
  const evaluation result = objective.evaluate(records);
  metric_list metrics;
  objective.collect_metrics(records, metrics);
  json::object first, named;
  first["loss"] = result.total;
  for (const metric& m : metrics)
    named[m.name] = std::isfinite(m.value()) ? json::value(m.value()) : json::value(nullptr);
  first["metrics"] = std::move(named);
  out.line(first);
  for (std::size_t i = 0; i < records.size(); ++i) {
    json::object row;
    row["loss"] = result.losses[i];
    row["slopes"] = slopes_of(objective, result, static_cast<index_t>(i), bare[i]);
    out.line(row);
  }
}

/// A row of logits: as they are, or the logarithms of probabilities that sum to one.
std::vector<double> read_distribution(const json::object& row, const std::string& who, const std::string& place) {
  const std::string logits_key = who + "_logits";
  const json::value* const p = json::find(row, who);
  const json::value* const z = json::find(row, logits_key);
  if (!p == !z)
    throw error(errc::bad_data, place,
                join("expected one of \"", who, "\" (probabilities of all words) and \"", logits_key, "\", found ",
                     p ? "both" : "neither"));
  auto out = json::get<std::vector<double>>(row, p ? who : logits_key, place);
  if (out.empty())
    throw error(errc::bad_data, place, join("\"", p ? who : logits_key, "\": expected numbers, found none"));
  for (const double x : out)
    if (!std::isfinite(x) || (p && (x < 0 || x > 1)))
      throw error(errc::bad_data, place,
                  join("\"", p ? who : logits_key, "\": expected ", p ? "probabilities from 0 to 1" : "finite numbers",
                       ", found ", x));
  if (!p) return out;
  double total = 0;
  for (const double x : out) total += x;
  if (std::abs(total - 1) > 1e-6)
    throw error(errc::bad_data, place,
                join("\"", who, "\": expected probabilities that sum to 1, found a sum of ", total));
  for (double& x : out) x = std::log(x);
  return out;
}

/// Rows of the vocabulary: {"student": [..], "teacher": [..]}; slopes are those of the student's logits.
void print_row_losses(const distill& objective, const arguments& given, output& out) {
  std::vector<row_evaluation> results;
  read_rows(
      given,
      [&](const json::object& row, const std::string& place) {
        check_keys(row, {"student", "teacher", "student_logits", "teacher_logits"}, place);
        const auto student = read_distribution(row, "student", place),
                   teacher = read_distribution(row, "teacher", place);
        if (student.size() != teacher.size())
          throw error(errc::bad_data, place,
                      join("expected two rows over the same words, found ", student.size(), " of the student and ",
                           teacher.size(), " of the teacher"));
        results.push_back(evaluate_row(objective, student, teacher));
        if (!std::isfinite(results.back().loss))
          throw error(errc::not_finite, place,
                      "the divergence is infinite: one row rules out a word that the other allows");
      },
      [] {});
  double total = 0;
  const double share = results.empty() ? 0 : 1 / static_cast<double>(results.size());
  for (const row_evaluation& each : results) total += share * each.loss;
  out.line(json::object{{"loss", total}, {"metrics", json::object()}});
  for (const row_evaluation& each : results) {
    json::object row, slopes;
    row["loss"] = each.loss;
    for (std::size_t k = 0; k < each.slopes.size(); ++k) slopes[join("student_logits.", k)] = share * each.slopes[k];
    row["slopes"] = std::move(slopes);
    out.line(row);
  }
}

int run_loss(const arguments& given) {
  (void)read_common(given);
  method m = find_method(given.operand());
  settings_list settings;
  for (const std::string& text : given.all("--set")) settings.push_back(split_setting(text));
  apply_settings(m, settings);
  write_output(given.text("--out"), [&](output& out) {
    if (const auto* tokens = std::get_if<any_objective<level::token>>(&m))
      if (const distill* row = tokens->find_row_function<distill>()) {
        if (tokens->needs() != need::statistic)
          throw error(errc::bad_argument, tokens->name(),
                      "rows of a vocabulary have no log-probability of a token for the other terms; leave out `also`");
        return print_row_losses(*row, given, out);
      }
    std::visit(
        [&](const auto& objective) {
          constexpr level own = std::remove_cvref_t<decltype(objective)>::level;
          std::vector<record<own>> records;
          std::vector<bool> bare;  // of groups: rewards without anything else
          sequence_names names;
          read_rows(
              given,
              [&](const json::object& row, const std::string& place) {
                records.push_back(read_record(row, objective, place, names));
                bare.push_back(json::find(row, "rewards") != nullptr);
              },
              [] {});
          print_losses(objective, records, bare, out);
        },
        m);
  });
  return 0;
}

}  // namespace

const command loss_command{
    "loss",
    "OBJECTIVE",
    "An objective's loss, metrics and slopes on records given as numbers.",
    "Records of pairs: {\"chosen\": {\"logp\": x, \"ref\": x, \"tokens\": n}, \"rejected\": {..}}; of tokens: "
    "{\"logp\": x, \"mask\": b, ..}; of rankings: {\"rewards\": [best, .., worst]}.\n"
    "logp and ref are sums over the tokens of a reply, in nats. What the objective does not need may be left out.\n"
    "First result: {\"loss\": x, \"metrics\": {..}} of the batch; then per record {\"loss\": x, \"slopes\": "
    "{\"chosen.logp\": dL/dx, ..}},\n"
    "with slopes of the batch's loss.",
    "  echo '{\"chosen\": {\"logp\": -20, \"ref\": -21}, \"rejected\": {\"logp\": -25, \"ref\": -24}}' | plumb loss "
    "dpo --in - --set beta=0.2",
    {{"--in", "F", "records; - is standard input"},
     {"--out", "F", "where results go, instead of standard output"},
     {"--set", "KEY=VALUE", "a parameter of the objective, or also=0.2*NAME to add another one", option::many_words}},
    run_loss};

}  // namespace program

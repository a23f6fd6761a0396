// SPDX-License-Identifier: BSL-1.0
// Rows by the level of the objective.
#include "rows_of_method.hpp"

#include "arguments.hpp"

#include <plumb/data/read_labelled.hpp>
#include <plumb/data/read_ranked.hpp>
#include <plumb/data/read_sampled.hpp>
#include <plumb/data/read_trees.hpp>
#include <plumb/data/read_unpaired.hpp>
#include <plumb/train/run.hpp>

#include <iterator>

namespace program {

namespace {

/// Does a preference say the same twice, in words or in ids?
bool says_nothing(const json::value& row) {
  const auto* const object = row.if_object();
  if (object == nullptr) return false;
  for (const auto& [chosen, rejected] : {std::pair("chosen", "rejected"), std::pair("chosen_ids", "rejected_ids")}) {
    const json::value* const a = json::find(*object, chosen);
    const json::value* const b = json::find(*object, rejected);
    if (a && b && !a->is_null() && *a == *b) return true;
  }
  return false;
}

void check_ids(const example& e, index_t vocabulary) {
  const auto check = [&](const std::vector<token_id>& ids) {
    for (const token_id id : ids)
      if (id < 0 || id >= vocabulary)
        throw error(errc::bad_data, e.place,
                    join("token id ", id, " lies outside the model's vocabulary of ", vocabulary,
                         "; were the ids made by another tokenizer?"));
  };
  check(e.prompt);
  for (const reply& r : e.replies) check(r.tokens);
}

/// The turns of a tree as what the objective learns from.
void read_tree(const method& m, const json::value& row, const std::string& place, const engine& model,
               const read_options& how, std::vector<example>& out) {
  const plumb::tokenizer* const words = model.has_tokenizer() ? &model.tokenizer() : nullptr;
  const need needs = needs_of(m);
  const bool single = std::holds_alternative<any_objective<level::token>>(m) && !has(needs, need::advantage);
  const bool pairs = std::holds_alternative<any_objective<level::pair>>(m);
  if (!single && !pairs && !std::holds_alternative<any_objective<level::group>>(m))
    throw error(errc::unsupported, place,
                join("the row is a tree of ranked messages, which says nothing of the labels or numbers that ",
                     name_of(m), " learns from; sft, objectives on pairs and rankings take it"));
  for (example& turn : parse_tree(row, place, words, how, !single)) {
    check_ids(turn, model.config().vocabulary);
    if (!pairs) {
      out.push_back(std::move(turn));
      continue;
    }
    auto all = pairs_of(turn);
    std::move(all.begin(), all.end(), std::back_inserter(out));
  }
}

}  // namespace

void check_rows_of(const method& m, const engine& model) {
  const need needs = needs_of(m);
  if ((needs & (need::reward | need::value)) != need::none && !model.has_score_head())
    throw error(errc::bad_argument, name_of(m),
                join("needs ", has(needs, need::reward) ? "rewards" : "values",
                     ", which a score head gives, and the adapter has none; make one with it: plumb train ", name_of(m),
                     " --adapter ADAPTER"));
}

std::optional<example> read_example(const method& m, const json::value& row, const std::string& place,
                                    const engine& model, bool leave_out, const step_options& steps,
                                    const read_options& how) {
  if (is_tree(row))
    throw error(errc::unsupported, place,
                "the row is a tree, of which many examples are made; read trees into memory, without --stream");
  const need needs = needs_of(m);
  const plumb::tokenizer* const words = model.has_tokenizer() ? &model.tokenizer() : nullptr;
  const level own =
      std::visit([](const auto& objective) { return std::remove_cvref_t<decltype(objective)>::level; }, m);
  const bool labels = own == level::sequence && has(needs, need::desirable);
  const bool two = own == level::pair || (labels && plumb::detail::is_preference(row));
  std::optional<example> out;
  if (has(needs, need::target)) {
    out = reads_steps(m) ? parse_steps(row, place, words, steps) : parse_rated(row, place, words, how);
  } else if (!leave_out || !two || !says_nothing(row)) {
    out = two                   ? parse_pair(row, place, words, how)
          : labels              ? parse_unpaired(row, place, words, how)
          : own == level::group ? parse_ranked(row, place, words, how)
                                : parse_sampled(row, place, words, how);
  }
  if (out) check_ids(*out, model.config().vocabulary);
  return out;
}

std::vector<example> read_examples(const method& m, const std::string& path, std::string_view option,
                                   const engine& model, std::vector<std::string>* skipped, const step_options& steps,
                                   const read_options& how) {
  check_rows_of(m, model);
  const need needs = needs_of(m);
  const bool targets = has(needs, need::target);
  std::vector<example> out;
  json::for_each_row(existing_file(path, option), [&](json::value&& row, const std::string& place) {
    if (is_tree(row)) return read_tree(m, row, place, model, how, out);
    if (auto e = read_example(m, row, place, model, skipped != nullptr, steps, how))
      out.push_back(*std::move(e));
    else if (skipped && !targets)
      skipped->push_back(place);
  });
  if (out.empty())
    throw error(
        errc::bad_data, path,
        join("the file has no rows to learn from", targets ? ": none of its replies has a rating or label" : ""));
  if (targets) return out;
  const bool labels = has(needs, need::desirable) && std::holds_alternative<any_objective<level::sequence>>(m);
  if (labels) out = unpair(std::move(out));
  std::visit(
      [&](const auto& objective) {
        check_method(objective, needs_filled(out) | (model.has_score_head() ? scored_needs : need::none));
      },
      m);
  return out;
}

}  // namespace program

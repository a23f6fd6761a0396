// SPDX-License-Identifier: BSL-1.0
// Rows by the level of the objective.
#include "rows_of_method.hpp"

#include "arguments.hpp"

#include <plumb/data/read_labelled.hpp>
#include <plumb/data/read_ranked.hpp>
#include <plumb/data/read_sampled.hpp>
#include <plumb/data/read_unpaired.hpp>
#include <plumb/train/run.hpp>

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

/// Solutions with labelled steps, or replies with ratings; those without a rating are left out.
std::vector<example> read_labelled(bool in_steps, const std::string& path, std::string_view option, const engine& model,
                                   const step_options& steps, const read_options& how) {
  const plumb::tokenizer* const words = model.has_tokenizer() ? &model.tokenizer() : nullptr;
  std::vector<example> out;
  json::for_each_row(existing_file(path, option), [&](json::value&& row, const std::string& place) {
    auto e = in_steps ? parse_steps(row, place, words, steps) : parse_rated(row, place, words, how);
    if (!e) return;
    check_ids(*e, model.config().vocabulary);
    out.push_back(*std::move(e));
  });
  if (out.empty())
    throw error(errc::bad_data, path, "the file has no rows to learn from: none of its replies has a rating or label");
  return out;
}

}  // namespace

std::vector<example> read_examples(const method& m, const std::string& path, std::string_view option,
                                   const engine& model, std::vector<std::string>* skipped, const step_options& steps,
                                   const read_options& how) {
  const need needs = needs_of(m);
  if ((needs & (need::reward | need::value)) != need::none && !model.has_score_head())
    throw error(errc::bad_argument, name_of(m),
                join("needs ", has(needs, need::reward) ? "rewards" : "values",
                     ", which a score head gives, and the adapter has none; make one with it: plumb train ", name_of(m),
                     " --adapter ADAPTER"));
  if (has(needs, need::target)) return read_labelled(reads_steps(m), path, option, model, steps, how);
  const level own =
      std::visit([](const auto& objective) { return std::remove_cvref_t<decltype(objective)>::level; }, m);
  const plumb::tokenizer* const words = model.has_tokenizer() ? &model.tokenizer() : nullptr;
  std::vector<example> out;
  json::for_each_row(existing_file(path, option), [&](json::value&& row, const std::string& place) {
    const bool labels = own == level::sequence && has(needs, need::desirable);
    const bool two = own == level::pair || (labels && plumb::detail::is_preference(row));
    if (skipped && two && says_nothing(row)) return skipped->push_back(place);
    out.push_back(two                   ? parse_pair(row, place, words, how)
                  : labels              ? parse_unpaired(row, place, words, how)
                  : own == level::group ? parse_ranked(row, place, words, how)
                                        : parse_sampled(row, place, words, how));
    check_ids(out.back(), model.config().vocabulary);
  });
  if (out.empty()) throw error(errc::bad_data, path, "the file has no rows to learn from");
  if (own == level::sequence && has(needs, need::desirable)) out = unpair(std::move(out));
  std::visit(
      [&](const auto& objective) {
        check_method(objective, needs_filled(out) | (model.has_score_head() ? scored_needs : need::none));
      },
      m);
  return out;
}

}  // namespace program

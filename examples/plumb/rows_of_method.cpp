// SPDX-License-Identifier: BSL-1.0
// Rows by the level of the objective.
#include "rows_of_method.hpp"

#include "arguments.hpp"

#include <plumb/data/read.hpp>

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

}  // namespace

std::vector<example> read_examples(const method& m, const std::string& path, std::string_view option,
                                   const engine& model, std::vector<std::string>* skipped) {
  const level own =
      std::visit([](const auto& objective) { return std::remove_cvref_t<decltype(objective)>::level; }, m);
  if (own == level::sequence)
    throw error(errc::unsupported, name_of(m), "training on single replies with labels is not in this version");
  const need offered = own == level::pair
                           ? need::logp | need::reference | need::tokens | need::margin | need::tail |
                                 need::sequential_kl | need::confidence
                           : need::logp | need::entropy | need::log_partition | need::mean_logp | need::statistic;
  for (const std::string& each : need_names(needs_of(m))) {
    const auto covered = need_names(offered);
    if (std::find(covered.begin(), covered.end(), each) == covered.end())
      throw error(
          errc::unsupported, name_of(m),
          join("it needs ", each, " for every record, which training from a file does not provide in this version"));
  }
  const plumb::tokenizer* const words = model.has_tokenizer() ? &model.tokenizer() : nullptr;
  std::vector<example> out;
  json::for_each_row(existing_file(path, option), [&](json::value&& row, const std::string& place) {
    if (skipped && own == level::pair && says_nothing(row)) return skipped->push_back(place);
    out.push_back(own == level::pair ? parse_pair(row, place, words) : parse_demonstration(row, place, words));
    check_ids(out.back(), model.config().vocabulary);
  });
  if (out.empty()) throw error(errc::bad_data, path, "the file has no rows to learn from");
  return out;
}

}  // namespace program

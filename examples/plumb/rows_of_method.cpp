// SPDX-License-Identifier: BSL-1.0
// Rows by the level of the objective.
#include "rows_of_method.hpp"

#include "arguments.hpp"

#include <plumb/data/read.hpp>

namespace program {

std::vector<example> read_examples(const method& m, const std::string& path, std::string_view option, const engine& model) {
  const level own = std::visit([](const auto& objective) { return std::remove_cvref_t<decltype(objective)>::level; }, m);
  if (own == level::sequence) throw error(errc::unsupported, name_of(m), "training on single replies with labels is not in this version");
  const need offered = own == level::pair ? need::logp | need::reference | need::tokens | need::margin : need::logp;
  for (const std::string& each : need_names(needs_of(m))) {
    const auto covered = need_names(offered);
    if (std::find(covered.begin(), covered.end(), each) == covered.end())
      throw error(errc::unsupported, name_of(m), join("it needs ", each, " for every record, which training from a file does not provide in this version"));
  }
  existing_file(path, option);
  return own == level::pair ? read_pairs(path, model.tokenizer()) : read_demonstrations(path, model.tokenizer());
}

}  // namespace program

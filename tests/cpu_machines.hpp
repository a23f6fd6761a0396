// SPDX-License-Identifier: BSL-1.0
// The processors that this one can stand for: each instruction set, and each unit for bfloat16 that it has.
#pragma once

#include <vector>

#include <plumb/backend/cpu_device.hpp>

namespace plumb_test {

struct cpu_machine {
  plumb::detail::instruction_set set;
  plumb::detail::bfloat16_unit unit = plumb::detail::bfloat16_unit::none;

  [[nodiscard]] plumb::cpu_device device(int threads) const { return plumb::cpu_device(threads, set, unit); }
};

/// Those that multiply floats as they are.
inline std::vector<cpu_machine> full_machines() {
  using enum plumb::detail::instruction_set;
  std::vector<cpu_machine> out;
  for (const auto set : {portable, avx2, avx512})
    if (set <= plumb::detail::best_instruction_set()) out.push_back({set});
  return out;
}
/// Those that round operands to bfloat16.
inline std::vector<cpu_machine> rounding_machines() {
  using enum plumb::detail::bfloat16_unit;
  std::vector<cpu_machine> out;
  for (const auto unit : {vectors, matrices})
    if (plumb::detail::has_bfloat16_unit(unit)) out.push_back({plumb::detail::best_instruction_set(), unit});
  return out;
}
inline std::vector<cpu_machine> all_machines() {
  auto out = full_machines();
  for (const cpu_machine& machine : rounding_machines()) out.push_back(machine);
  return out;
}

}  // namespace plumb_test

// SPDX-License-Identifier: BSL-1.0
// The instruction sets that the cpu backend is written for; it takes the machine's best at run time.
#pragma once

#include <cstdint>

namespace plumb::inline v0::detail {

enum class instruction_set : std::uint8_t { portable, avx2, avx512 };

/// The best set that this machine has.
instruction_set best_instruction_set() noexcept;

}  // namespace plumb::inline v0::detail

// SPDX-License-Identifier: BSL-1.0
// The instruction sets that the cpu backend is written for; it takes the machine's best at run time.
#pragma once

#include <cstdint>

namespace plumb::inline v0::detail {

enum class instruction_set : std::uint8_t { portable, avx2, avx512 };

/// The best set that this machine has.
instruction_set best_instruction_set() noexcept;

/// What multiplies bfloat16: vectors of pairs (AVX-512 BF16), or registers of whole matrices (AMX).
enum class bfloat16_unit : std::uint8_t { none, vectors, matrices };

/// Does this machine have that unit, and does the system let the program use it?
bool has_bfloat16_unit(bfloat16_unit unit) noexcept;
/// The unit that multiplies faster than floats are multiplied here, or none.
bfloat16_unit best_bfloat16_unit() noexcept;

}  // namespace plumb::inline v0::detail

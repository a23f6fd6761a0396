// SPDX-License-Identifier: BSL-1.0
// expect: only objectives of one level can be added
// expect: use sft_chosen, not sft
#include <plumb/objective/compose.hpp>
#include <plumb/objective/dpo.hpp>
#include <plumb/objective/sft.hpp>
#include <plumb/objective/sft_chosen.hpp>

#if defined(FIXED)
using likelihood = plumb::sft_chosen;
#else
using likelihood = plumb::sft;
#endif

void run() { [[maybe_unused]] auto method = plumb::dpo{} + 0.2f * likelihood{}; }

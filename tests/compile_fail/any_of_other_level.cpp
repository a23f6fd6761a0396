// SPDX-License-Identifier: BSL-1.0
// expect: this objective has another level than the any_objective it is put into
#include <plumb/objective/any_objective.hpp>
#include <plumb/objective/dpo.hpp>
#include <plumb/objective/sft.hpp>

#if defined(FIXED)
using method = plumb::dpo;
#else
using method = plumb::sft;
#endif

plumb::any_objective<plumb::level::pair> run() { return method{}; }

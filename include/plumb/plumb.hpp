// SPDX-License-Identifier: BSL-1.0
// Everything that a program on the CPU needs. plumb/cuda.hpp adds the GPU, plumb/train/report.hpp the HTML report.
#pragma once

#include <plumb/backend/cpu.hpp>
#include <plumb/backend/reference.hpp>
#include <plumb/data/read.hpp>
#include <plumb/data/read_ranked.hpp>
#include <plumb/data/read_sampled.hpp>
#include <plumb/data/read_unpaired.hpp>
#include <plumb/models/adapter.hpp>
#include <plumb/models/language_model.hpp>
#include <plumb/models/policy.hpp>
#include <plumb/objective/all.hpp>
#include <plumb/objective/compose.hpp>
#include <plumb/rollout/beam_search.hpp>
#include <plumb/rollout/generate.hpp>
#include <plumb/rollout/score.hpp>
#include <plumb/text/running_text.hpp>
#include <plumb/train/fit.hpp>
#include <plumb/train/progress.hpp>
#include <plumb/version.hpp>

#if defined(PLUMB_COMPILED)
#include <plumb/compiled.hpp>
#endif

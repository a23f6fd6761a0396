// SPDX-License-Identifier: BSL-1.0
// The commands, each in a file of its own name.
#pragma once

#include "arguments.hpp"

namespace program {

extern const command info_command, tokenize_command, render_command, score_command, generate_command,
    objectives_command, loss_command, grad_command, train_command, merge_command, convert_command;

}  // namespace program

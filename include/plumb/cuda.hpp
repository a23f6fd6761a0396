// SPDX-License-Identifier: BSL-1.0
// Everything that a program on an NVIDIA GPU needs: plumb.hpp and plumb::cuda, for files that nvcc compiles (.cu). Such a
// program names `plumb::cuda` where a program on the CPU names `plumb::cpu`, and may use both. In files for other
// compilers plumb::cuda is an incomplete type.
#pragma once

// First of all: config.hpp, which the backend begins with, settles how Eigen compiles under nvcc.
#include <plumb/backend/cuda.hpp>

#include <plumb/models/make_network.hpp>
#include <plumb/plumb.hpp>

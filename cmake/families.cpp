// SPDX-License-Identifier: BSL-1.0
// The families of models on the CPU, compiled once.
#include <plumb/models/families_impl.hpp>

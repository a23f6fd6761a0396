// SPDX-License-Identifier: BSL-1.0
// The library plumb::compiled: the templates that compiled.hpp names, instantiated once.
#define PLUMB_INSTANTIATE
#include <plumb/compiled.hpp>

// SPDX-License-Identifier: BSL-1.0
// The function bodies of plumb and of Boost.JSON, compiled once.
#include <plumb/impl.hpp>

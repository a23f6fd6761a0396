// SPDX-License-Identifier: BSL-1.0
// The function bodies of plumb, compiled once, for programs that link Boost's own JSON library.
#include <plumb/impl_without_boost.hpp>

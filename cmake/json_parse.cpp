// SPDX-License-Identifier: BSL-1.0
// The function body of plumb's parser, compiled once, for programs that link Boost's own JSON library.
#include <plumb/io/json_parse_impl.hpp>

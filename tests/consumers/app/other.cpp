// SPDX-License-Identifier: BSL-1.0
// The second file of the program; see main.cpp.
#include "everything.hpp"

std::string_view version_seen_by_the_other_file() { return plumb::version; }

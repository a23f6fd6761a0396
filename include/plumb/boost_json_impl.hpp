// SPDX-License-Identifier: BSL-1.0
// Boost.JSON's function bodies. plumb itself includes only their declarations, because two copies in one program do
// not link. Include this header in exactly one .cpp of a program, unless it links Boost's own compiled library
// (CMake's `Boost::json`) or is built with CMake, whose target `plumb::plumb` brings one or the other along.
#pragma once

#include <boost/json/src.hpp>

// SPDX-License-Identifier: BSL-1.0
// Boost.JSON's function bodies, compiled once. It stands alone, so that it can be installed beside the CMake package.
#include <boost/json/src.hpp>

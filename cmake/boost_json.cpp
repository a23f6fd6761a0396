// SPDX-License-Identifier: BSL-1.0
// The function bodies of Boost.JSON and of plumb's parser, compiled once.
#include <plumb/boost_json_impl.hpp>

// SPDX-License-Identifier: BSL-1.0
// The function bodies of plumb and of Boost.JSON, compiled once. families.cpp is the rest of plumb/impl.hpp.
#include <boost/json/src.hpp>

#include <plumb/impl_without_boost.hpp>

// SPDX-License-Identifier: BSL-1.0
// The function bodies of Boost.JSON and of plumb's parser on top of it. Other headers include only their declarations:
// two copies in one program do not link. Include this header in exactly one .cpp of a program, unless it is built with
// CMake, whose target `plumb::plumb` brings them along. A program that links Boost's own compiled library
// (`Boost::json`) includes plumb/io/json_parse_impl.hpp instead.
#pragma once

#include <boost/json/src.hpp>

#include <plumb/io/json_parse_impl.hpp>

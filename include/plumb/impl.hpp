// SPDX-License-Identifier: BSL-1.0
// Everything that is compiled once per program: the bodies of functions that are not templates, plumb's and those of
// Boost.JSON beneath it, and the families of models on the CPU.
// Headers only declare such functions (NAME.hpp); the bodies are beside them (NAME_impl.hpp) and collected here. CMake's
// target `plumb::plumb` brings them along. Without CMake, include this header in exactly one .cpp of a program: without
// it nothing links, and neither does a program that has it twice.
#pragma once

#include <boost/json/src.hpp>

#include <plumb/impl_without_boost.hpp>
#include <plumb/models/families_impl.hpp>

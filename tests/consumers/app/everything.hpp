// SPDX-License-Identifier: BSL-1.0
// What both files of the program include.
#pragma once

#if __has_include(<plumb/plumb.hpp>)
#include <plumb/plumb.hpp>
#endif

#include <plumb/core/error.hpp>
#include <plumb/io/json.hpp>
#include <plumb/version.hpp>

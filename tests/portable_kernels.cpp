// SPDX-License-Identifier: BSL-1.0
// The kernels of the cpu backend as processors other than x86-64 have them. That this compiles is the test; what they compute is
// tested with the others, as the instruction set `portable` (test_backend.cpp).
#define PLUMB_PORTABLE
#include <plumb/backend/cpu_device_impl.hpp>
#include <plumb/backend/cpu_kernels_impl.hpp>

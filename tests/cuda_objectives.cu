// SPDX-License-Identifier: BSL-1.0
// Every objective as a kernel on a GPU. Without a GPU it shows that every formula compiles for the device.
#include <plumb/backend/cuda.hpp>

#include "objective_laws.hpp"

TEST_CASE("every objective computes on a GPU what it computes in a plain loop") {
  int count = 0;
  if (cudaGetDeviceCount(&count) != cudaSuccess || count == 0) SKIP("no GPU");
  plumb_test::check_all_objectives<plumb::cuda>();
}

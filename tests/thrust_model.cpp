// SPDX-License-Identifier: BSL-1.0
// The GPU's kernels under whole models, run by Thrust on the CPU.
#include <plumb/backend/thrust.hpp>

#include "catch.hpp"
#include "thrust_model_laws.hpp"

TEST_CASE("a LoRA adapter trained by the GPU's kernels is the one that the reference trains") {
  plumb_test::check_training<plumb::thrust_host>();
}

TEST_CASE("on the GPU's kernels sampling and scoring agree to the bit") {
  plumb_test::check_sampling<plumb::thrust_host>();
}

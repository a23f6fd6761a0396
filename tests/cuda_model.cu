// SPDX-License-Identifier: BSL-1.0
// Whole models on a GPU. Without one it shows that programs that load, train and sample with plumb::cuda compile and link.
#include <plumb/cuda.hpp>

#include "catch.hpp"
#include "thrust_model_laws.hpp"

namespace {

bool has_gpu() {
  int count = 0;
  return cudaGetDeviceCount(&count) == cudaSuccess && count > 0;
}

}  // namespace

TEST_CASE("a LoRA adapter trained on a GPU is the one that the reference trains") {
  if (!has_gpu()) SKIP("no GPU");
  plumb_test::check_training<plumb::cuda>();
}

TEST_CASE("on a GPU sampling and scoring agree to the bit") {
  if (!has_gpu()) SKIP("no GPU");
  plumb_test::check_sampling<plumb::cuda>();
}

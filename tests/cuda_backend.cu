// SPDX-License-Identifier: BSL-1.0
// plumb::cuda on a GPU: the same laws as thrust_host, and what only a GPU has. Without a GPU it shows that everything
// compiles and links, and that asking for a device says what is missing.
#include <plumb/backend/cuda.hpp>

#include <cstddef>
#include <string>

#include <plumb/backend/concept.hpp>
#include "backend_cases.hpp"
#include "catch.hpp"
#include "thrust_laws.hpp"

static_assert(plumb::backend<plumb::cuda>);
static_assert(!plumb::cuda::host_memory);

namespace {

bool has_gpu() {
  int count = 0;
  return cudaGetDeviceCount(&count) == cudaSuccess && count > 0;
}

}  // namespace

TEST_CASE("without a GPU a device is refused with a cure") {
  if (has_gpu()) SKIP("this machine has a GPU");
  try {
    plumb::cuda::device d;
    FAIL("a device without a GPU");
  } catch (const plumb::error& e) {
    CHECK(e.code() == plumb::errc::device);
    CHECK(std::string(e.what()).find("plumb::cpu") != std::string::npos);
  }
}

TEST_CASE("kernels on a GPU keep their laws") {
  if (!has_gpu()) SKIP("no GPU");
  plumb_test::check_all_laws<plumb::cuda>();
}

TEST_CASE("all primitives on a GPU compute what the reference does") {
  if (!has_gpu()) SKIP("no GPU");
  plumb_test::check_backend<plumb::cuda>();
  plumb::cuda::device library(plumb::cuda_options{.exact_rows = false});  // all products by cuBLASLt
  plumb_test::check_backend<plumb::cuda>(library);
  plumb::cuda::device rounded(plumb::cuda_options{.exact_rows = false, .tf32 = true});
  plumb_test::check_backend<plumb::cuda>(rounded, {.single = 0.02, .twice = 1e-12});
}

TEST_CASE("a device gives its memory out again, and says when there is none") {
  if (!has_gpu()) SKIP("no GPU");
  plumb::cuda::device d;
  const std::size_t block = std::size_t{256} << 20;
  for (int i = 0; i < 4096; ++i) plumb::cuda::release(d, plumb::cuda::allocate(d, block), block);  // a terabyte in all
  try {
    (void)plumb::cuda::allocate(d, std::size_t{1} << 50);
    FAIL("a petabyte");
  } catch (const plumb::error& e) {
    CHECK(e.code() == plumb::errc::out_of_memory);
  }
  CHECK_THROWS_AS(plumb::cuda::device(plumb::cuda_options{.ordinal = 1000}), plumb::error);
  const plumb_test::numbers<plumb::cuda, float> still_works(d, 2.0f, 3, 3);
  CHECK(plumb::cuda::sum_of_squares<float>(d, still_works.all()) == 36);
}

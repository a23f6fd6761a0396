// SPDX-License-Identifier: BSL-1.0
// Every objective through Thrust's for_each on the processor, and through the cpu's.
#include <plumb/backend/cpu.hpp>
#include <plumb/backend/thrust.hpp>

#include "objective_laws.hpp"

TEST_CASE("every objective computes on Thrust what it computes in a plain loop") {
  plumb_test::check_all_objectives<plumb::thrust_host>();
}

TEST_CASE("every objective computes on the cpu what it computes in a plain loop") {
  plumb_test::check_all_objectives<plumb::cpu>();
}

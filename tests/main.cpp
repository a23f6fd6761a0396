// SPDX-License-Identifier: BSL-1.0
// main() of every test program. It returns 0, or 1 when a test failed, or 4 when every test was skipped; Catch2's own
// main() returns the number of failed checks, and four of them would be taken for a skipped program.
#include "support.hpp"

std::filesystem::path plumb_test::repository() { return PLUMB_TEST_REPOSITORY; }

#if __has_include(<catch2/catch_all.hpp>)

#include <catch2/catch_all.hpp>

namespace {

bool all_skipped = false;

struct outcome : Catch::EventListenerBase {
  using EventListenerBase::EventListenerBase;
  void testRunEnded(const Catch::TestRunStats& run) override {
    all_skipped = run.totals.testCases.total() > 0 && run.totals.testCases.total() == run.totals.testCases.skipped;
  }
};
CATCH_REGISTER_LISTENER(outcome)

}  // namespace

int main(int argc, char** argv) {
  const int result = Catch::Session().run(argc, argv);
  return all_skipped ? 4 : result == 0 ? 0 : 1;
}

#else

#define CATCH_CONFIG_RUNNER
#include "catch.hpp"

namespace {

std::size_t tests_run = 0;

struct counter : Catch::TestEventListenerBase {
  using TestEventListenerBase::TestEventListenerBase;
  void testCaseEnded(const Catch::TestCaseStats&) override { ++tests_run; }
};
CATCH_REGISTER_LISTENER(counter)

}  // namespace

int main(int argc, char** argv) {
  if (Catch::Session().run(argc, argv) != 0) return 1;
  const auto skipped = static_cast<std::size_t>(plumb_test::skipped_tests());
  return skipped > 0 && skipped >= tests_run ? 4 : 0;
}

#endif

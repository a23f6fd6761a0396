// SPDX-License-Identifier: BSL-1.0
// A training step that has run before asks the heap for nothing; a step that writes a log entry, for that entry alone.
#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <map>
#include <new>

#include <plumb/backend/cpu.hpp>
#include <plumb/models/adapter.hpp>
#include <plumb/objective/any_objective.hpp>
#include <plumb/objective/dpo.hpp>
#include <plumb/objective/kto.hpp>
#include <plumb/objective/sft.hpp>
#include <plumb/objective/sft_chosen.hpp>
#include <plumb/train/fit.hpp>

#include "catch.hpp"
#include "support.hpp"
#include "training_cases.hpp"

namespace {

std::atomic<long> allocations = 0;  // of all threads, since the program began

// Not inline: a compiler that sees malloc through one of the operators and not through the other warns of a mismatch.
[[gnu::noinline]] void* allocate(std::size_t size) noexcept {
  ++allocations;
  return std::malloc(size > 0 ? size : 1);
}
[[gnu::noinline]] void* allocate(std::size_t size, std::align_val_t alignment) noexcept {
  ++allocations;
  const auto step = static_cast<std::size_t>(alignment);
  return std::aligned_alloc(step, (size + step - 1) / step * step);
}
[[gnu::noinline]] void release(void* memory) noexcept { std::free(memory); }
void* checked(void* memory) {
  if (!memory) throw std::bad_alloc();
  return memory;
}

}  // namespace

void* operator new(std::size_t size) { return checked(allocate(size)); }
void* operator new[](std::size_t size) { return checked(allocate(size)); }
void* operator new(std::size_t size, const std::nothrow_t&) noexcept { return allocate(size); }
void* operator new[](std::size_t size, const std::nothrow_t&) noexcept { return allocate(size); }
void* operator new(std::size_t size, std::align_val_t alignment) { return checked(allocate(size, alignment)); }
void* operator new[](std::size_t size, std::align_val_t alignment) { return checked(allocate(size, alignment)); }
void* operator new(std::size_t size, std::align_val_t alignment, const std::nothrow_t&) noexcept {
  return allocate(size, alignment);
}
void* operator new[](std::size_t size, std::align_val_t alignment, const std::nothrow_t&) noexcept {
  return allocate(size, alignment);
}
void operator delete(void* memory) noexcept { release(memory); }
void operator delete[](void* memory) noexcept { release(memory); }
void operator delete(void* memory, std::size_t) noexcept { release(memory); }
void operator delete[](void* memory, std::size_t) noexcept { release(memory); }
void operator delete(void* memory, const std::nothrow_t&) noexcept { release(memory); }
void operator delete[](void* memory, const std::nothrow_t&) noexcept { release(memory); }
void operator delete(void* memory, std::align_val_t) noexcept { release(memory); }
void operator delete[](void* memory, std::align_val_t) noexcept { release(memory); }
void operator delete(void* memory, std::align_val_t, const std::nothrow_t&) noexcept { release(memory); }
void operator delete[](void* memory, std::align_val_t, const std::nothrow_t&) noexcept { release(memory); }
void operator delete(void* memory, std::size_t, std::align_val_t) noexcept { release(memory); }
void operator delete[](void* memory, std::size_t, std::align_val_t) noexcept { release(memory); }

namespace {

using namespace plumb;
using plumb_test::some_tokens;

constexpr index_t steps = 60;

/// Allocations of each step, callbacks included.
struct counting {
  std::vector<long> of_step;
  long before = 0;
  index_t wasteful_step = 0;  ///< in which the callback allocates once

  explicit counting(index_t wasteful = 0) : wasteful_step(wasteful) { of_step.reserve(steps); }
  void on_step(const step_info& info) {
    if (info.step == wasteful_step) delete new int(1);
    const long now = allocations;
    of_step.push_back(now - before);
    before = allocations;
  }
};

/// Rows of one shape, so that no batch is bigger than the first.
std::vector<example> rows(index_t replies) {
  std::vector<example> out;
  for (index_t i = 0; i < 24; ++i) {
    const auto key = static_cast<std::uint64_t>(i);
    example e{.prompt = some_tokens(6, 100 * key), .desirable = i % 3 != 0, .place = "rows"};
    for (index_t k = 0; k < replies; ++k)
      e.replies.push_back({some_tokens(4 + k, 100 * key + 1 + static_cast<std::uint64_t>(k))});
    out.push_back(std::move(e));
  }
  return out;
}

/// On one thread: with more, scratch memory of a thread is made when it first gets a task that wants so much, at a step
/// that depends on who was faster.
policy<cpu> tiny_policy() {
  const auto folder = plumb_test::repository() / "tests" / "golden" / "tiny_llama";
  return attach_lora(load_model<cpu>(folder, {.threads = 1}), {.rank = 3, .dropout = 0.1, .seed = 4});
}

fit_options quietly() { return {.rate = 1e-3, .steps = steps, .batch = 4}; }

/// What an entry keeps on the heap: the list of its values and the names that do not fit into a std::string itself.
long allocations_of(const log_entry& entry) {
  const auto inside = std::string().capacity();
  return 1 + std::count_if(entry.values.begin(), entry.values.end(),
                           [&](const auto& each) { return each.first.size() > inside; });
}

/// Checks the steps of the last half of a run.
template <class Objective>
void check_steady(const Objective& method, const std::vector<example>& data, const fit_options& options) {
  auto p = tiny_policy();
  counting seen;
  const auto result = fit(p, method, data, options, seen);
  REQUIRE(seen.of_step.size() == static_cast<std::size_t>(steps));
  std::map<index_t, long> written;
  for (const log_entry& entry : result.log) written[entry.step] += allocations_of(entry);
  for (index_t step = steps / 2; step <= steps; ++step) {
    CAPTURE(step);
    CHECK(seen.of_step[static_cast<std::size_t>(step) - 1] == written[step]);
  }
  CHECK(written[steps] > 0);  // the last step logs, the one before does not
  CHECK(written[steps - 1] == 0);
}

}  // namespace

TEST_CASE("a steady step allocates nothing but its log entry", "[train][allocations]") {
  SECTION("tokens") { check_steady(sft{}, rows(1), quietly()); }
  SECTION("pairs") { check_steady(dpo{}, rows(2), quietly()); }
  SECTION("several batches a step") {
    auto options = quietly();
    options.batch = 2;
    options.accumulate = 3;
    check_steady(dpo{}, rows(2), options);
  }
  SECTION("as many examples as have so many tokens") {
    auto options = quietly();
    options.batch_tokens = 60;
    check_steady(sft{}, rows(1), options);
  }
  SECTION("noise on the embeddings") {
    auto options = quietly();
    options.neftune = 5;
    check_steady(sft{}, rows(1), options);
  }
  SECTION("a reference that moves") {
    auto options = quietly();
    options.reference_sync = 5;
    check_steady(dpo{}, rows(2), options);
  }
  SECTION("a sum of objectives") {
    using pairs = any_objective<level::pair>;
    check_steady(pairs(dpo{}) + 0.2 * pairs(sft_chosen{}), rows(2), quietly());
  }
  SECTION("single replies, with kto's baseline") {
    check_steady(any_objective<level::sequence>(kto{}), rows(1), quietly());
  }
}

TEST_CASE("the counter sees one allocation in one step", "[train][allocations]") {
  auto p = tiny_policy();
  counting seen(steps - 5);
  fit(p, sft{}, rows(1), quietly(), seen);
  CHECK(seen.of_step[steps - 5] == 0);
  CHECK(seen.of_step[steps - 6] == 1);
  CHECK(seen.of_step[0] > 100);  // the first step makes the memory of all others
}

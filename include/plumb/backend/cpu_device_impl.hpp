// SPDX-License-Identifier: BSL-1.0
// The bodies of backend/cpu_device.hpp and backend/cpu_instructions.hpp.
// Collected by plumb/impl.hpp, which one .cpp of a program includes.
#pragma once

#include <cstddef>
#include <memory>
#include <new>
#include <utility>
#include <vector>

#include <plumb/backend/cpu_device.hpp>
#include <plumb/backend/cpu_instructions.hpp>
#include <plumb/backend/cpu_threads.hpp>
#include <plumb/core/error.hpp>

#if defined(__linux__)
#include <sys/mman.h>
#endif

namespace plumb::inline v0 {

namespace detail {

instruction_set best_instruction_set() noexcept {
#if defined(__x86_64__)
  __builtin_cpu_init();
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq") &&
      __builtin_cpu_supports("fma"))
    return instruction_set::avx512;
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return instruction_set::avx2;
#endif
  return instruction_set::portable;
}

namespace {

constexpr std::size_t huge_page = std::size_t{1} << 21;
constexpr std::align_val_t alignment_of(std::size_t bytes) noexcept {
  return std::align_val_t{bytes >= 2 * huge_page ? huge_page : 64};
}

}  // namespace

void* cpu_allocate(std::size_t bytes) {
  void* const memory = ::operator new(bytes, alignment_of(bytes), std::nothrow);
  if (!memory) throw error(errc::out_of_memory, "", join("cannot allocate ", bytes, " bytes"));
#if defined(MADV_HUGEPAGE)
  if (bytes >= 2 * huge_page) ::madvise(memory, bytes / huge_page * huge_page, MADV_HUGEPAGE);  // a wish, no more
#endif
  return memory;
}

void cpu_release(void* memory, std::size_t bytes) noexcept { ::operator delete(memory, alignment_of(bytes)); }

/// Memory on a cache line's boundary that only grows; what it holds is lost when it does.
class scratch_memory {
 public:
  scratch_memory() = default;
  scratch_memory(const scratch_memory&) = delete;
  scratch_memory& operator=(const scratch_memory&) = delete;
  ~scratch_memory() { cpu_release(memory_, bytes_); }

  void* get(std::size_t bytes) {
    if (bytes > bytes_) {
      cpu_release(std::exchange(memory_, nullptr), std::exchange(bytes_, 0));
      memory_ = cpu_allocate(bytes);
      bytes_ = bytes;
    }
    return memory_;
  }
  [[nodiscard]] std::size_t bytes() const noexcept { return bytes_; }

 private:
  void* memory_ = nullptr;
  std::size_t bytes_ = 0;
};

}  // namespace detail

struct cpu_device::state {
  state(int threads, detail::instruction_set instructions)
      : pool(threads), set(instructions), of_worker(static_cast<std::size_t>(pool.threads())) {}
  thread_pool pool;
  detail::instruction_set set;
  std::vector<detail::scratch_memory> of_worker;
  detail::scratch_memory shared;
};

cpu_device::cpu_device(int threads) : cpu_device(threads, detail::best_instruction_set()) {}

cpu_device::cpu_device(int threads, detail::instruction_set set) : state_(std::make_unique<state>(threads, set)) {
  if (set > detail::best_instruction_set())
    throw error(errc::bad_argument, "device", "this machine lacks the instruction set that was asked for");
}

cpu_device::cpu_device(cpu_device&&) noexcept = default;
cpu_device& cpu_device::operator=(cpu_device&&) noexcept = default;
cpu_device::~cpu_device() = default;

int cpu_device::threads() const noexcept { return state_->pool.threads(); }
detail::instruction_set cpu_device::instructions() const noexcept { return state_->set; }

void cpu_device::run(index_t tasks, function_ref<void(index_t task, int worker)> f) { state_->pool.run(tasks, f); }

void cpu_device::run_pieces(index_t count, index_t grain, function_ref<void(index_t first, index_t last)> f) {
  const index_t pieces = count / grain + (count % grain != 0);
  state_->pool.run(pieces,
                   [&](index_t piece, int) { f(piece * grain, piece + 1 == pieces ? count : (piece + 1) * grain); });
}

std::size_t cpu_device::scratch_bytes() const noexcept {
  std::size_t sum = state_->shared.bytes();
  for (const detail::scratch_memory& memory : state_->of_worker) sum += memory.bytes();
  return sum;
}

void* cpu_device::scratch_of(int worker, std::size_t bytes) {
  return (worker < 0 ? state_->shared : state_->of_worker[static_cast<std::size_t>(worker)]).get(bytes);
}

}  // namespace plumb::inline v0

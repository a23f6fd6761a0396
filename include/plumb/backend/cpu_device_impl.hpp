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
#include <plumb/config.hpp>
#include <plumb/core/error.hpp>

#if defined(__linux__)
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif
#if defined(PLUMB_X86)
#include <cpuid.h>
#endif

namespace plumb::inline v0 {

namespace detail {

instruction_set best_instruction_set() noexcept {
#if defined(PLUMB_X86)
  __builtin_cpu_init();
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq") &&
      __builtin_cpu_supports("fma"))
    return instruction_set::avx512;
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return instruction_set::avx2;
#endif
  return instruction_set::portable;
}

bool has_bfloat16_unit(bfloat16_unit unit) noexcept {
#if defined(PLUMB_X86)
  unsigned int a = 0, b = 0, c = 0, d = 0;
  if (unit == bfloat16_unit::none) return true;
  if (best_instruction_set() < instruction_set::avx512 || !__get_cpuid_count(7, 1, &a, &b, &c, &d) || !(a & 1U << 5U))
    return false;
  __get_cpuid_count(7, 0, &a, &b, &c, &d);
  if (!(b & 1U << 30U)) return false;  // AVX-512 BW
  if (unit == bfloat16_unit::vectors) return true;
#if defined(__linux__)
  constexpr long request = 0x1023, matrix_registers = 18;  // ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA
  return (d & 1U << 22U) && (d & 1U << 24U) && ::syscall(SYS_arch_prctl, request, matrix_registers) == 0;
#else
  return false;
#endif
#else
  return unit == bfloat16_unit::none;
#endif
}

bfloat16_unit best_bfloat16_unit() noexcept {
  if (has_bfloat16_unit(bfloat16_unit::matrices)) return bfloat16_unit::matrices;
#if defined(PLUMB_X86)
  // Intel's vectors take twice as long for a pair of bfloat16 as for two floats.
  if (has_bfloat16_unit(bfloat16_unit::vectors) && __builtin_cpu_is("amd")) return bfloat16_unit::vectors;
#endif
  return bfloat16_unit::none;
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
  state(int threads, detail::instruction_set instructions, detail::bfloat16_unit unit)
      : pool(threads), set(instructions), bfloat16(unit), of_worker(static_cast<std::size_t>(pool.threads())) {}
  thread_pool pool;
  detail::instruction_set set;
  detail::bfloat16_unit bfloat16;
  std::vector<detail::scratch_memory> of_worker;
  detail::scratch_memory shared;
};

cpu_device::cpu_device(int threads, product_precision products)
    : cpu_device(threads, detail::best_instruction_set(),
                 products == product_precision::bfloat16 ? detail::best_bfloat16_unit() : detail::bfloat16_unit::none) {
}

cpu_device::cpu_device(int threads, detail::instruction_set set, detail::bfloat16_unit unit)
    : state_(std::make_unique<state>(threads, set, unit)) {
  if (set > detail::best_instruction_set() || !detail::has_bfloat16_unit(unit) ||
      (unit != detail::bfloat16_unit::none && set < detail::instruction_set::avx512))
    throw error(errc::bad_argument, "device", "this machine lacks the instruction set that was asked for");
}

cpu_device::cpu_device(cpu_device&&) noexcept = default;
cpu_device& cpu_device::operator=(cpu_device&&) noexcept = default;
cpu_device::~cpu_device() = default;

int cpu_device::threads() const noexcept { return state_->pool.threads(); }
detail::instruction_set cpu_device::instructions() const noexcept { return state_->set; }
detail::bfloat16_unit cpu_device::bfloat16() const noexcept { return state_->bfloat16; }

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

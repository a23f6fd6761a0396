// SPDX-License-Identifier: BSL-1.0
// Where the cpu backend works: threads, the machine's instruction set, and scratch memory that is kept between calls.
// Bodies: cpu_device_impl.hpp.
#pragma once

#include <cstddef>
#include <memory>

#include <plumb/backend/cpu_instructions.hpp>
#include <plumb/backend/plan.hpp>
#include <plumb/core/function_ref.hpp>
#include <plumb/core/types.hpp>

namespace plumb::inline v0 {

namespace detail {

/// Memory on a cache line's boundary; much of it on that of a huge page, so that few page faults and few entries of the
/// processor's address cache serve it. Throws errc::out_of_memory.
void* cpu_allocate(std::size_t bytes);
/// Gives memory of `cpu_allocate(bytes)` back.
void cpu_release(void* memory, std::size_t bytes) noexcept;

}  // namespace detail

/// Does this machine have products of bfloat16 that are faster than those of float32, so that `product_precision::bfloat16`
/// changes anything?
inline bool multiplies_bfloat16_faster() noexcept {
  return detail::best_bfloat16_unit() != detail::bfloat16_unit::none;
}

/// The device of `plumb::cpu`. One thread of the host may use it at a time. It allocates scratch memory on the first
/// steps of a shape and none later.
class cpu_device {
 public:
  /// `threads` 0: as many as the machine has.
  explicit cpu_device(int threads = 0, product_precision products = product_precision::full);
  /// With a lesser instruction set than the machine's, or another unit for bfloat16, for tests and measurements.
  cpu_device(int threads, detail::instruction_set set, detail::bfloat16_unit unit = detail::bfloat16_unit::none);
  cpu_device(cpu_device&&) noexcept;
  cpu_device& operator=(cpu_device&&) noexcept;
  ~cpu_device();

  [[nodiscard]] int threads() const noexcept;
  [[nodiscard]] detail::instruction_set instructions() const noexcept;
  /// What rounds the operands of products of floats; none: they are multiplied as they are.
  [[nodiscard]] detail::bfloat16_unit bfloat16() const noexcept;

  /// Calls f(task, worker) for every task in [0, tasks).
  void run(index_t tasks, function_ref<void(index_t task, int worker)> f);
  /// Calls f(first, last) for the pieces [first, last) of [0, count), each a multiple of `grain` long but the last.
  void run_pieces(index_t count, index_t grain, function_ref<void(index_t first, index_t last)> f);

  /// Room for `count` numbers that belongs to one worker until its next call of this function.
  template <class T>
  [[nodiscard]] T* scratch(int worker, index_t count) {
    return static_cast<T*>(scratch_of(worker, sizeof(T) * static_cast<std::size_t>(count)));
  }
  /// Room for `count` numbers that all workers see, until the next call of this function.
  template <class T>
  [[nodiscard]] T* shared_scratch(index_t count) {
    return static_cast<T*>(scratch_of(-1, sizeof(T) * static_cast<std::size_t>(count)));
  }
  /// How much scratch memory there is now.
  [[nodiscard]] std::size_t scratch_bytes() const noexcept;

 private:
  /// The scratch memory of a worker, or with -1 that of all.
  void* scratch_of(int worker, std::size_t bytes);

  struct state;
  std::unique_ptr<state> state_;
};

}  // namespace plumb::inline v0

// SPDX-License-Identifier: BSL-1.0
// Where the cpu backend works: threads, the machine's instruction set, and scratch memory that is kept between calls.
#pragma once

#include <memory>
#include <new>
#include <utility>
#include <vector>

#include <plumb/backend/cpu_threads.hpp>
#include <plumb/backend/cpu_vector.hpp>
#include <plumb/core/error.hpp>

namespace plumb::inline v0 {

namespace detail {

/// Memory on a cache line's boundary that only grows; what it holds is lost when it does.
class scratch_memory {
 public:
  scratch_memory() = default;
  scratch_memory(const scratch_memory&) = delete;
  scratch_memory& operator=(const scratch_memory&) = delete;
  ~scratch_memory() { ::operator delete(memory_, std::align_val_t{64}); }

  void* get(std::size_t bytes) {
    if (bytes > bytes_) {
      ::operator delete(std::exchange(memory_, nullptr), std::align_val_t{64});
      bytes_ = 0;
      memory_ = ::operator new(bytes, std::align_val_t{64}, std::nothrow);
      if (!memory_) throw error(errc::out_of_memory, "", join("cannot allocate ", bytes, " bytes of scratch memory"));
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

/// The device of `plumb::cpu`. One thread of the host may use it at a time. It allocates scratch memory on the first
/// steps of a shape and none later.
class cpu_device {
 public:
  /// `threads` 0: as many as the machine has.
  explicit cpu_device(int threads = 0) : cpu_device(threads, detail::best_instruction_set()) {}
  /// With a lesser instruction set than the machine's, for tests and measurements.
  cpu_device(int threads, detail::instruction_set set) : state_(std::make_unique<state>(threads, set)) {
    if (set > detail::best_instruction_set())
      throw error(errc::bad_argument, "device", "this machine lacks the instruction set that was asked for");
  }

  [[nodiscard]] int threads() const noexcept { return state_->pool.threads(); }
  [[nodiscard]] detail::instruction_set instructions() const noexcept { return state_->set; }

  /// Calls f(task, worker) for every task in [0, tasks).
  template <class F>
  void run(index_t tasks, F&& f) {
    state_->pool.run(tasks, std::forward<F>(f));
  }
  /// Calls f(first, last) for the pieces [first, last) of [0, count), each a multiple of `grain` long but the last.
  template <class F>
  void run_pieces(index_t count, index_t grain, F f) {
    const index_t pieces = count / grain + (count % grain != 0);
    run(pieces, [&](index_t piece, int) { f(piece * grain, piece + 1 == pieces ? count : (piece + 1) * grain); });
  }

  /// Room for `count` numbers that belongs to one worker until its next call of this function.
  template <class T>
  [[nodiscard]] T* scratch(int worker, index_t count) {
    return static_cast<T*>(
        state_->of_worker[static_cast<std::size_t>(worker)].get(sizeof(T) * static_cast<std::size_t>(count)));
  }
  /// Room for `count` numbers that all workers see, until the next call of this function.
  template <class T>
  [[nodiscard]] T* shared_scratch(index_t count) {
    return static_cast<T*>(state_->shared.get(sizeof(T) * static_cast<std::size_t>(count)));
  }
  /// How much scratch memory there is now.
  [[nodiscard]] std::size_t scratch_bytes() const noexcept {
    std::size_t sum = state_->shared.bytes();
    for (const detail::scratch_memory& memory : state_->of_worker) sum += memory.bytes();
    return sum;
  }

 private:
  struct state {
    state(int threads, detail::instruction_set instructions)
        : pool(threads), set(instructions), of_worker(static_cast<std::size_t>(pool.threads())) {}
    thread_pool pool;
    detail::instruction_set set;
    std::vector<detail::scratch_memory> of_worker;
    detail::scratch_memory shared;
  };
  std::unique_ptr<state> state_;
};

}  // namespace plumb::inline v0

// SPDX-License-Identifier: BSL-1.0
// How a GPU kernel is written once: a block of lanes that work in phases. A GPU gives every lane a thread; `lone_block`
// gives all of them one thread of the CPU, so that the same kernels run, and are tested, without a GPU.
#pragma once

#include <cmath>
#include <cstdint>

#include <plumb/config.hpp>
#include <plumb/core/types.hpp>

namespace plumb::inline v0::detail::blocks {

// A kernel is a struct with
//
//   static constexpr int threads;                     how many lanes a block has, a multiple of 32
//   struct shared { … };                              what the lanes of a block share while it runs
//   template <class Block>
//   PLUMB_HD void operator()(Block& block, shared& s, index_t number) const;
//
// and is made of phases. `block.each(f)` calls f(lane) for every lane and ends when all are done: whatever one lane
// wrote to shared memory before, every lane may read after. What a lane keeps from phase to phase lies in
// `Block::lanes<State>`: registers on a GPU, an array on the CPU. `block.merge(values, f)` folds one value per lane into
// one, in an order that depends on the number of lanes alone, hence equal on both.

/// a · b + c, rounded once where the processor has an instruction for it. It is asked for by name: left alone, a compiler
/// fuses in one tile and not in another, and a row's bits would depend on its batch.
template <class T>
PLUMB_HD constexpr T fused(T a, T b, T c) {
#if defined(__CUDA_ARCH__)
  return fma(a, b, c);
#elif defined(__FP_FAST_FMA) || defined(__FMA__) || defined(__ARM_FEATURE_FMA)
  return std::fma(a, b, c);
#else
  return a * b + c;
#endif
}

/// ⌈a / b⌉ for positive numbers.
PLUMB_HD constexpr index_t ceil_div(index_t a, index_t b) { return (a + b - 1) / b; }

/// Number i of a matrix as (row, column).
struct matrix_place {
  index_t row;
  index_t column;
};

/// Where number i lies in a matrix with `columns` columns; 32-bit division where it suffices, as it is far cheaper on a
/// GPU.
PLUMB_HD constexpr matrix_place place_of(index_t i, index_t columns) {
  if (i <= 0xffffffffll && columns <= 0xffffffffll) {
    const auto number = static_cast<std::uint32_t>(i), width = static_cast<std::uint32_t>(columns);
    return {static_cast<index_t>(number / width), static_cast<index_t>(number % width)};
  }
  return {i / columns, i % columns};
}

/// Addition as a named function object, for `merge`.
struct sum_of {
  template <class T>
  PLUMB_HD constexpr T operator()(T a, T b) const {
    return a + b;
  }
};

/// A block whose lanes are run one after another by the thread that calls it.
template <int Threads>
class lone_block {
 public:
  static constexpr int threads = Threads;
  static_assert(Threads % 32 == 0 && Threads <= 1024 && ((Threads / 32) & (Threads / 32 - 1)) == 0);

  /// A State per lane.
  template <class State>
  class lanes {
   public:
    State& operator[](int lane) { return states_[lane]; }

   private:
    State states_[Threads];
  };

  template <class F>
  void each(F f) {
    for (int lane = 0; lane < Threads; ++lane) f(lane);
  }

  /// Folds first inside each warp of 32 lanes, then over warps; the same tree that the GPU's shuffles make.
  template <class V, class Merge>
  V merge(lanes<V>& values, Merge combine) {
    for (int warp = 0; warp < Threads; warp += 32)
      for (int step = 16; step > 0; step /= 2)
        for (int i = warp; i < warp + step; ++i) values[i] = combine(values[i], values[i + step]);
    for (int step = Threads / 64; step > 0; step /= 2)
      for (int warp = 0; warp < step; ++warp)
        values[32 * warp] = combine(values[32 * warp], values[32 * (warp + step)]);
    return values[0];
  }
};

/// A kernel as a function of the block's number, for algorithms that run functions of a number.
template <class Kernel>
struct run_alone {
  Kernel kernel;

  void operator()(index_t number) const {
    lone_block<Kernel::threads> block;
    typename Kernel::shared memory;
    kernel(block, memory, number);
  }
};

}  // namespace plumb::inline v0::detail::blocks

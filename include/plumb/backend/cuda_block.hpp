// SPDX-License-Identifier: BSL-1.0
// The blocks of thrust_block.hpp on a GPU: a lane is a thread, a phase ends at a barrier, `merge` goes through shuffles.
#pragma once

#if defined(__CUDACC__)

#include <cuda_runtime.h>

#include <cstring>
#include <limits>
#include <type_traits>

#include <plumb/backend/cuda_device.hpp>
#include <plumb/backend/thrust_block.hpp>
#include <plumb/core/error.hpp>

namespace plumb::inline v0::detail::gpu {

/// A block whose lanes are the threads of a CUDA block. Its functions are also marked for the host, where they do nothing,
/// because a kernel's body is one function for both.
template <int Threads>
class cuda_block {
 public:
  static constexpr int threads = Threads;
  static_assert(Threads % 32 == 0 && Threads <= 1024 && ((Threads / 32) & (Threads / 32 - 1)) == 0);

  /// A State per thread, in registers as long as its indices are known to the compiler.
  template <class State>
  class lanes {
   public:
    PLUMB_HD State& operator[](int) { return state_; }

   private:
    State state_;
  };

  template <class F>
  PLUMB_HD void each([[maybe_unused]] F f) {
#if defined(__CUDA_ARCH__)
    f(static_cast<int>(threadIdx.x));
    __syncthreads();
#endif
  }

  /// The same tree as lone_block::merge. All threads get the result.
  template <class V, class Merge>
  PLUMB_HD V merge([[maybe_unused]] lanes<V>& values, [[maybe_unused]] Merge combine) {
#if defined(__CUDA_ARCH__)
    static_assert(std::is_trivially_copyable_v<V> && sizeof(V) % 4 == 0);
    __shared__ alignas(16) unsigned char memory[sizeof(V) * (Threads / 32)];
    V* const of_warps = reinterpret_cast<V*>(memory);
    const int lane = static_cast<int>(threadIdx.x);
    V value = values[lane];
    for (int step = 16; step > 0; step /= 2) value = combine(value, from_lane_after(value, step));
    if (lane % 32 == 0) of_warps[lane / 32] = value;
    __syncthreads();
    if (lane < 32) {
      value = of_warps[lane < Threads / 32 ? lane : 0];
      for (int step = Threads / 64; step > 0; step /= 2) value = combine(value, from_lane_after(value, step));
      if (lane == 0) of_warps[0] = value;
    }
    __syncthreads();
    value = of_warps[0];
    __syncthreads();  // the next merge writes this memory again
    return value;
#else
    return values[0];
#endif
  }

 private:
#if defined(__CUDA_ARCH__)
  template <class V>
  __device__ static V from_lane_after(const V& value, int step) {
    unsigned words[sizeof(V) / 4];
    memcpy(words, &value, sizeof(V));
    for (unsigned& word : words) word = __shfl_down_sync(0xffffffffu, word, static_cast<unsigned>(step));
    V result;
    memcpy(&result, words, sizeof(V));
    return result;
  }
#endif
};

template <class Kernel>
__global__ void __launch_bounds__(Kernel::threads) run_kernel(const Kernel kernel, const index_t first) {
  extern __shared__ __align__(16) unsigned char block_memory[];
  cuda_block<Kernel::threads> block;
  kernel(block, *reinterpret_cast<typename Kernel::shared*>(block_memory), first + static_cast<index_t>(blockIdx.x));
}

/// Puts blocks 0 … count − 1 of a kernel on the device's stream.
template <class Kernel>
void launch_blocks(cuda_device& d, index_t count, const Kernel& kernel) {
  if (count <= 0) return;
  constexpr std::size_t bytes = std::is_empty_v<typename Kernel::shared> ? 0 : sizeof(typename Kernel::shared);
  const current_gpu here(d.ordinal());
  if constexpr (bytes > std::size_t{48} << 10) {  // more than every GPU gives unasked
    if (bytes > static_cast<std::size_t>(d.most_shared_memory()))
      throw error(errc::unsupported, "cuda",
                  join("this kernel needs ", bytes, " bytes of shared memory, the GPU has ", d.most_shared_memory(),
                       "; use float, narrower heads, or plumb::cpu"));
    check(cudaFuncSetAttribute(run_kernel<Kernel>, cudaFuncAttributeMaxDynamicSharedMemorySize, int{bytes}),
          "reserve shared memory");
  }
  constexpr index_t most = std::numeric_limits<int>::max();  // blocks in one launch
  for (index_t first = 0; first < count; first += most) {
    const auto blocks = static_cast<unsigned>(count - first < most ? count - first : most);
    run_kernel<Kernel><<<blocks, Kernel::threads, bytes, d.stream()>>>(kernel, first);
    check(cudaPeekAtLastError(), "launch a kernel");
  }
}

}  // namespace plumb::inline v0::detail::gpu

#endif

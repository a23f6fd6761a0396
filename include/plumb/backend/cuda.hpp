// SPDX-License-Identifier: BSL-1.0
// plumb::cuda: the backend for NVIDIA GPUs. Thrust runs the element-wise primitives, cuBLASLt most products, and the block
// kernels of thrust_*.hpp the rest; thrust_host runs those same kernels on the CPU.
#pragma once

#include <plumb/config.hpp>

#if !defined(__CUDACC__)

namespace plumb::inline v0 {
struct cuda;  // incomplete here: plumb::cuda needs nvcc. Compile this file as CUDA (.cu), or use plumb::cpu
}  // namespace plumb::inline v0

#else

#include <cuda_runtime.h>
#include <thrust/execution_policy.h>
#include <thrust/for_each.h>
#include <thrust/iterator/counting_iterator.h>
#include <thrust/system_error.h>

#include <cub/device/device_radix_sort.cuh>

#include <cstdint>
#include <string_view>
#include <type_traits>

#include <plumb/backend/cuda_block.hpp>
#include <plumb/backend/cuda_device.hpp>
#include <plumb/backend/cuda_products.hpp>
#include <plumb/backend/thrust_primitives.hpp>
#include <plumb/core/error.hpp>
#include <plumb/core/view.hpp>

namespace plumb::inline v0 {

struct cuda : detail::blocks::thrust_primitives<cuda> {
  using device = cuda_device;

  static constexpr bool host_memory = false;  ///< views hold addresses of the GPU's memory

  // --- memory -------------------------------------------------------------------------------------------------------

  static void* allocate(device& d, std::size_t bytes) { return d.allocate(bytes); }
  static void release(device& d, void* memory, std::size_t) noexcept { d.release(memory); }
  /// `host` may be changed at once afterwards, unless it is page-locked memory: then after the next `download`.
  template <class T>
  static void upload(device& d, const T* host, T* to, index_t count) {
    transfer(d, host, to, count, cudaMemcpyHostToDevice, "copy to the GPU");
  }
  /// Waits for all work before it, and for the copy.
  template <class T>
  static void download(device& d, const T* from, T* host, index_t count) {
    transfer(d, from, host, count, cudaMemcpyDeviceToHost, "copy from the GPU");
    d.synchronize();
  }
  template <class T>
  static void copy(device& d, in<T> from, view<T> to) {
    transfer(d, from.data, to.data, from.size(), cudaMemcpyDeviceToDevice, "copy on the GPU");
  }
  /// Calls f(i) for i in [0, count) on the GPU, in any order, without waiting. F is a named function object whose
  /// operator() is constexpr or marked PLUMB_HD; it holds numbers and addresses of the GPU's memory.
  template <class F>
  static void for_each(device& d, index_t count, F f) {
    if (count <= 0) return;
    const detail::gpu::current_gpu here(d.ordinal());
    try {
      thrust::for_each_n(thrust::cuda::par_nosync.on(d.stream()), thrust::counting_iterator<index_t>(0), count, f);
    } catch (const thrust::system_error& failure) {  // callers know plumb::error only
      throw error(errc::device, "cuda", join("cannot launch a function: ", std::string_view(failure.what())));
    }
    detail::gpu::check(cudaPeekAtLastError(), "launch a function");
  }

  // --- products -----------------------------------------------------------------------------------------------------

  using detail::blocks::thrust_primitives<cuda>::multiply;

  /// nt by own kernels, so that a row's bits do not depend on the batch, unless `exact_rows` is off; else by cuBLASLt.
  template <class T>
  static void multiply(device& d, product kind, std::type_identity_t<T> alpha, in<T> a, in<T> b,
                       std::type_identity_t<T> beta, view<T> c) {
    const bool by_library = kind != product::nt || !d.options().exact_rows;
    if (by_library && detail::gpu::multiply_by_library<T>(d, kind, alpha, a, b, beta, c)) return;
    detail::blocks::thrust_primitives<cuda>::multiply<T>(d, kind, alpha, a, b, beta, c);
  }

 private:
  friend detail::blocks::thrust_primitives<cuda>;

  template <class T>
  static void transfer(device& d, const T* from, T* to, index_t count, cudaMemcpyKind way, const char* what) {
    if (count <= 0) return;
    const detail::gpu::current_gpu here(d.ordinal());
    detail::gpu::check(cudaMemcpyAsync(to, from, sizeof(T) * static_cast<std::size_t>(count), way, d.stream()), what);
  }
  template <class Kernel>
  static void run_blocks(device& d, index_t count, const Kernel& kernel) {
    detail::gpu::launch_blocks(d, count, kernel);
  }
  template <class T>
  static T* scratch(device& d, index_t count) {
    return static_cast<T*>(d.scratch(sizeof(T) * static_cast<std::size_t>(count)));
  }
  /// CUB's radix sort is stable and waits for nothing; Thrust's sort would allocate and wait.
  static const std::uint64_t* sort_rows(device& d, const std::int32_t* rows, index_t count) {
    const detail::gpu::current_gpu here(d.ordinal());
    const auto sort = [&](void* memory, std::size_t& bytes,
                          std::uint64_t* packed) {  // no memory: asks how much it needs
      detail::gpu::check(
          cub::DeviceRadixSort::SortKeys(memory, bytes, packed, packed + count, count, 0, 64, d.stream()), "sort rows");
    };
    std::size_t bytes = 0;
    sort(nullptr, bytes, nullptr);
    const std::size_t packed_bytes = (2 * sizeof(std::uint64_t) * static_cast<std::size_t>(count) + 255) / 256 * 256;
    auto* const memory = static_cast<unsigned char*>(d.scratch(packed_bytes + bytes));
    auto* const packed = reinterpret_cast<std::uint64_t*>(memory);
    for_each(d, count, detail::blocks::pack_destination{rows, packed});
    sort(memory + packed_bytes, bytes, packed);
    return packed + count;
  }
};

}  // namespace plumb::inline v0

#endif

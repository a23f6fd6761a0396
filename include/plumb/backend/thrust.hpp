// SPDX-License-Identifier: BSL-1.0
// plumb::thrust_host: the GPU backend's kernels on the CPU, run by Thrust on one of its host systems. It exists to test
// and to read those kernels where there is no GPU; for speed on a CPU take plumb::cpu.
#pragma once

// Needs the CCCL headers (in a CUDA toolkit under include/cccl) or Debian's libthrust-dev; no CUDA compiler, no library.
// THRUST_DEVICE_SYSTEM chooses who runs: THRUST_DEVICE_SYSTEM_OMP (compile with -fopenmp), _TBB (link tbb) or _CPP (one
// thread). Undefined, Thrust would look for CUDA; here it means OpenMP where that is on, else one thread.
#if defined(__CUDACC__)
#error \
    "plumb/backend/thrust.hpp is for host compilers: a .cu file includes plumb/backend/cuda.hpp, which has the same kernels"
#endif
#if !defined(THRUST_DEVICE_SYSTEM)
#if defined(_OPENMP)
#define THRUST_DEVICE_SYSTEM 2  // THRUST_DEVICE_SYSTEM_OMP
#else
#define THRUST_DEVICE_SYSTEM 4  // THRUST_DEVICE_SYSTEM_CPP
#endif
#endif

#include <thrust/copy.h>
#include <thrust/execution_policy.h>
#include <thrust/for_each.h>
#include <thrust/iterator/counting_iterator.h>

#if THRUST_DEVICE_SYSTEM == THRUST_DEVICE_SYSTEM_CUDA
#error \
    "plumb/backend/thrust.hpp needs a host system: define THRUST_DEVICE_SYSTEM=THRUST_DEVICE_SYSTEM_OMP, _TBB or _CPP"
#endif

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <memory>
#include <new>

#include <plumb/backend/thrust_primitives.hpp>
#include <plumb/core/error.hpp>
#include <plumb/core/view.hpp>

namespace plumb::inline v0 {

struct thrust_host : detail::blocks::thrust_primitives<thrust_host> {
  /// Holds scratch memory that grows to the largest need and is then reused. Used by one thread at a time.
  class device {
   public:
    device() = default;
    device(const device&) = delete;
    device& operator=(const device&) = delete;

   private:
    friend thrust_host;
    struct release_scratch {
      void operator()(void* memory) const noexcept { ::operator delete(memory, std::align_val_t{64}); }
    };
    std::unique_ptr<void, release_scratch> scratch_;
    std::size_t scratch_bytes_ = 0;
  };

  static constexpr bool host_memory = true;

  static void* allocate(device&, std::size_t bytes) {
    void* memory = ::operator new(bytes, std::align_val_t{64}, std::nothrow);
    if (!memory) throw error(errc::out_of_memory, "", join("cannot allocate ", bytes, " bytes"));
    return memory;
  }
  static void release(device&, void* memory, std::size_t) noexcept { ::operator delete(memory, std::align_val_t{64}); }
  template <class T>
  static void upload(device&, const T* host, T* to, index_t count) {
    if (count) std::memcpy(to, host, sizeof(T) * static_cast<std::size_t>(count));
  }
  template <class T>
  static void download(device&, const T* from, T* host, index_t count) {
    if (count) std::memcpy(host, from, sizeof(T) * static_cast<std::size_t>(count));
  }
  template <class T>
  static void copy(device&, in<T> from, view<T> to) {
    thrust::copy(thrust::device, from.data, from.data + from.size(), to.data);
  }
  /// Calls f(i) for i in [0, count), in any order, on Thrust's threads.
  template <class F>
  static void for_each(device&, index_t count, F f) {
    if (count > 0) thrust::for_each_n(thrust::device, thrust::counting_iterator<index_t>(0), count, f);
  }

 private:
  friend detail::blocks::thrust_primitives<thrust_host>;

  template <class Kernel>
  static void run_blocks(device& d, index_t count, const Kernel& kernel) {
    for_each(d, count, detail::blocks::run_alone<Kernel>{kernel});
  }
  /// By the standard library: Thrust's sorts form references from null pointers, which a sanitizer reports.
  static const std::uint64_t* sort_rows(device& d, const std::int32_t* rows, index_t count) {
    auto* const packed = scratch<std::uint64_t>(d, count);
    for_each(d, count, detail::blocks::pack_destination{rows, packed});
    std::sort(packed, packed + count);
    return packed;
  }
  template <class T>
  static T* scratch(device& d, index_t count) {
    const std::size_t bytes = sizeof(T) * static_cast<std::size_t>(count);
    if (bytes > d.scratch_bytes_) {
      d.scratch_.reset();
      d.scratch_bytes_ = 0;
      d.scratch_.reset(allocate(d, bytes));
      d.scratch_bytes_ = bytes;
    }
    return static_cast<T*>(d.scratch_.get());
  }
};

}  // namespace plumb::inline v0

// SPDX-License-Identifier: BSL-1.0
// The GPU that plumb::cuda works on: a stream, a pool of memory, a handle for products, and errors that are thrown.
#pragma once

#if defined(__CUDACC__)

#include <cublasLt.h>
#include <cuda_runtime.h>

#include <array>
#include <cstddef>
#include <limits>
#include <map>
#include <string>
#include <string_view>
#include <utility>

#include <plumb/core/error.hpp>
#include <plumb/core/types.hpp>

namespace plumb::inline v0 {

/// How products are computed on a GPU, and where.
struct cuda_options {
  int ordinal = 0;  ///< which GPU, as the CUDA runtime counts them
  /// Products with a weight (`product::nt`) give a row the same bits whatever else is in the batch, as the backend's law
  /// asks: sampling then agrees with training. Off, they go to cuBLASLt like all others, which is faster for large
  /// batches but chooses its way by the number of rows.
  bool exact_rows = true;
  /// Lets cuBLASLt round the factors of float products to 10 bits (TF32), which tensor cores multiply far faster.
  bool tf32 = false;
  std::size_t product_workspace = std::size_t{32} << 20;  ///< bytes that cuBLASLt may use
};

namespace detail::gpu {

/// Throws when a call of the CUDA runtime failed; `what` says in words what was attempted.
inline void check(cudaError_t status, std::string_view what) {
  if (status == cudaSuccess) return;
  (void)cudaGetLastError();  // a reported error is not reported again
  const bool memory = status == cudaErrorMemoryAllocation;
  const char* cure = memory ? "; use smaller batches, or a smaller budget for the head"
                     : status == cudaErrorInsufficientDriver || status == cudaErrorNoDevice
                         ? "; install NVIDIA's driver, or use plumb::cpu"
                         : "";
  throw error(memory ? errc::out_of_memory : errc::device, "cuda",
              join("cannot ", what, ": ", std::string_view(cudaGetErrorString(status)), " (",
                   std::string_view(cudaGetErrorName(status)), ")", std::string_view(cure)));
}

inline void check(cublasStatus_t status, std::string_view what) {
  if (status == CUBLAS_STATUS_SUCCESS) return;
  throw error(status == CUBLAS_STATUS_ALLOC_FAILED ? errc::out_of_memory : errc::device, "cuda",
              join("cannot ", what, ": ", std::string_view(cublasLtGetStatusName(status))));
}

/// Makes a GPU the calling thread's current one, and afterwards the one that was.
class current_gpu {
 public:
  explicit current_gpu(int ordinal) {
    check(cudaGetDevice(&before_), "ask for the current GPU");
    if (before_ == ordinal) {
      before_ = -1;
      return;
    }
    check(cudaSetDevice(ordinal), join("select GPU ", ordinal));
  }
  current_gpu(const current_gpu&) = delete;
  current_gpu& operator=(const current_gpu&) = delete;
  ~current_gpu() {
    if (before_ >= 0) (void)cudaSetDevice(before_);
  }

 private:
  int before_ = -1;
};

/// Frees what a constructor made when the constructor fails half-way, too: each handle is its own member.
template <class Handle, auto Destroy>
class cuda_handle {
 public:
  cuda_handle() = default;
  cuda_handle(const cuda_handle&) = delete;
  cuda_handle& operator=(const cuda_handle&) = delete;
  ~cuda_handle() {
    if (handle_) (void)Destroy(handle_);
  }
  [[nodiscard]] Handle get() const noexcept { return handle_; }
  [[nodiscard]] Handle* out() noexcept { return &handle_; }

 private:
  Handle handle_ = nullptr;
};

}  // namespace detail::gpu

/// One GPU and the stream on which everything runs in the order of the calls. The host waits in `download` and
/// `sum_of_squares` (and `synchronize`) only. Used by one thread at a time; every call leaves the thread's current GPU as
/// it was. Throws errc::device when there is no GPU or no driver.
class cuda_device {
 public:
  explicit cuda_device(cuda_options options = {}) : options_(options) {
    int count = 0;
    detail::gpu::check(cudaGetDeviceCount(&count), "look for GPUs");
    if (options.ordinal < 0 || options.ordinal >= count)
      throw error(errc::bad_argument, "cuda_options.ordinal",
                  join("expected a number below ", count, ", the number of GPUs, found ", options.ordinal));
    const detail::gpu::current_gpu here(options.ordinal);
    detail::gpu::check(cudaStreamCreateWithFlags(stream_.out(), cudaStreamNonBlocking), "create a stream");
    detail::gpu::check(cublasLtCreate(products_.out()), "start cuBLASLt");
    detail::gpu::check(
        cudaDeviceGetAttribute(&most_shared_memory_, cudaDevAttrMaxSharedMemoryPerBlockOptin, options.ordinal),
        "ask for the size of shared memory");
    int pools = 0;
    detail::gpu::check(cudaDeviceGetAttribute(&pools, cudaDevAttrMemoryPoolsSupported, options.ordinal),
                       "ask for memory pools");
    if (pools) create_pool();
  }
  cuda_device(const cuda_device&) = delete;
  cuda_device& operator=(const cuda_device&) = delete;
  ~cuda_device() {
    release(scratch_);
    release(workspace_);
    if (stream_.get()) (void)cudaStreamSynchronize(stream_.get());
  }

  [[nodiscard]] const cuda_options& options() const noexcept { return options_; }
  [[nodiscard]] int ordinal() const noexcept { return options_.ordinal; }
  [[nodiscard]] cudaStream_t stream() const noexcept { return stream_.get(); }
  [[nodiscard]] cublasLtHandle_t products() const noexcept { return products_.get(); }
  /// The most shared memory that a block may have, in bytes.
  [[nodiscard]] int most_shared_memory() const noexcept { return most_shared_memory_; }

  /// Waits until all that was asked for is done; failures of kernels show here at the latest.
  void synchronize() const {
    const detail::gpu::current_gpu here(ordinal());
    detail::gpu::check(cudaStreamSynchronize(stream()), "finish the work on the GPU");
  }

  /// Memory in the order of the stream: what was released may be handed out again at once, as its last use comes first.
  [[nodiscard]] void* allocate(std::size_t bytes) {
    const detail::gpu::current_gpu here(ordinal());
    void* memory = nullptr;
    if (bytes == 0) bytes = 1;
    const auto status =
        pool_.get() ? cudaMallocFromPoolAsync(&memory, bytes, pool_.get(), stream()) : cudaMalloc(&memory, bytes);
    detail::gpu::check(status, join("allocate ", bytes, " bytes on GPU ", ordinal()));
    return memory;
  }
  void release(void* memory) noexcept {
    if (!memory) return;
    int before = ordinal();
    (void)cudaGetDevice(&before);
    if (before != ordinal()) (void)cudaSetDevice(ordinal());
    (void)(pool_.get() ? cudaFreeAsync(memory, stream()) : cudaFree(memory));
    if (before != ordinal()) (void)cudaSetDevice(before);
  }

  /// Memory until the next call; it grows to the largest need and is then reused.
  [[nodiscard]] void* scratch(std::size_t bytes) {
    if (bytes > scratch_bytes_) {
      release(std::exchange(scratch_, nullptr));
      scratch_bytes_ = 0;
      scratch_ = allocate(bytes);
      scratch_bytes_ = bytes;
    }
    return scratch_;
  }
  /// cuBLASLt's memory, made on first use.
  [[nodiscard]] void* product_workspace() {
    if (!workspace_ && options_.product_workspace) workspace_ = allocate(options_.product_workspace);
    return workspace_;
  }
  /// What cuBLASLt answered for products of a kind and shape, so that it is asked once.
  using product_key = std::array<index_t, 8>;
  [[nodiscard]] std::map<product_key, cublasLtMatmulHeuristicResult_t>& product_choices() noexcept { return choices_; }

 private:
  /// A pool of our own that keeps what is released, so that a training step in its stride asks the driver for nothing.
  void create_pool() {
    cudaMemPoolProps wanted{};
    wanted.allocType = cudaMemAllocationTypePinned;
    wanted.location.type = cudaMemLocationTypeDevice;
    wanted.location.id = options_.ordinal;
    detail::gpu::check(cudaMemPoolCreate(pool_.out(), &wanted), "create a memory pool");
    auto keep = std::numeric_limits<unsigned long long>::max();
    detail::gpu::check(cudaMemPoolSetAttribute(pool_.get(), cudaMemPoolAttrReleaseThreshold, &keep),
                       "set up a memory pool");
  }

  cuda_options options_;
  detail::gpu::cuda_handle<cudaMemPool_t, cudaMemPoolDestroy> pool_;
  detail::gpu::cuda_handle<cudaStream_t, cudaStreamDestroy> stream_;
  detail::gpu::cuda_handle<cublasLtHandle_t, cublasLtDestroy> products_;
  int most_shared_memory_ = 0;
  void* scratch_ = nullptr;
  std::size_t scratch_bytes_ = 0;
  void* workspace_ = nullptr;
  std::map<product_key, cublasLtMatmulHeuristicResult_t> choices_;
};

}  // namespace plumb::inline v0

#endif

// SPDX-License-Identifier: BSL-1.0
// How fast the CUDA backend works: products by own kernels beside cuBLASLt, attention, rows and element-wise work beside
// the speed of the GPU's memory.
//
//     bench_cuda [ordinal]
//
// Times are medians of single calls, measured by events on the stream after a call that warms up.
#include <plumb/backend/cuda.hpp>

#include <algorithm>
#include <array>
#include <charconv>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <vector>

namespace {

using plumb::index_t;
using B = plumb::cuda;

/// Numbers in [−1, 1) in the GPU's memory.
struct fill_random {
  float* x;
  std::uint64_t key;
  PLUMB_HD void operator()(index_t i) const {
    x[i] = static_cast<float>(plumb::philox_word(key, static_cast<std::uint64_t>(i))) * 0x1p-31f - 1.0f;
  }
};

template <class T>
class memory {
 public:
  memory(B::device& d, index_t rows, index_t columns) : device_(d), all_(nullptr, rows, columns) {
    all_.data = static_cast<T*>(B::allocate(d, bytes()));
  }
  memory(const memory&) = delete;
  memory& operator=(const memory&) = delete;
  ~memory() { B::release(device_, all_.data, bytes()); }
  [[nodiscard]] std::size_t bytes() const { return sizeof(T) * static_cast<std::size_t>(all_.size()); }
  [[nodiscard]] plumb::view<T> all() const { return all_; }

 private:
  B::device& device_;
  plumb::view<T> all_;
};

class floats : public memory<float> {
 public:
  floats(B::device& d, index_t rows, index_t columns) : memory(d, rows, columns) {
    B::for_each(d, rows * columns, fill_random{all().data, 7});
  }
};

/// The median time of one call, in seconds.
template <class F>
double median_seconds(B::device& d, F f) {
  cudaEvent_t start, stop;
  plumb::detail::gpu::check(cudaEventCreate(&start), "create an event");
  plumb::detail::gpu::check(cudaEventCreate(&stop), "create an event");
  f();
  std::vector<float> times(21);
  for (float& time : times) {
    plumb::detail::gpu::check(cudaEventRecord(start, d.stream()), "record an event");
    f();
    plumb::detail::gpu::check(cudaEventRecord(stop, d.stream()), "record an event");
    plumb::detail::gpu::check(cudaEventSynchronize(stop), "wait for an event");
    plumb::detail::gpu::check(cudaEventElapsedTime(&time, start, stop), "read a clock");
  }
  (void)cudaEventDestroy(start);
  (void)cudaEventDestroy(stop);
  std::nth_element(times.begin(), times.begin() + 10, times.end());
  return static_cast<double>(times[10]) * 1e-3;
}

void products(B::device& own, B::device& library, B::device& rounded) {
  std::printf("\nproducts A[m,k] B[n,k]', float, TFLOP/s\n      m      n      k     own   cuBLASLt   with TF32\n");
  for (const auto& [m, n, k] : {std::array<index_t, 3>{1, 2048, 2048},
                                {8, 2048, 2048},
                                {512, 576, 576},
                                {2048, 2048, 2048},
                                {4096, 4096, 4096},
                                {8192, 5632, 2048}}) {
    std::printf("%7lld%7lld%7lld", static_cast<long long>(m), static_cast<long long>(n), static_cast<long long>(k));
    for (auto* const d : {&own, &library, &rounded}) {
      const floats a(*d, m, k), b(*d, n, k), c(*d, m, n);
      const double seconds =
          median_seconds(*d, [&] { B::multiply(*d, plumb::product::nt, 1.0f, a.all(), b.all(), 0.0f, c.all()); });
      std::printf("%11.2f",
                  2.0 * static_cast<double>(m) * static_cast<double>(n) * static_cast<double>(k) / seconds * 1e-12);
    }
    std::printf("\n");
  }
}

void attention(B::device& d) {
  std::printf(
      "\nattention of one causal segment, 16 heads on 4, float\n tokens  width   forward ms  TFLOP/s   back ms  "
      "TFLOP/s\n");
  for (const index_t tokens : {512, 2048, 8192})
    for (const index_t width : {64, 128}) {
      const plumb::attention_options o{16, 4, width, 0.125, 0};
      const memory<plumb::query_segment> segments(d, 1, 1);
      const memory<std::int32_t> key_rows(d, tokens, 1), row_segment(d, tokens, 1);
      std::vector<std::int32_t> rows(static_cast<std::size_t>(tokens));
      for (std::size_t i = 0; i < rows.size(); ++i) rows[i] = static_cast<std::int32_t>(i);
      const plumb::query_segment whole{0, static_cast<std::int32_t>(tokens), 0, 0};
      B::upload(d, &whole, segments.all().data, 1);
      B::upload(d, rows.data(), key_rows.all().data, tokens);
      B::fill(d, row_segment.all(), 0);
      const plumb::attention_plan plan{segments.all().data, 1, key_rows.all().data, row_segment.all().data};
      const floats q(d, tokens, 16 * width), k(d, tokens, 4 * width), v(d, tokens, 4 * width);
      const floats out(d, tokens, 16 * width), sums(d, tokens, 16), slope(d, tokens, 16 * width);
      const floats dq(d, tokens, 16 * width), dk(d, tokens, 4 * width), dv(d, tokens, 4 * width);
      const double forward =
          median_seconds(d, [&] { B::attention(d, plan, o, q.all(), k.all(), v.all(), out.all(), sums.all()); });
      const double back = median_seconds(d, [&] {
        B::attention_backward(d, plan, o, q.all(), k.all(), v.all(), out.all(), sums.all(), slope.all(), dq.all(),
                              dk.all(), dv.all());
      });
      const double work = 2.0 * static_cast<double>(tokens * tokens * width * 16);  // two products over half the square
      std::printf("%7lld%7lld%13.3f%9.2f%10.3f%9.2f\n", static_cast<long long>(tokens), static_cast<long long>(width),
                  forward * 1e3, work / forward * 1e-12, back * 1e3, 2.5 * work / back * 1e-12);
    }
}

void streams(B::device& d) {
  const index_t rows = 2048, vocabulary = 50000;
  const floats a(d, rows, vocabulary), b(d, rows, vocabulary), weight(d, 1, vocabulary), inverse(d, rows, 1);
  const memory<std::int32_t> targets(d, rows, 1);
  B::fill(d, targets.all(), 5);
  const double bytes = static_cast<double>(a.bytes());
  std::printf("\n[%lld, %lld] floats, GB/s of the traffic that cannot be avoided\n", static_cast<long long>(rows),
              static_cast<long long>(vocabulary));
  const auto report = [&](const char* name, double passes, auto f) {
    std::printf("%-18s%8.0f\n", name, passes * bytes / median_seconds(d, f) * 1e-9);
  };
  report("copy", 2, [&] { B::copy(d, a.all(), b.all()); });
  report("add", 3, [&] { B::add(d, a.all(), a.all(), b.all()); });
  report("swiglu", 2, [&] { B::swiglu(d, a.all(), a.all(), b.all()); });
  report("dropout", 2, [&] { B::dropout(d, a.all(), 3, 0.1, false, b.all()); });
  report("rms_norm", 2, [&] { B::rms_norm(d, a.all(), weight.all(), 1e-5, b.all(), inverse.all().data); });
  report("row_statistics", 1,
         [&] { B::row_statistics(d, a.all(), targets.all().data, plumb::row_outputs<float>{inverse.all().data}); });
  report("sum_of_squares", 1, [&] { (void)B::sum_of_squares<float>(d, a.all()); });
}

}  // namespace

int main(int count, char** arguments) {
  try {
    int ordinal = 0;
    if (count > 1) std::from_chars(arguments[1], arguments[1] + std::strlen(arguments[1]), ordinal);
    B::device own(plumb::cuda_options{.ordinal = ordinal});
    B::device library(plumb::cuda_options{.ordinal = ordinal, .exact_rows = false});
    B::device rounded(plumb::cuda_options{.ordinal = ordinal, .exact_rows = false, .tf32 = true});
    cudaDeviceProp properties{};
    plumb::detail::gpu::check(cudaGetDeviceProperties(&properties, ordinal), "ask for the GPU's name");
    std::printf("%s, %d multiprocessors\n", properties.name, properties.multiProcessorCount);
    products(own, library, rounded);
    attention(own);
    streams(own);
  } catch (const plumb::error& e) {
    std::fprintf(stderr, "%s\n", e.what());
    return 1;
  }
}

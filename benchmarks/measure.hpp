// SPDX-License-Identifier: BSL-1.0
// What the benchmarks share: medians of times, and what the machine can do at most.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <ctime>
#include <memory>
#include <utility>
#include <vector>

#include <plumb/backend/cpu.hpp>
#include <plumb/backend/cpu_bfloat16_blocks.hpp>
#include <plumb/backend/cpu_vector.hpp>
#include <plumb/tensor/tensor.hpp>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace bench {

using plumb::cpu;
using plumb::index_t;
using clock = std::chrono::steady_clock;

inline double seconds_since(clock::time_point start) {
  return std::chrono::duration<double>(clock::now() - start).count();
}

/// Processor time so far, of all threads together, in seconds: it hardly depends on what else the machine does.
inline double processor_seconds() { return static_cast<double>(std::clock()) / CLOCKS_PER_SEC; }

/// The middle one of some numbers; of an even count the mean of the middle two. 0 of none.
inline double median(std::vector<double> numbers) {
  if (numbers.empty()) return 0;
  std::sort(numbers.begin(), numbers.end());
  const std::size_t half = numbers.size() / 2;
  return numbers.size() % 2 ? numbers[half] : (numbers[half - 1] + numbers[half]) / 2;
}

/// The median time of one call, in seconds, over at least `least` seconds and 7 calls, after one that does not count.
template <class F>
double median_seconds(F f, double least = 0.2) {
  f();
  std::vector<double> times;
  for (double total = 0; total < least || times.size() < 7; total += times.back()) {
    const auto start = clock::now();
    f();
    times.push_back(seconds_since(start));
  }
  return median(std::move(times));
}

/// Independent fused multiply-adds in registers: what a product can reach at most.
struct fma_probe {
  static constexpr index_t rounds = 200000, chains = 12;

  template <class Set>
  [[gnu::always_inline]] static inline void run(float* out) {
    using s = plumb::detail::simd<Set, float>;
    typename s::vector sum[chains], a, b;
    s::load(a, out);
    s::load(b, out + 16);
    for (index_t c = 0; c < chains; ++c) s::load(sum[c], out + 32 + 16 * c);  // unlike, or they become one
    for (index_t i = 0; i < rounds; ++i) step<Set>(sum, a, b, std::make_integer_sequence<int, chains>{});
    for (index_t c = 0; c < chains; ++c) s::store(out + 32 + 16 * c, sum[c]);
  }
  template <class Set, int... C>
  [[gnu::always_inline]] static inline void step(typename plumb::detail::simd<Set, float>::vector* sum,
                                                 const typename plumb::detail::simd<Set, float>::vector& a,
                                                 const typename plumb::detail::simd<Set, float>::vector& b,
                                                 std::integer_sequence<int, C...>) {
    (plumb::detail::simd<Set, float>::fma(sum[C], a, b), ...);
  }
};

/// The most operations a second that the device's threads do in float together, in GFLOP/s.
inline double peak_gflops(cpu::device& d) {
  std::vector<float> memory(static_cast<std::size_t>(d.threads()) * 1024, 1e-3f);
  for (std::size_t i = 0; i < memory.size(); ++i) memory[i] += 1e-6f * static_cast<float>(i);
  const double seconds = median_seconds([&] {
    d.run(d.threads(), [&](index_t task, int) {
      plumb::detail::run_with<fma_probe>(d.instructions(), memory.data() + task * 1024);
    });
  });
  index_t lanes = 0;
  plumb::detail::with_set(d.instructions(), [&]<class Set>(Set) { lanes = plumb::detail::simd<Set, float>::lanes; });
  return 2e-9 * static_cast<double>(fma_probe::rounds * fma_probe::chains * lanes * d.threads()) / seconds;
}

#if defined(__x86_64__)
/// The same with bfloat16's dot products, two multiplications and additions a lane. No templates over instruction sets:
/// there is one set that has them.
__attribute__((noinline, target("avx512f,avx512bf16"))) inline void bf16_probe(float* out) {
  __m512 sum[fma_probe::chains];
  const auto a = (__m512bh)_mm512_loadu_ps(out), b = (__m512bh)_mm512_loadu_ps(out + 16);
  for (index_t c = 0; c < fma_probe::chains; ++c) sum[c] = _mm512_loadu_ps(out + 32 + 16 * c);
  for (index_t i = 0; i < fma_probe::rounds; ++i) {
#if !defined(__clang__)  // clang unrolls by itself; a loop would keep the sums in memory
#pragma GCC unroll 12
#endif
    for (index_t c = 0; c < fma_probe::chains; ++c) sum[c] = _mm512_dpbf16_ps(sum[c], a, b);
  }
  for (index_t c = 0; c < fma_probe::chains; ++c) _mm512_storeu_ps(out + 32 + 16 * c, sum[c]);
}
#endif

#if defined(__x86_64__)
/// The same with registers of whole matrices: 16 x 16 sums of 32 products each.
inline void matrix_probe() {
  plumb::detail::shape_registers();
  asm volatile("tilezero %tmm0\n\ttilezero %tmm1\n\ttilezero %tmm2\n\ttilezero %tmm3");
  for (index_t i = 0; i < fma_probe::rounds; ++i)
    asm volatile(
        "tdpbf16ps %tmm3, %tmm2, %tmm0\n\ttdpbf16ps %tmm3, %tmm2, %tmm1\n\t"
        "tdpbf16ps %tmm3, %tmm2, %tmm0\n\ttdpbf16ps %tmm3, %tmm2, %tmm1");
  asm volatile("tilerelease");
}
#endif

/// The most operations a second in bfloat16 with sums in float, in GFLOP/s; 0 where the processor has no such products.
inline double peak_bf16_gflops([[maybe_unused]] cpu::device& d) {
#if defined(__x86_64__)
  if (plumb::detail::has_bfloat16_unit(plumb::detail::bfloat16_unit::matrices)) {
    const double seconds = median_seconds([&] { d.run(d.threads(), [](index_t, int) { matrix_probe(); }); });
    return 1e-9 * static_cast<double>(fma_probe::rounds * 4 * 16384 * d.threads()) / seconds;
  }
  if (__builtin_cpu_supports("avx512bf16")) {
    std::vector<float> memory(static_cast<std::size_t>(d.threads()) * 1024, 1e-3f);
    const double seconds = median_seconds(
        [&] { d.run(d.threads(), [&](index_t task, int) { bf16_probe(memory.data() + task * 1024); }); });
    return 4e-9 * static_cast<double>(fma_probe::rounds * fma_probe::chains * 16 * d.threads()) / seconds;
  }
#endif
  return 0;
}

/// Adds up memory with independent sums: what reading weights once can reach at most.
struct read_probe {
  template <class Set>
  [[gnu::always_inline]] static inline void run(const float* from, index_t count, float* out) {
    using s = plumb::detail::simd<Set, float>;
    typename s::vector sum[8], one, x;
    for (auto& each : sum) s::load(each, out);
    s::load(one, out);
    for (index_t i = 0; i + 8 * s::lanes <= count; i += 8 * s::lanes)
      for (index_t c = 0; c < 8; ++c) {
        s::load(x, from + i + c * s::lanes);
        s::fma(sum[c], x, one);
      }
    for (auto& each : sum) {
      s::load(x, out);
      s::fma(x, each, one);
      s::store(out, x);
    }
  }
};

/// The most bytes a second that the device's threads read together from a memory of 1 GiB, in GB/s.
inline double read_bandwidth(cpu::device& d) {
  const index_t count = index_t{1} << 28, tasks = 64 * d.threads(), piece = count / tasks;
  const plumb::tensor<cpu, float> memory(std::make_shared<cpu::device>(1), {1, count}, 1e-3f);  // in large pages
  std::vector<float> sums(static_cast<std::size_t>(tasks) * 64, 1e-3f);
  const double seconds = median_seconds([&] {
    d.run(tasks, [&](index_t task, int) {
      plumb::detail::run_with<read_probe>(d.instructions(), memory.get().data + task * piece, piece,
                                          sums.data() + task * 64);
    });
  });
  return 1e-9 * static_cast<double>(sizeof(float)) * static_cast<double>(piece * tasks) / seconds;
}

/// Begins the peak of resident memory (VmHWM) anew, where the system lets a process do so.
inline void reset_peak_memory() {
  if (std::FILE* file = std::fopen("/proc/self/clear_refs", "w")) {
    std::fputs("5", file);
    std::fclose(file);
  }
}

}  // namespace bench

// SPDX-License-Identifier: BSL-1.0
// How fast the cpu backend multiplies matrices, beside the most that the machine can do and beside Eigen.
//
//     bench_products [threads]
//
// Peak: independent fused multiply-adds in registers, on all threads at once. Eigen is compiled with the same flags as
// the rest of this file; it gains vectors wider than SSE only from -march=native, plumb chooses them at run time.
#include <array>
#include <charconv>
#include <cstdio>
#include <cstring>
#include <vector>

#include "measure.hpp"

#include <Eigen/Core>

namespace {

using bench::median_seconds;
using plumb::cpu;
using plumb::index_t;
using plumb::view;

using matrix = Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;

double eigen_seconds(plumb::product kind, const std::vector<float>& a, const std::vector<float>& b,
                     std::vector<float>& c, index_t m, index_t n, index_t k) {
  const bool tn = kind == plumb::product::tn, nt = kind == plumb::product::nt;
  const Eigen::Map<const matrix> left(a.data(), tn ? k : m, tn ? m : k), right(b.data(), nt ? n : k, nt ? k : n);
  Eigen::Map<matrix> out(c.data(), m, n);
  return median_seconds([&] {
    if (nt)
      out.noalias() = left * right.transpose();
    else if (tn)
      out.noalias() = left.transpose() * right;
    else
      out.noalias() = left * right;
  });
}

void line(cpu::device& d, plumb::product kind, index_t m, index_t n, index_t k, double most) {
  const bool tn = kind == plumb::product::tn, nt = kind == plumb::product::nt;
  const std::vector<float> a(static_cast<std::size_t>(m * k), 0.5f), b(static_cast<std::size_t>(n * k), 0.25f);
  std::vector<float> c(static_cast<std::size_t>(m * n));
  const view<const float> left(a.data(), tn ? k : m, tn ? m : k), right(b.data(), nt ? n : k, nt ? k : n);
  const double ours =
      median_seconds([&] { cpu::multiply<float>(d, kind, 1, left, right, 0, view<float>(c.data(), m, n)); });
  const double theirs = eigen_seconds(kind, a, b, c, m, n, k);
  const double work = 2e-9 * static_cast<double>(m) * static_cast<double>(n) * static_cast<double>(k);
  std::printf("%s %5d x %5d x %5d %9.1f us %8.1f GFLOP/s %4.0f %% of peak %7.1f GB/s of B   Eigen, 1 thread %8.1f\n",
              nt   ? "nt"
              : tn ? "tn"
                   : "nn",
              static_cast<int>(m), static_cast<int>(n), static_cast<int>(k), ours * 1e6, work / ours,
              100 * work / ours / most, 4e-9 * static_cast<double>(n) * static_cast<double>(k) / ours, work / theirs);
}

}  // namespace

int main(int count, char** arguments) {
  int threads = 0;
  if (count > 1) std::from_chars(arguments[1], arguments[1] + std::strlen(arguments[1]), threads);
  try {
    cpu::device d(threads);
    const double most = bench::peak_gflops(d);
    std::printf("%d threads, instruction set %d, peak %.1f GFLOP/s in float, %.1f in bfloat16, reads %.1f GB/s\n",
                d.threads(), static_cast<int>(d.instructions()), most, bench::peak_bf16_gflops(d),
                bench::read_bandwidth(d));
    for (const auto kind : {plumb::product::nt, plumb::product::nn, plumb::product::tn})
      for (const auto& [m, n, k] : {std::array<index_t, 3>{1, 128, 128},
                                    {1, 2048, 2048},
                                    {8, 2048, 2048},
                                    {512, 128, 128},
                                    {2048, 128, 128},
                                    {2048, 16, 512},
                                    {256, 256, 256},
                                    {512, 512, 512},
                                    {1024, 1024, 1024},
                                    {2048, 2048, 2048}})
        line(d, kind, m, n, k, most);
  } catch (const plumb::error& e) {
    std::fprintf(stderr, "%s\n", e.what());
    return 1;
  }
}

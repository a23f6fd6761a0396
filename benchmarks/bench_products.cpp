// SPDX-License-Identifier: BSL-1.0
// How fast the cpu backend multiplies matrices, beside the most that the machine can do and beside Eigen.
//
//     bench_products [--threads 0] [--compute f32|bf16]
//
// Peak: independent fused multiply-adds in registers, on all threads at once; with --compute bf16, which rounds operands to
// bfloat16, the same in bfloat16. "from panels": the right operand, a frozen weight, lies in the order of products already.
// Eigen is compiled with the same flags as the rest of this file; it gains vectors wider than SSE only from -march=native,
// plumb chooses them at run time.
#include <array>
#include <cstdio>
#include <optional>
#include <string>
#include <vector>

#include <plumb/core/packed_numbers.hpp>

#include "arguments.hpp"
#include "measure.hpp"
#include "workload.hpp"

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
  std::printf("%s %5d x %5d x %5d %9.1f us %8.1f GFLOP/s %4.0f %% of peak %7.1f GB/s of B   Eigen, 1 thread %8.1f",
              nt   ? "nt"
              : tn ? "tn"
                   : "nn",
              static_cast<int>(m), static_cast<int>(n), static_cast<int>(k), ours * 1e6, work / ours,
              100 * work / ours / most, 4e-9 * static_cast<double>(n) * static_cast<double>(k) / ours, work / theirs);
  if (nt) {
    std::vector<float> panels(static_cast<std::size_t>(cpu::panel_size<float>(d, {n, k})));
    cpu::make_panels<float>(d, right, panels.data());
    const double packed =
        median_seconds([&] { cpu::multiply_panels<float>(d, 1, left, panels.data(), 0, view<float>(c.data(), m, n)); });
    std::printf("   from panels %9.1f us %8.1f GFLOP/s %4.0f %%", packed * 1e6, work / packed,
                100 * work / packed / most);
  }
  std::puts("");
}

/// Few rows times all maps of the blocks of SmolLM2-135M, which lie in the order of products in this format (none: floats),
/// one after the other as a token meets them.
void few_rows(cpu::device& d, std::optional<plumb::packed_format> format) {
  constexpr std::array<plumb::shape, 4> maps{{{960, 576}, {576, 576}, {3072, 576}, {576, 1536}}};
  constexpr index_t layers = 30, most_rows = 16;
  struct panels {
    plumb::shape extent;
    plumb::packed_numbers numbers;
    std::vector<std::uint8_t> codes;
    std::vector<float> plain;
  };
  std::vector<panels> all;
  for (index_t i = 0; i < layers; ++i)
    for (const plumb::shape extent : maps) {
      panels& p = all.emplace_back();
      p.extent = extent;
      std::vector<float> weight(static_cast<std::size_t>(extent.size()));
      for (std::size_t n = 0; n < weight.size(); ++n) weight[n] = 0.01f * static_cast<float>(n % 199) - 1;
      if (format) {
        p.numbers = plumb::pack(weight, extent, *format);
        p.codes.resize(static_cast<std::size_t>(cpu::packed_panel_size<float>(d, p.numbers.what)));
        if (p.codes.empty()) return std::puts("no kernel reads this format in the order of products"), void();
        cpu::make_packed_panels<float>(d, p.numbers.what, p.codes.data());
      } else {
        p.plain.resize(static_cast<std::size_t>(cpu::panel_size<float>(d, extent)));
        cpu::make_panels<float>(d, view<const float>(weight.data(), extent), p.plain.data());
      }
    }
  const std::vector<float> a(most_rows * 1536, 0.5f);
  std::vector<float> c(most_rows * 3072);
  std::printf("%-5s", format ? std::string(plumb::name(*format)).c_str() : "f32");
  for (const index_t rows : {1, 4, 8, 14, 16}) {
    const double seconds = median_seconds([&] {
      for (const panels& p : all) {
        const view<const float> left(a.data(), rows, p.extent.columns);
        const view<float> out(c.data(), rows, p.extent.rows);
        if (format)
          cpu::multiply_packed<float>(d, plumb::product::nt, 1, left, p.numbers.what, p.codes.data(), 0, out);
        else
          cpu::multiply_panels<float>(d, 1, left, p.plain.data(), 0, out);
      }
    });
    std::printf("  %2d rows %6.1f ms", static_cast<int>(rows), 1e3 * seconds);
  }
  std::puts("");
}

}  // namespace

int main(int count, char** words) {
  try {
    bench::arguments a(count, words);
    const plumb::load_options load = bench::load_options_of(a);
    a.done("bench_products [--threads N] [--compute f32|bf16]");
    cpu::device d(load.threads, load.products);
    const bool rounds = load.products == plumb::product_precision::bfloat16;
    const double most = rounds ? bench::peak_bf16_gflops(d) : bench::peak_gflops(d);
    std::printf("%d threads, instruction set %d, peak %.1f GFLOP/s in %s, reads %.1f GB/s\n", d.threads(),
                static_cast<int>(d.instructions()), most, rounds ? "bfloat16" : "float", bench::read_bandwidth(d));
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
                                    {1024, 1536, 576},
                                    {2048, 2048, 2048}})
        line(d, kind, m, n, k, most);
    std::puts("few rows times all maps of the blocks of SmolLM2-135M, in the order of products:");
    few_rows(d, std::nullopt);
    for (const auto format : {plumb::packed_format::bf16, plumb::packed_format::int8, plumb::packed_format::q8_0,
                              plumb::packed_format::four_bits, plumb::packed_format::q4_0})
      few_rows(d, format);
  } catch (const plumb::error& e) {
    std::fprintf(stderr, "%s\n", e.what());
    return 1;
  }
}

// SPDX-License-Identifier: BSL-1.0
// What one product of matrix registers (16 x 32 x 16, Intel's AMX) takes, by where its operands lie, how many registers
// are in use, and how deep K is, as sums go to memory once for all of it (docs/design/decisions.md).
//
//     bench_registers
//
// Medians in nanoseconds, for each thread while all threads do the same. The figures of eight registers jump between two
// values: the lower where no other thread of the core has registers in use.
#include <cstdio>
#include <memory>

#include <plumb/tensor/tensor.hpp>

#include "measure.hpp"

#if defined(__x86_64__)
namespace {

using plumb::cpu;
using plumb::index_t;
using plumb::detail::bfloat16_bits;
using plumb::detail::chunk_size;

/// 32 by 32 sums in four registers, with operands in four others: eight in use.
struct square_block {
  static void shape() {
    struct alignas(64) {
      std::uint8_t palette = 1, start = 0, unused[14] = {};
      std::uint16_t row_bytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};
      std::uint8_t rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};
    } const all;
    asm volatile("tilerelease\n\tldtilecfg %0" : : "m"(all));
  }
  template <int Register>
  [[gnu::always_inline]] static void load(const bfloat16_bits* from) {
    asm volatile("tileloadd (%0,%1,1), %%tmm%c2" : : "r"(from), "r"(index_t{64}), "i"(Register) : "memory");
  }
  /// 2 by 2 products with a chunk of two bands and one of two strips.
  [[gnu::always_inline]] static void step(const bfloat16_bits* a, const bfloat16_bits* b) {
    load<4>(a);
    load<6>(b);
    asm volatile("tdpbf16ps %tmm6, %tmm4, %tmm0");
    load<7>(b + chunk_size);
    asm volatile("tdpbf16ps %tmm7, %tmm4, %tmm1");
    load<5>(a + chunk_size);
    asm volatile("tdpbf16ps %tmm6, %tmm5, %tmm2\n\ttdpbf16ps %tmm7, %tmm5, %tmm3");
  }
};

/// So many zeros, from the beginning of a cache line: a register's row must not lie in two.
struct zeros {
  explicit zeros(index_t count) : memory(std::make_shared<cpu::device>(1), {1, (count + 1) / 2}, 0.0F) {}
  [[nodiscard]] bfloat16_bits* data() { return reinterpret_cast<bfloat16_bits*>(memory.get().data); }
  plumb::tensor<cpu, float> memory;
};

/// Seconds of `work(thread)` on all threads at once.
template <class Work>
double seconds_together(cpu::device& d, Work work) {
  return bench::median_seconds([&] { d.run(d.threads(), [&](index_t task, int) { work(task); }); });
}

/// Operands of so many kilobytes each, read over and over.
void operands(cpu::device& d, const char* where, index_t kilobytes) {
  constexpr index_t steps = 4096;
  const index_t size = kilobytes * 1024 / 2;
  zeros memory(2 * size * d.threads());
  const auto place = [&](index_t thread) { return memory.data() + 2 * size * thread; };
  const double four = seconds_together(d, [&](index_t thread) {
    alignas(64) float sums[16 * 32];
    plumb::detail::register_block<16, 2>::begin();
    const index_t chunks = size / chunk_size / 2;  // one band, and two strips that lie behind each other
    for (index_t done = 0; done < steps; done += chunks)
      plumb::detail::register_block<16, 2>::run(chunks, place(thread), place(thread) + size, chunks * chunk_size, sums,
                                                32, false);
    plumb::detail::register_block<16, 2>::end();
  });
  const double eight = seconds_together(d, [&](index_t thread) {
    square_block::shape();
    asm volatile("tilezero %tmm0\n\ttilezero %tmm1\n\ttilezero %tmm2\n\ttilezero %tmm3");
    for (index_t i = 0; i < steps / 2; ++i) {
      const index_t at = i * 2 * chunk_size % size;
      square_block::step(place(thread) + at, place(thread) + size + at);
    }
    asm volatile("tilerelease");
  });
  std::printf("operands in %-18s  four registers %5.1f ns   eight %5.1f ns\n", where, 1e9 * four / (2 * steps),
              1e9 * eight / (2 * steps));
}

/// C[1024, 512] of a wider matrix = A[1024, K] · B.
void sums(cpu::device& d, index_t chunks) {
  constexpr index_t rows = 1024, columns = 512, stride = 1536, bands = rows / 16, strips = columns / 16, turns = 8;
  const auto memory = std::make_shared<cpu::device>(1);
  plumb::tensor<cpu, float> c(memory, {d.threads() * turns * rows, stride});
  zeros a(bands * chunks * chunk_size), b(strips * chunks * chunk_size);
  index_t turn = 0;
  const double seconds = bench::median_seconds([&] {
    turn = (turn + 1) % turns;  // memory that was not written lately
    d.run(d.threads(), [&](index_t thread, int) {
      float* const to = c.get().data + (thread * turns + turn) * rows * stride;
      plumb::detail::run_avx512<plumb::detail::register_blocks>(
          rows, columns, chunks, static_cast<const bfloat16_bits*>(a.data()), chunks * chunk_size,
          static_cast<const bfloat16_bits*>(b.data()), chunks * chunk_size, to, stride, false);
    });
  });
  std::printf("K of %4d, C of %5.1f MB      %5.1f ns\n", static_cast<int>(32 * chunks), 4e-6 * rows * stride,
              1e9 * seconds / static_cast<double>(bands * strips * chunks));
}

}  // namespace
#endif

int main() {
#if defined(__x86_64__)
  if (plumb::detail::has_bfloat16_unit(plumb::detail::bfloat16_unit::matrices)) {
    cpu::device d;
    operands(d, "the first cache", 16);
    operands(d, "the second cache", 256);
    for (const index_t chunks : {6, 18, 48}) sums(d, chunks);
    return 0;
  }
#endif
  std::puts("this machine has no matrix registers");
}

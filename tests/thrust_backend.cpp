// SPDX-License-Identifier: BSL-1.0
// The GPU kernels, run by Thrust on the CPU: equal to the reference backend, and bit for bit what they promise.
#include <cmath>
#include <cstdint>
#include <cstring>
#include <vector>

#if defined(_OPENMP)
#include <omp.h>
#endif

#include <plumb/backend/concept.hpp>
#include <plumb/backend/thrust.hpp>
#include "backend_cases.hpp"
#include "catch.hpp"
#include "thrust_laws.hpp"

static_assert(plumb::backend<plumb::thrust_host>);
static_assert(plumb::thrust_host::host_memory);

TEST_CASE("kernels on Thrust's host system compute what the reference does") {
  plumb_test::check_backend<plumb::thrust_host>();
}

TEST_CASE("kernels on Thrust's host system keep their laws") { plumb_test::check_all_laws<plumb::thrust_host>(); }

namespace {

/// A block that runs its lanes last to first, in shared memory that begins as NaNs. Where a lane reads what another lane
/// writes in the same phase, which is a race on a GPU, its results differ from those of lone_block.
template <int Threads>
struct backwards_block : plumb::detail::blocks::lone_block<Threads> {
  template <class F>
  void each(F f) {
    for (int lane = Threads - 1; lane >= 0; --lane) f(lane);
  }
};

struct backwards_host : plumb::detail::blocks::thrust_primitives<backwards_host> {
  struct device : plumb::thrust_host::device {
    std::vector<double> memory;
  };
  static void* allocate(device& d, std::size_t bytes) { return plumb::thrust_host::allocate(d, bytes); }
  static void release(device& d, void* memory, std::size_t bytes) noexcept {
    plumb::thrust_host::release(d, memory, bytes);
  }
  template <class T>
  static void upload(device& d, const T* host, T* to, plumb::index_t count) {
    plumb::thrust_host::upload(d, host, to, count);
  }
  template <class T>
  static void download(device& d, const T* from, T* host, plumb::index_t count) {
    plumb::thrust_host::download(d, from, host, count);
  }
  template <class F>
  static void for_each(device&, plumb::index_t count, F f) {
    for (plumb::index_t i = count - 1; i >= 0; --i) f(i);
  }
  template <class Kernel>
  static void run_blocks(device&, plumb::index_t count, const Kernel& kernel) {
    for (plumb::index_t number = count - 1; number >= 0; --number) {
      backwards_block<Kernel::threads> block;
      typename Kernel::shared memory;
      std::memset(static_cast<void*>(&memory), 0xff, sizeof memory);
      kernel(block, memory, number);
    }
  }
  template <class T>
  static T* scratch(device& d, plumb::index_t count) {
    d.memory.assign(static_cast<std::size_t>(count) * sizeof(T) / sizeof(double) + 1, -1e300);
    return reinterpret_cast<T*>(d.memory.data());
  }
  // (scatter_add_rows sorts; it has no blocks and no lanes)
};

/// Negative control: adds up in one phase what the same phase writes.
struct racing_kernel {
  static constexpr int threads = 32;
  struct shared {
    float x[32];
  };
  float* out;
  template <class Block>
  void operator()(Block& block, shared& s, plumb::index_t) const {
    block.each([&](int lane) { s.x[lane] = 1; });
    block.each([&](int lane) { s.x[lane] += lane > 0 ? s.x[lane - 1] : 0; });
    block.each([&](int lane) { out[lane] = s.x[lane]; });
  }
};

template <class B>
std::vector<float> all_blocks() {
  typename B::device d;
  using plumb_test::numbers, plumb_test::some_numbers;
  std::vector<float> result;
  const auto keep = [&](const std::vector<float>& more) { result.insert(result.end(), more.begin(), more.end()); };
  const numbers<B, float> x(d, some_numbers<float>(70 * 300, 41), 70, 300), w(d, some_numbers<float>(300, 42), 1, 300);
  const numbers<B, float> y(d, 0.5f, 70, 300), inverse(d, 0.0f, 70, 1), logp(d, 0.0f, 70, 1), entropy(d, 0.0f, 70, 1);
  const numbers<B, std::int32_t> targets(d, std::vector<std::int32_t>(70, 3));
  B::rms_norm(d, x.all(), w.all(), 1e-5, y.all(), inverse.data());
  keep(y.host());
  B::rms_norm_backward(d, x.all(), w.all(), inverse.data(), x.all(), y.all(), plumb::view<float>{});
  keep(y.host());
  B::row_statistics(d, x.all(), targets.data(),
                    plumb::row_outputs<float>{nullptr, logp.data(), entropy.data(), nullptr});
  keep(entropy.host());
  B::row_gradients(d, y.all(), targets.data(), logp.data(), entropy.data(), inverse.data(), inverse.data());
  keep(y.host());
  result.push_back(static_cast<float>(B::template sum_of_squares<float>(d, x.all())));
  for (const auto kind : {plumb::product::nt, plumb::product::nn, plumb::product::tn})
    for (const plumb::index_t m : {3, 70}) {
      const auto a = kind == plumb::product::tn ? x.all().slice(0, 60) : plumb::view<float>(x.data(), m, 60);
      const auto b =
          kind == plumb::product::nt ? plumb::view<float>(x.data(), 90, 60) : plumb::view<float>(x.data(), 60, 90);
      const numbers<B, float> c(d, 0.5f, kind == plumb::product::tn ? 300 : m, 90);
      B::multiply(d, kind, 1.0f, a, b, 1.0f, c.all());
      keep(c.host());
    }
  for (const int window : {0, 20})
    for (const int width : {8, 40, 100, 200}) {
      const plumb_test::segment_forest f({{40, -1}, {30, 0}, {50, 0}, {1, 2}, {3, -1}});
      const plumb::attention_options o{2, 1, width, 0.25, window};
      const auto q = some_numbers<float>(f.tokens * 2 * width, 43), k = some_numbers<float>(f.tokens * width, 44);
      const auto back = plumb_test::attend<B, float>(f, o, q, k, k, q);
      for (const auto* more : {&back.out, &back.log_sum, &back.dq, &back.dk, &back.dv}) keep(*more);
    }
  return result;
}

}  // namespace

TEST_CASE("no lane reads what another writes in the same phase, and none reads what nobody wrote") {
  const auto forwards = all_blocks<plumb::thrust_host>();
  bool finite = true;
  for (const float number : forwards) finite = finite && std::isfinite(number);
  CHECK(finite);
  CHECK(plumb_test::same_bits(forwards, all_blocks<backwards_host>()));

  backwards_host::device d;
  plumb::thrust_host::device e;
  std::vector<float> backwards(32), lone(32);
  backwards_host::run_blocks(d, 1, racing_kernel{backwards.data()});
  plumb::thrust_host::for_each(e, 1, plumb::detail::blocks::run_alone<racing_kernel>{{lone.data()}});
  CHECK_FALSE(plumb_test::same_bits(backwards, lone));
}

TEST_CASE("a block's merge adds up in the tree of a GPU's shuffles") {
  plumb::detail::blocks::lone_block<128> block;
  plumb::detail::blocks::lone_block<128>::lanes<float> values;
  block.each([&](int lane) { values[lane] = static_cast<float>(lane) + 0.1f; });
  float warps[4];
  for (int w = 0; w < 4; ++w) {
    float lanes[32];
    for (int i = 0; i < 32; ++i) lanes[i] = static_cast<float>(32 * w + i) + 0.1f;
    for (int step = 16; step > 0; step /= 2)
      for (int i = 0; i < step; ++i) lanes[i] += lanes[i + step];
    warps[w] = lanes[0];
  }
  CHECK(block.merge(values, plumb::detail::blocks::sum_of{}) == (warps[0] + warps[2]) + (warps[1] + warps[3]));
}

TEST_CASE("places in a matrix, also beyond 32 bits") {
  const auto near = plumb::detail::blocks::place_of(1000003, 1000);
  CHECK(near.row == 1000);
  CHECK(near.column == 3);
  const auto far = plumb::detail::blocks::place_of((plumb::index_t{1} << 40) + 5, plumb::index_t{1} << 33);
  CHECK(far.row == 128);
  CHECK(far.column == 5);
}

#if defined(_OPENMP)
TEST_CASE("results have the same bits for every number of threads") {
  using B = plumb::thrust_host;
  using plumb_test::numbers;
  const auto run = [](int threads) {
    const int before = omp_get_max_threads();
    omp_set_num_threads(threads);
    B::device d;
    const auto x = plumb_test::some_numbers<float>(700 * 50, 31), w = plumb_test::some_numbers<float>(50, 32);
    const numbers<B, float> from(d, x, 700, 50), weight(d, w, 1, 50), y(d, 0.0f, 700, 50), inverse(d, 0.0f, 700, 1);
    const numbers<B, float> dw(d, 0.0f, 1, 50), sum(d, 0.0f, 1, 50), table(d, 0.0f, 11, 50), c(d, 0.0f, 50, 50);
    std::vector<std::int32_t> rows(700);
    for (std::size_t i = 0; i < rows.size(); ++i) rows[i] = static_cast<std::int32_t>(i * i % 11);
    const numbers<B, std::int32_t> to(d, rows);
    B::rms_norm(d, from.all(), weight.all(), 1e-5, y.all(), inverse.data());
    B::rms_norm_backward(d, from.all(), weight.all(), inverse.data(), y.all(), plumb::view<float>{}, dw.all());
    B::sum_rows(d, from.all(), sum.all());
    B::scatter_add_rows(d, from.all(), to.data(), table.all());
    B::multiply(d, plumb::product::tn, 1.0f, from.all(), y.all(), 0.0f, c.all());
    std::vector<float> result{static_cast<float>(B::sum_of_squares<float>(d, from.all()))};
    for (const auto& more : {dw.host(), sum.host(), table.host(), c.host()})
      result.insert(result.end(), more.begin(), more.end());
    const plumb_test::segment_forest f({{40, -1}, {30, 0}, {50, 0}, {1, 2}});
    const plumb::attention_options o{2, 1, 16, 0.25, 0};
    const auto q = plumb_test::some_numbers<float>(f.tokens * 32, 33),
               k = plumb_test::some_numbers<float>(f.tokens * 16, 34);
    const auto back = plumb_test::attend<B, float>(f, o, q, k, k, q);
    for (const auto* more : {&back.out, &back.dq, &back.dk, &back.dv})
      result.insert(result.end(), more->begin(), more->end());
    omp_set_num_threads(before);
    return result;
  };
  const auto one = run(1);
  for (const int threads : {2, 3, 4}) CHECK(plumb_test::same_bits(run(threads), one));
}
#endif

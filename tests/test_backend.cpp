// SPDX-License-Identifier: BSL-1.0
// The cpu backend beside the reference, and its two laws bit by bit: the number of threads changes nothing, and a row
// changes with nothing but its own operands.
#include <atomic>
#include <bit>
#include <cmath>
#include <limits>
#include <numeric>
#include <stdexcept>
#include <thread>

#include <plumb/autograd/activations.hpp>
#include <plumb/autograd/layer_normalisation.hpp>
#include <plumb/backend/concept.hpp>
#include <plumb/backend/cpu.hpp>
#include <plumb/backend/cpu_dropout.hpp>
#include <plumb/backend/cpu_threads.hpp>
#include <plumb/backend/cpu_vector.hpp>
#include <plumb/core/half.hpp>

#include "backend_cases.hpp"
#include "catch.hpp"
#include "cpu_machines.hpp"

static_assert(plumb::backend<plumb::reference>);
static_assert(plumb::backend<plumb::cpu>);
static_assert(plumb::number_functions<plumb::cpu, float> && plumb::layer_norms<plumb::cpu, float>);
static_assert(!plumb::number_functions<plumb::cpu, double> && !plumb::number_functions<plumb::reference, float>);
static_assert(plumb::rounded_keys<plumb::cpu, float>);
static_assert(!plumb::rounded_keys<plumb::cpu, double> && !plumb::rounded_keys<plumb::reference, float>);
static_assert(plumb::parallel_for<plumb::thread_pool>);

namespace {

using plumb::cpu;
using plumb::index_t;
using plumb::view;
using plumb_test::random_numbers;

template <class T>
bool same_bits(const T* a, const T* b, index_t count) {
  return std::memcmp(a, b, sizeof(T) * static_cast<std::size_t>(count)) == 0;
}

/// Backends that are wrong in one place each: the shared cases must notice.
struct wrong_product : plumb::reference {
  using reference::multiply;
  template <class T>
  static void multiply(device& d, plumb::product kind, std::type_identity_t<T> alpha, plumb::in<T> a, plumb::in<T> b,
                       std::type_identity_t<T> beta, view<T> c) {
    reference::multiply<T>(d, kind, alpha, a, b, beta, c);
    if (c.rows == 33 && c.columns == 33) c.data[c.size() - 1] += T(1e-3);
  }
};
struct wrong_window : plumb::reference {
  template <class T>
  static void attention(device& d, const plumb::attention_plan& plan, const plumb::attention_options& o, plumb::in<T> q,
                        plumb::in<T> k, plumb::in<T> v, view<T> out, view<T> log_sum) {
    auto other = o;
    if (other.window == 40) other.window = 41;
    reference::attention<T>(d, plan, other, q, k, v, out, log_sum);
  }
};
struct wrong_tie : plumb::reference {
  template <class T>
  static void row_statistics(device& d, plumb::in<T> z, const std::int32_t* targets, plumb::row_outputs<T> out) {
    reference::row_statistics<T>(d, z, targets, out);
    for (index_t i = 0; out.best && z.columns > 2 && i < z.rows; ++i)
      if (out.best[i] == 1) out.best[i] = static_cast<std::int32_t>(z.columns - 1);
  }
};

template <class B>
std::vector<std::string> wrong_cases() {
  typename B::device d;
  std::vector<std::string> names;
  for (const auto& result : plumb_test::backend_cases<B, double>(d).run())
    if (!(result.error <= plumb_test::tolerances{}.twice)) names.push_back(result.name);
  return names;
}

}  // namespace

TEST_CASE("backend: the shared cases accept the reference and notice a single wrong number") {
  CHECK(wrong_cases<plumb::reference>().empty());
  const auto product = wrong_cases<wrong_product>();
  REQUIRE_FALSE(product.empty());
  for (const auto& name : product) CHECK(name.find(" 33x33x") != std::string::npos);
  CHECK(wrong_cases<wrong_window>() ==
        std::vector<std::string>{"attention of 3 heads of 33", "attention of 4 heads of 16"});
  const auto tie = wrong_cases<wrong_tie>();
  REQUIRE_FALSE(tie.empty());
  for (const auto& name : tie) CHECK(name.find("logits") == 0);
}

TEST_CASE("backend: cpu computes what the reference computes, with every instruction set") {
  for (const auto& machine : plumb_test::full_machines()) {
    INFO("instruction set " << static_cast<int>(machine.set));
    cpu::device d = machine.device(2);
    plumb_test::check_backend<cpu>(d);
  }
}

TEMPLATE_TEST_CASE("backend: the number of threads changes no bit", "", float, double) {
  for (const auto& machine : sizeof(TestType) == 4 ? plumb_test::all_machines() : plumb_test::full_machines()) {
    cpu::device one = machine.device(1);
    const auto expected = plumb_test::backend_cases<cpu, TestType>(one).run();
    const bool best = machine.set == plumb::detail::best_instruction_set();
    for (const int threads : best ? std::vector<int>{2, 3, 4, 7} : std::vector<int>{3}) {
      cpu::device many = machine.device(threads);
      REQUIRE(many.threads() == threads);
      const auto found = plumb_test::backend_cases<cpu, TestType>(many).run();
      REQUIRE(found.size() == expected.size());
      for (std::size_t i = 0; i < found.size(); ++i) {
        INFO(found[i].name << ", " << threads << " threads");
        CHECK(found[i].bytes == expected[i].bytes);
      }
    }
  }
}

TEMPLATE_TEST_CASE("backend: a row of a product is the same bits in every batch", "", float, double) {
  using T = TestType;
  for (const auto& machine : plumb_test::all_machines())
    // The fourth is deeper than a block of K. Rows of the last two lie a multiple of 4,096 bytes apart, which many rows have
    // tiles of their own for, and the last one's sums wait between parts of K.
    for (const auto& [n, k] :
         {std::pair<index_t, index_t>{70, 97}, {33, 600}, {128, 128}, {40, 1700}, {70, 1024}, {33, 4096}}) {
      cpu::device d = machine.device(3), single = machine.device(1);
      const index_t m = 613;
      const auto a = random_numbers<T>(m * k, 1), b = random_numbers<T>(n * k, 2);
      const auto old = random_numbers<T>(m * n, 3);
      auto all = old;
      const view<const T> right(b.data(), n, k);
      cpu::multiply<T>(d, plumb::product::nt, T(0.7), view<const T>(a.data(), m, k), right, T(0.3),
                       view<T>(all.data(), m, n));
      const index_t rank = 10;
      const auto inner = random_numbers<T>(m * rank, 4), low_numbers = random_numbers<T>(n * rank, 5);
      const view<const T> low(low_numbers.data(), n, rank);
      std::vector<T> both(static_cast<std::size_t>(m * n));
      cpu::multiply_sum<T>(d, plumb::product::nt, {view<const T>(a.data(), m, k), right},
                           {view<const T>(inner.data(), m, rank), low}, T(0), view<T>(both.data(), m, n));
      std::vector<T> packed(static_cast<std::size_t>(cpu::panel_size<T>(d, {n, k})));
      std::vector<T> packed_low(static_cast<std::size_t>(cpu::panel_size<T>(d, {n, rank})));
      cpu::make_panels<T>(d, right, packed.data());
      cpu::make_panels<T>(d, low, packed_low.data());
      for (const index_t rows : {1, 2, 4, 5, 9, 13, 14, 15, 16, 28, 200})
        for (const index_t first : {0, 1, 17, 412}) {
          // The same rows alone, at an address that is no multiple of a vector.
          std::vector<T> left(static_cast<std::size_t>(rows * k + 1)), some(static_cast<std::size_t>(rows * n + 3));
          std::copy_n(a.data() + first * k, rows * k, left.data() + 1);
          std::copy_n(old.data() + first * n, rows * n, some.data() + 3);
          cpu::multiply<T>(single, plumb::product::nt, T(0.7), view<const T>(left.data() + 1, rows, k), right, T(0.3),
                           view<T>(some.data() + 3, rows, n));
          INFO("set " << static_cast<int>(machine.set) << ", unit " << static_cast<int>(machine.unit) << ", rows "
                      << first << " + " << rows << " of " << m << "x" << n << "x" << k);
          CHECK(same_bits(some.data() + 3, all.data() + first * n, rows * n));
          // With a second term on the sums, from weights as they lie and from packed ones.
          std::vector<T> sum(static_cast<std::size_t>(rows * n)), packed_sum(sum.size());
          const view<const T> own(left.data() + 1, rows, k), own_inner(inner.data() + first * rank, rows, rank);
          cpu::multiply_sum<T>(single, plumb::product::nt, {own, right}, {own_inner, low}, T(0),
                               view<T>(sum.data(), rows, n));
          cpu::multiply_sum<T>(d, plumb::product::nt, {own, {}, packed.data()}, {own_inner, {}, packed_low.data()},
                               T(0), view<T>(packed_sum.data(), rows, n));
          CHECK(same_bits(sum.data(), both.data() + first * n, rows * n));
          CHECK(same_bits(packed_sum.data(), both.data() + first * n, rows * n));
          // And from a weight packed beforehand.
          std::copy_n(old.data() + first * n, rows * n, some.data() + 3);
          cpu::multiply_panels<T>(d, T(0.7), own, packed.data(), T(0.3), view<T>(some.data() + 3, rows, n));
          CHECK(same_bits(some.data() + 3, all.data() + first * n, rows * n));
        }
    }
}

TEMPLATE_TEST_CASE("backend: a map and its low-rank side in one call are the bits of two", "", float, double) {
  using T = TestType;
  struct sizes {
    index_t m, n, k, rank;
  };
  for (const auto& machine : plumb_test::all_machines())
    // More rows than a part; all columns in one task, and in many; a K that is deeper than a part; a rank that is not rounded;
    // rows that lie 4,096 or 8,192 bytes apart.
    for (const auto& [m, n, k, rank] :
         {sizes{2070, 40, 70, 16}, {130, 700, 600, 40}, {37, 50, 5000, 24}, {9, 300, 97, 10}, {130, 70, 1024, 16}})
      for (const auto kind : {plumb::product::nt, plumb::product::nn})
        for (const bool panels : {false, true}) {
          if (panels && kind == plumb::product::nn) continue;  // panels are for A Bᵀ
          CAPTURE(static_cast<int>(machine.set), static_cast<int>(machine.unit), m, n, k, static_cast<int>(kind),
                  panels);
          cpu::device one_thread = machine.device(1), d = machine.device(3);
          const bool nt = kind == plumb::product::nt;
          const auto x = random_numbers<T>(m * k, 1), w = random_numbers<T>(n * k, 2);
          const auto low = random_numbers<T>(rank * k, 3), high = random_numbers<T>(n * rank, 4);
          const auto old = random_numbers<T>(m * n, 5);
          const view<const T> left(x.data(), m, k), map(w.data(), nt ? plumb::shape{n, k} : plumb::shape{k, n});
          const view<const T> down(low.data(), nt ? plumb::shape{rank, k} : plumb::shape{k, rank});
          const view<const T> up(high.data(), nt ? plumb::shape{n, rank} : plumb::shape{rank, n});
          std::vector<T> inner(static_cast<std::size_t>(m * rank)), own_inner(inner.size()), down_panels, up_panels;
          auto c = old, expected = old;
          cpu::multiply<T>(one_thread, kind, T(0.5), left, down, T(0), view<T>(inner.data(), m, rank));
          const view<const T> made(inner.data(), m, rank), own(own_inner.data(), m, rank);
          cpu::multiply_sum<T>(one_thread, kind, {left, map}, {made, up}, T(0.3), view<T>(expected.data(), m, n));
          if (panels) {
            down_panels.resize(static_cast<std::size_t>(cpu::panel_size<T>(d, down.extent())));
            up_panels.resize(static_cast<std::size_t>(cpu::panel_size<T>(d, up.extent())));
            cpu::make_panels<T>(d, down, down_panels.data());
            cpu::make_panels<T>(d, up, up_panels.data());
          }
          const T* const of_down = panels ? down_panels.data() : nullptr;
          const T* const of_up = panels ? up_panels.data() : nullptr;
          cpu::multiply_adapted<T>(d, kind, {left, map}, {left, down, of_down}, T(0.5),
                                   view<T>(own_inner.data(), m, rank), {own, up, of_up}, T(0.3),
                                   view<T>(c.data(), m, n));
          CHECK(same_bits(own_inner.data(), inner.data(), m * rank));
          CHECK(same_bits(c.data(), expected.data(), m * n));
        }
}

TEST_CASE("backend: products in bfloat16 are exact where nothing is rounded, and within their bound elsewhere") {
  for (const auto& machine : plumb_test::rounding_machines())
    for (const auto& [m, n, k] : {std::tuple<index_t, index_t, index_t>{1, 16, 1},
                                  {3, 33, 17},
                                  {16, 48, 100},
                                  {33, 65, 129},
                                  {70, 200, 800},
                                  {64, 40, 4200},  // deeper than a part
                                  {2070, 24, 40}})
      for (const auto kind : {plumb::product::nt, plumb::product::nn, plumb::product::tn})
        for (const bool whole : {true, false}) {
          CAPTURE(static_cast<int>(machine.unit), m, n, k, static_cast<int>(kind), whole);
          auto a = random_numbers<float>(m * k, 1), b = random_numbers<float>(n * k, 2),
               c = random_numbers<float>(m * n, 3);
          if (whole)  // small whole numbers: every product and sum is exact
            for (auto* numbers : {&a, &b, &c})
              for (float& x : *numbers) x = std::round(4 * x);
          const view<const float> left(a.data(), kind == plumb::product::tn ? plumb::shape{k, m} : plumb::shape{m, k});
          const view<const float> right(b.data(), kind == plumb::product::nt ? plumb::shape{n, k} : plumb::shape{k, n});
          const float alpha = whole ? 2.0F : 0.7F, beta = whole ? 3.0F : 0.3F;
          auto expected = c;
          plumb::reference::device plain;
          plumb::reference::multiply<float>(plain, kind, alpha, left, right, beta, view<float>(expected.data(), m, n));
          cpu::device d = machine.device(2);
          cpu::multiply<float>(d, kind, alpha, left, right, beta, view<float>(c.data(), m, n));
          if (whole) {
            CHECK(same_bits(c.data(), expected.data(), m * n));
            continue;
          }
          std::vector<float> bound(c.size());  // Σ|a||b|
          for (auto* numbers : {&a, &b})
            for (float& x : *numbers) x = std::abs(x);
          plumb::reference::multiply<float>(plain, kind, alpha, left, right, 0, view<float>(bound.data(), m, n));
          bool within = true, rounded = false;
          for (std::size_t i = 0; i < c.size(); ++i) {
            const float error = std::abs(c[i] - expected[i]);
            within = within && error <= 0x1p-7F * bound[i] + 1e-5F;
            rounded = rounded || error > 1e-4F * bound[i];
          }
          CHECK(within);
          // Aᵀ·B with few columns stays in float: it does too little with each number.
          if (kind != plumb::product::tn && k > 1) CHECK(rounded);
        }
}

TEST_CASE(
    "backend: attention in bfloat16 is near the reference, and everything that is no product is as near as ever") {
  for (const auto& machine : plumb_test::rounding_machines()) {
    cpu::device d = machine.device(2);
    int rounded = 0;
    for (const auto& result : plumb_test::backend_cases<cpu, float>(d).run()) {
      CAPTURE(static_cast<int>(machine.unit), result.name);
      const bool product = result.name.starts_with("attention") || result.name.starts_with("nt ") ||
                           result.name.starts_with("nn ") || result.name.starts_with("tn ");
      CHECK(result.error <= (product ? 0.04 : plumb_test::tolerances{}.single));
      rounded += product && result.error > plumb_test::tolerances{}.single;
    }
    CHECK(rounded > 20);
  }
}

TEST_CASE("backend: what is no number stays in its row of a product in bfloat16") {
  for (const auto& machine : plumb_test::rounding_machines()) {
    cpu::device d = machine.device(2);
    const index_t m = 40, n = 48, k = 70;
    auto a = random_numbers<float>(m * k, 1);
    const auto b = random_numbers<float>(n * k, 2);
    a[5 * k + 3] = std::numeric_limits<float>::infinity();
    a[17 * k + 69] =
        std::bit_cast<float>(0x7fffffffU);  // the largest payload, which adding half a unit would make a zero
    std::vector<float> c(static_cast<std::size_t>(m * n));
    cpu::multiply<float>(d, plumb::product::nt, 1, view<const float>(a.data(), m, k), view<const float>(b.data(), n, k),
                         0, view<float>(c.data(), m, n));
    for (index_t i = 0; i < m; ++i)
      for (index_t j = 0; j < n; ++j) {
        const float x = c[static_cast<std::size_t>(i * n + j)];
        CHECK((i == 5 ? std::isinf(x) : i == 17 ? std::isnan(x) : std::isfinite(x)));
      }
  }
}

TEST_CASE("backend: a query that is no number changes no other in attention") {
  const index_t tokens = 150, width = 32;
  for (const auto& machine : plumb_test::all_machines()) {
    cpu::device d = machine.device(2);
    const auto k = random_numbers<float>(tokens * width, 2), v = random_numbers<float>(tokens * width, 3);
    std::vector<std::int32_t> keys(static_cast<std::size_t>(tokens));
    std::iota(keys.begin(), keys.end(), 0);
    const plumb::query_segment segment{0, static_cast<std::int32_t>(tokens), 0, 0};
    const plumb::attention_plan plan{
        .segments = &segment, .segment_count = 1, .key_rows = keys.data(), .row_segment = nullptr};
    const auto run = [&](const std::vector<float>& q) {
      std::vector<float> out(static_cast<std::size_t>(tokens * (width + 1)));
      cpu::attention<float>(d, plan, {.heads = 1, .kv_heads = 1, .head_width = width, .scale = 2},
                            view<const float>(q.data(), tokens, width), view<const float>(k.data(), tokens, width),
                            view<const float>(v.data(), tokens, width), view<float>(out.data(), tokens, width),
                            view<float>(out.data() + tokens * width, tokens, 1));
      return out;
    };
    auto q = random_numbers<float>(tokens * width, 1);
    const auto sound = run(q);
    for (const index_t broken : {3, 70, 149}) {
      auto other = q;
      other[static_cast<std::size_t>(broken * width)] = std::numeric_limits<float>::quiet_NaN();
      const auto found = run(other);
      for (index_t i = 0; i < tokens; ++i) {
        CAPTURE(static_cast<int>(machine.set), static_cast<int>(machine.unit), broken, i);
        if (i == broken)
          CHECK(std::isnan(found[static_cast<std::size_t>(i * width)]));
        else
          CHECK(same_bits(found.data() + i * width, sound.data() + i * width, width));
      }
    }
  }
}

namespace {

/// The largest errors of f(x) and f'(x), as parts of what they should be or, where that is smaller, of 10⁻³ and 10⁻¹, on a grid
/// from −30 to 30.
template <class Function>
std::pair<double, double> worst_of_function(const plumb_test::cpu_machine& machine, Function f,
                                            plumb::number_function_kind kind) {
  const index_t count = 60001;
  std::vector<float> x(static_cast<std::size_t>(count)), ones(x.size(), 1), value(x.size()), slope(x.size());
  for (index_t i = 0; i < count; ++i) x[static_cast<std::size_t>(i)] = static_cast<float>(i - 30000) * 1e-3F;
  cpu::device d = machine.device(2);
  const auto parameter = static_cast<float>(f.parameter());
  const view<const float> in(x.data(), 1, count), d_out(ones.data(), 1, count);
  cpu::number_function(d, kind, parameter, in, view<float>(value.data(), 1, count));
  cpu::number_function_backward(d, kind, parameter, in, d_out, false, view<float>(slope.data(), 1, count));
  std::pair<double, double> worst{};
  for (std::size_t i = 0; i < x.size(); ++i) {
    const double right = f(static_cast<double>(x[i])), right_slope = f.slope(static_cast<double>(x[i]), right);
    const auto error = [](double found, double wanted, double least) {
      return std::abs(found - wanted) / std::max(std::abs(wanted), least);
    };
    worst.first = std::max(worst.first, error(value[i], right, 1e-3));
    worst.second = std::max(worst.second, error(slope[i], right_slope, 1e-1));
  }
  return worst;
}

}  // namespace

TEST_CASE("backend: functions of single numbers in vectors are their formulas") {
  using namespace plumb::detail;
  using enum plumb::number_function_kind;
  for (const auto& machine : plumb_test::full_machines()) {
    INFO("set " << static_cast<int>(machine.set));
    const auto good = [&](auto f) {
      const auto [value, slope] = worst_of_function(machine, f, f.kind());
      CAPTURE(static_cast<int>(f.kind()), value, slope);
      CHECK(value < 2e-6);
      CHECK(slope < 2e-6);
    };
    good(silu_of<double>{});
    good(sigmoid_of<double>{});
    good(relu_of<double>{});
    good(gelu_of<double>{true});
    good(gelu_of<double>{false});
    good(soft_cap_of<double>{30});
    good(soft_cap_of<double>{1});
    good(clip_of<double>{2.5});
    CHECK(worst_of_function(machine, gelu_of<double>{true}, gelu).first > 1e-4);  // the check sees a wrong function
    CHECK(worst_of_function(machine, soft_cap_of<double>{30}, clip).second > 1e-2);

    // Any length and place, adding or not; what is no number stays where it is.
    cpu::device d = machine.device(2);
    const auto all = random_numbers<float>(100, 1), slopes = random_numbers<float>(100, 2);
    for (const auto kind : {silu, gelu, gelu_tanh, relu, sigmoid, clip, soft_cap}) {
      std::vector<float> whole(100), back(100, 0.5F);
      const auto run = [&](index_t first, index_t count, float* out, float* dx, bool adds) {
        const view<const float> x(all.data() + first, 1, count), slope(slopes.data() + first, 1, count);
        cpu::number_function(d, kind, 0.7F, x, view<float>(out, 1, count));
        cpu::number_function_backward(d, kind, 0.7F, x, slope, adds, view<float>(dx, 1, count));
      };
      run(0, 100, whole.data(), back.data(), true);
      for (const index_t first : {0, 3, 61})
        for (const index_t count : {0, 1, 5, 16, 39}) {
          std::vector<float> part(41, -7), part_back(41, -7);
          std::fill_n(part_back.begin(), count, 0.5F);
          run(first, count, part.data(), part_back.data(), true);
          CHECK(same_bits(part.data(), whole.data() + first, count));
          CHECK(same_bits(part_back.data(), back.data() + first, count));
          CHECK(part[static_cast<std::size_t>(count)] == -7);
          CHECK(part_back[static_cast<std::size_t>(count)] == -7);
        }
      std::vector<float> odd(20, 0.3F), out(20), dx(20);
      odd[4] = std::numeric_limits<float>::quiet_NaN();
      cpu::number_function(d, kind, 0.7F, view<const float>(odd.data(), 1, 20), view<float>(out.data(), 1, 20));
      for (std::size_t i = 0; i < 20; ++i) CHECK(std::isnan(out[i]) == (i == 4 && kind != relu));  // max(NaN, 0) = 0
      for (const float far : {1e4F, -1e4F}) {
        odd.assign(20, far);
        cpu::number_function(d, kind, 0.7F, view<const float>(odd.data(), 1, 20), view<float>(out.data(), 1, 20));
        cpu::number_function_backward(d, kind, 0.7F, view<const float>(odd.data(), 1, 20),
                                      view<const float>(all.data(), 1, 20), false, view<float>(dx.data(), 1, 20));
        CAPTURE(static_cast<int>(kind), far);
        CHECK(std::isfinite(out[0]));
        CHECK(std::isfinite(dx[0]));
      }
    }
  }
}

TEMPLATE_TEST_CASE("backend: layer norms are their formulas, for every number of threads", "", float, double) {
  using T = TestType;
  const double tolerance = sizeof(T) == 4 ? 2e-5 : 1e-12;
  for (const auto& machine : plumb_test::full_machines())
    for (const index_t n : {1, 5, 16, 67, 770}) {
      const index_t m = 150;
      INFO("set " << static_cast<int>(machine.set) << ", width " << n);
      const auto x = random_numbers<T>(m * n, 1), w = random_numbers<T>(n, 2), dy = random_numbers<T>(m * n, 3);
      const view<const T> in(x.data(), m, n), weight(w.data(), 1, n), slope(dy.data(), m, n);
      struct outcome {
        std::vector<T> y, mean, inverse, dx, dw;
      };
      const auto start = [&] {
        const auto whole = static_cast<std::size_t>(m * n), rows = static_cast<std::size_t>(m);
        return outcome{std::vector<T>(whole), std::vector<T>(rows), std::vector<T>(rows), std::vector<T>(whole, 0.25),
                       std::vector<T>(static_cast<std::size_t>(n), 0.25)};
      };
      const auto run = [&](int threads) {
        cpu::device d = machine.device(threads);
        outcome o = start();
        cpu::layer_norm<T>(d, in, weight, 1e-5, view<T>(o.y.data(), m, n), o.mean.data(), o.inverse.data());
        cpu::layer_norm_backward<T>(d, in, weight, o.mean.data(), o.inverse.data(), slope, view<T>(o.dx.data(), m, n),
                                    view<T>(o.dw.data(), 1, n));
        return o;
      };
      outcome right = start();
      const plumb::detail::normalise_row<T> forward{
          in, w.data(), T(1e-5), view<T>(right.y.data(), m, n), right.mean.data(), right.inverse.data()};
      const plumb::detail::normalise_row_back<T> back{
          in, w.data(), right.mean.data(), right.inverse.data(), slope, view<T>(right.dx.data(), m, n)};
      const plumb::detail::normalise_weight_back<T> weight_back{in, right.mean.data(), right.inverse.data(), slope,
                                                                right.dw.data()};
      for (index_t i = 0; i < m; ++i) forward(i), back(i);
      for (index_t k = 0; k < n; ++k) weight_back(k);
      const outcome found = run(3);
      const auto near = [&](const std::vector<T>& a, const std::vector<T>& b, double scale) {
        double worst = 0;
        for (std::size_t i = 0; i < a.size(); ++i)
          worst = std::max(worst, static_cast<double>(std::abs(a[i] - b[i])) / std::max(1.0, std::abs(double(b[i]))));
        CHECK(worst < scale * tolerance);
      };
      near(found.y, right.y, 1), near(found.mean, right.mean, 1), near(found.inverse, right.inverse, 1);
      near(found.dx, right.dx, 10), near(found.dw, right.dw, 10);
      const outcome alone = run(1);
      CHECK((alone.y == found.y && alone.dx == found.dx && alone.dw == found.dw));

      cpu::device d = machine.device(2);  // one gradient alone
      outcome half = start();
      cpu::layer_norm_backward<T>(d, in, weight, found.mean.data(), found.inverse.data(), slope, {},
                                  view<T>(half.dw.data(), 1, n));
      cpu::layer_norm_backward<T>(d, in, weight, found.mean.data(), found.inverse.data(), slope,
                                  view<T>(half.dx.data(), m, n), {});
      CHECK((half.dw == found.dw && half.dx == found.dx));
      for (const index_t first : {1, 90}) {  // a row knows nothing of the others
        outcome part = start();
        cpu::layer_norm<T>(d, view<const T>(x.data() + first * n, 2, n), weight, 1e-5, view<T>(part.y.data(), 2, n),
                           part.mean.data(), part.inverse.data());
        CHECK(same_bits(part.y.data(), found.y.data() + first * n, 2 * n));
      }
    }
}

TEMPLATE_TEST_CASE("backend: norms, rotations, gates and statistics of a row are the same bits in every batch", "",
                   float, double) {
  using T = TestType;
  for (const auto& machine : plumb_test::full_machines())
    for (const index_t n : {2, 34, 66, 194, 1000}) {
      cpu::device d = machine.device(3), single = machine.device(1);
      const index_t m = 97;
      const auto x = random_numbers<T>(m * n, 1), up = random_numbers<T>(m * n, 2), weight = random_numbers<T>(n, 3);
      const auto turn = random_numbers<T>(8 * (n / 2), 4);
      const auto positions = plumb_test::random_indices(m, 4, 5);
      const auto targets = plumb_test::random_indices(m, static_cast<std::int32_t>(n), 6);
      // One vector per row: norm, its inverse, rotation, gate, statistics and gradient.
      const auto everything = [&](cpu::device& where, index_t first, index_t rows, index_t offset) {
        const auto part = [&](const std::vector<T>& from) {
          std::vector<T> moved(static_cast<std::size_t>(rows * n + offset));
          std::copy_n(from.data() + first * n, rows * n, moved.data() + offset);
          return moved;
        };
        auto in_x = part(x), in_up = part(up);
        std::vector<T> norm(in_x.size()), rotated(in_x.size()), gate(in_x.size()),
            small(static_cast<std::size_t>(4 * rows));
        std::vector<std::int32_t> best(static_cast<std::size_t>(rows));
        const auto at = [&](std::vector<T>& v) { return view<T>(v.data() + offset, rows, n); };
        T* const s = small.data();
        cpu::rms_norm<T>(where, at(in_x), view<const T>(weight.data(), 1, n), 1e-5, at(norm), s);
        cpu::rotate<T>(where, at(in_x), positions.data() + first, view<const T>(turn.data(), 4, n / 2),
                       view<const T>(turn.data() + 4 * (n / 2), 4, n / 2), n, plumb::rotary_layout::half, 1, false,
                       at(rotated));
        cpu::swiglu<T>(where, at(in_x), at(in_up), at(gate));
        cpu::row_statistics<T>(
            where, at(in_x), targets.data() + first,
            {.logp = s + rows, .log_partition = s + 2 * rows, .entropy = s + 3 * rows, .best = best.data()});
        cpu::row_gradients<T>(where, at(in_x), targets.data() + first, s + 2 * rows, s + 3 * rows, nullptr, s + rows);
        std::vector<std::vector<T>> result(static_cast<std::size_t>(rows));
        for (index_t i = 0; i < rows; ++i) {
          auto& row = result[static_cast<std::size_t>(i)];
          for (auto* v : {&norm, &rotated, &gate, &in_x}) row.insert(row.end(), at(*v).row(i), at(*v).row(i) + n);
          for (index_t j = 0; j < 4; ++j) row.push_back(small[static_cast<std::size_t>(j * rows + i)]);
          row.push_back(static_cast<T>(best[static_cast<std::size_t>(i)]));
        }
        return result;
      };
      const auto all = everything(d, 0, m, 0);
      for (const index_t rows : {1, 2, 7})
        for (const index_t first : {0, 3, 90})
          for (const index_t offset : {0, 1, 5}) {
            const auto some = everything(single, first, rows, offset);
            INFO("set " << static_cast<int>(machine.set) << ", width " << n << ", rows " << first << " + " << rows
                        << ", offset " << offset);
            for (index_t i = 0; i < rows; ++i) {
              const auto &a = some[static_cast<std::size_t>(i)], &b = all[static_cast<std::size_t>(first + i)];
              CHECK(same_bits(a.data(), b.data(), static_cast<index_t>(a.size())));
            }
          }
    }
}

/// Attention to keys and values that were rounded before, where the device rounds them: the bits of `out` and `log_sum`, which
/// attention gave for those that were not.
template <class T>
void check_rounded_keys(cpu::device& d, const plumb::attention_plan& plan, const plumb::attention_options& o,
                        view<const T> q, view<const T> k, view<const T> v, view<const T> out, view<const T> log_sum) {
  if constexpr (std::is_same_v<T, float>) {
    if (!cpu::rounds_keys(d)) return;
    const auto size = static_cast<std::size_t>(k.size());
    std::vector<std::uint16_t> keys(size), values(size);
    const view<std::uint16_t> of_keys(keys.data(), k.extent()), of_values(values.data(), v.extent());
    cpu::round_rows(d, k, nullptr, of_keys);
    std::vector<std::int32_t> rows(static_cast<std::size_t>(k.rows));  // written half by half, the second first
    std::iota(rows.begin(), rows.end(), 0);
    const index_t half = k.rows / 2;
    cpu::round_rows(d, v.slice(half, v.rows - half), rows.data() + half, of_values);
    cpu::round_rows(d, v.slice(0, half), rows.data(), of_values);
    bool right = true;
    for (std::size_t i = 0; i < size; ++i) right = right && keys[i] == plumb::f32_to_bf16(k.data[i]);
    for (std::size_t i = 0; i < size; ++i) right = right && values[i] == plumb::f32_to_bf16(v.data[i]);
    CHECK(right);
    std::vector<float> found(static_cast<std::size_t>(out.size())), sums(static_cast<std::size_t>(log_sum.size()));
    cpu::attention_to_rounded(d, plan, o, q, of_keys, of_values, view<float>(found.data(), out.extent()),
                              view<float>(sums.data(), log_sum.extent()));
    CHECK(same_bits(found.data(), out.data, out.size()));
    CHECK(same_bits(sums.data(), log_sum.data, log_sum.size()));
    values[static_cast<std::size_t>(plan.key_rows[plan.segments[0].keys] * v.columns)] ^= 0x100;  // negative control
    cpu::attention_to_rounded(d, plan, o, q, of_keys, of_values, view<float>(found.data(), out.extent()),
                              view<float>(sums.data(), log_sum.extent()));
    if (o.window == 0) CHECK_FALSE(same_bits(found.data(), out.data, out.size()));
  }
}

TEMPLATE_TEST_CASE("backend: attention of a query is the same bits however its path is cut and batched", "", float,
                   double) {
  using T = TestType;
  const index_t tokens = 150, heads = 4, kv_heads = 2;
  for (const auto& machine : sizeof(T) == 4 ? plumb_test::all_machines() : plumb_test::full_machines())
    for (const index_t width : {6, 32, 48, 65})
      for (const index_t window : {0, 37}) {
        cpu::device d = machine.device(3), single = machine.device(1);
        const plumb::attention_options o{.heads = heads,
                                         .kv_heads = kv_heads,
                                         .head_width = width,
                                         .scale = 0.3,
                                         .window = window,
                                         .alibi = width == 32 ? 8.0 : 0.0};
        const auto q = random_numbers<T>(tokens * heads * width, 1);
        const auto k = random_numbers<T>(tokens * kv_heads * width, 2),
                   v = random_numbers<T>(tokens * kv_heads * width, 3);
        std::vector<std::int32_t> keys(static_cast<std::size_t>(tokens));
        std::iota(keys.begin(), keys.end(), 0);
        const auto run = [&](cpu::device& where, std::vector<plumb::query_segment> segments,
                             const std::vector<std::int32_t>& key_rows, const std::vector<T>& queries,
                             const std::vector<T>& key_data, const std::vector<T>& values) {
          const auto count = static_cast<index_t>(queries.size()) / (heads * width);
          const auto kv_count = static_cast<index_t>(key_data.size()) / (kv_heads * width);
          std::vector<T> result(static_cast<std::size_t>(count * heads * (width + 1)));
          const plumb::attention_plan plan{.segments = segments.data(),
                                           .segment_count = static_cast<index_t>(segments.size()),
                                           .key_rows = key_rows.data(),
                                           .row_segment = nullptr};
          const view<const T> of_queries(queries.data(), count, heads * width),
              of_keys(key_data.data(), kv_count, kv_heads * width), of_values(values.data(), of_keys.extent());
          const view<T> out(result.data(), of_queries.extent()),
              log_sum(result.data() + count * heads * width, count, heads);
          cpu::attention<T>(where, plan, o, of_queries, of_keys, of_values, out, log_sum);
          check_rounded_keys<T>(where, plan, o, of_queries, of_keys, of_values, out, log_sum);
          return result;
        };
        const auto whole = run(d, {{0, tokens, 0, 0}}, keys, q, k, v);
        INFO("set " << static_cast<int>(machine.set) << ", width " << width << ", window " << window);
        // The path as three segments.
        CHECK(run(d, {{0, 33, 0, 0}, {33, 50, 33, 0}, {83, 67, 83, 0}}, keys, q, k, v) == whole);
        // Token by token, as in decoding.
        std::vector<plumb::query_segment> steps;
        for (std::int32_t t = 0; t < tokens; ++t) steps.push_back({t, 1, t, 0});
        CHECK(run(single, steps, keys, q, k, v) == whole);
        // The same keys in rows that lie backwards, with another sequence of queries in the batch.
        std::vector<std::int32_t> backwards(keys.rbegin(), keys.rend());
        auto k2 = k, v2 = v, q2 = q;
        for (index_t t = 0; t < tokens; ++t)
          for (index_t j = 0; j < kv_heads * width; ++j) {
            k2[static_cast<std::size_t>(t * kv_heads * width + j)] =
                k[static_cast<std::size_t>((tokens - 1 - t) * kv_heads * width + j)];
            v2[static_cast<std::size_t>(t * kv_heads * width + j)] =
                v[static_cast<std::size_t>((tokens - 1 - t) * kv_heads * width + j)];
          }
        const auto more = random_numbers<T>(20 * heads * width, 4);
        q2.insert(q2.begin(), more.begin(), more.end());
        const auto mixed = run(d, {{0, 20, 7, 0}, {20, 150, 0, 0}}, backwards, q2, k2, v2);
        CHECK(same_bits(mixed.data() + 20 * heads * width, whole.data(), tokens * heads * width));
        CHECK(same_bits(mixed.data() + 170 * heads * width + 20 * heads, whole.data() + tokens * heads * width,
                        tokens * heads));
        // Samples of one prompt of 60 tokens, each with an end of its own, together and each alone, or with the token before it: ends
        // one after the other, token by token, or with a sample less from some token on.
        const index_t samples = 5, common = 60, own = tokens - common;
        auto k3 = random_numbers<T>(samples * own * kv_heads * width, 5), v3 = k3;
        std::reverse(v3.begin(), v3.end());
        k3.insert(k3.begin(), k.begin(), k.end());
        v3.insert(v3.begin(), v.begin(), v.end());
        for (const int order : {0, 1, 2}) {
          std::vector<plumb::query_segment> ends;
          std::vector<std::int32_t> paths;
          for (index_t i = 0; i < samples; ++i) {
            ends.push_back({static_cast<std::int32_t>(i), 1, static_cast<std::int32_t>(tokens - 1),
                            static_cast<std::int32_t>(paths.size())});
            paths.insert(paths.end(), keys.begin(), keys.begin() + common);
            for (index_t j = 0; j < own; ++j) {
              const index_t row = order == 0 ? i * own + j : j * samples + i - (order == 2 && j > 20 ? j - 20 : 0);
              paths.push_back(static_cast<std::int32_t>(tokens + row));
            }
          }
          const std::vector<T> q3(q.begin(), q.begin() + samples * heads * width);
          const auto together = run(d, ends, paths, q3, k3, v3);
          for (index_t i = 0; i < samples; ++i) {
            const std::vector<T> query(q3.begin() + i * heads * width, q3.begin() + (i + 1) * heads * width);
            const std::int32_t path = ends[static_cast<std::size_t>(i)].keys;
            const auto alone = run(single, {{0, 1, tokens - 1, path}}, paths, query, k3, v3);
            CHECK(same_bits(together.data() + i * heads * width, alone.data(), heads * width));
            CHECK(
                same_bits(together.data() + samples * heads * width + i * heads, alone.data() + heads * width, heads));
            auto two = query;
            two.insert(two.end(), query.begin(), query.end());
            const auto among = run(single, {{0, 2, tokens - 2, path}}, paths, two, k3, v3);
            CHECK(same_bits(among.data() + heads * width, alone.data(), heads * width));
            CHECK(same_bits(among.data() + 2 * heads * width + heads, alone.data() + heads * width, heads));
          }
          auto uneven = ends;  // a sample that is shorter than its neighbours
          uneven[1].first_position = static_cast<std::int32_t>(tokens - 12);
          const auto lengths = run(d, uneven, paths, q3, k3, v3);
          for (index_t i = 0; i < samples; ++i) {
            const std::vector<T> query(q3.begin() + i * heads * width, q3.begin() + (i + 1) * heads * width);
            auto segment = uneven[static_cast<std::size_t>(i)];
            segment.first_row = 0;
            const auto alone = run(single, {segment}, paths, query, k3, v3);
            CHECK(same_bits(lengths.data() + i * heads * width, alone.data(), heads * width));
          }
          auto crossed = ends;  // negative control: the same queries with each other's end
          std::swap(crossed[0].keys, crossed[1].keys);
          const auto swapped = run(d, crossed, paths, q3, k3, v3);
          CHECK_FALSE(same_bits(swapped.data(), together.data(), heads * width));
        }
      }
}

TEMPLATE_TEST_CASE("backend: attention of a query alone is the same bits as among others", "", float, double) {
  using T = TestType;
  const index_t tokens = 345;
  struct shape {
    index_t heads, kv_heads, width;
    double cap;
  };
  for (const auto& machine : sizeof(T) == 4 ? plumb_test::all_machines() : plumb_test::full_machines())
    // Groups of 1 to 9 heads, rows that lie in whole vectors and not, one that keeps its way of falling scores.
    for (const auto& [heads, kv_heads, width, cap] : {shape{3, 3, 64, 0},
                                                      {9, 3, 64, 0},
                                                      {4, 1, 20, 0},
                                                      {10, 2, 80, 0},
                                                      {8, 1, 16, 0},
                                                      {9, 1, 8, 0},
                                                      {4, 2, 64, 5}}) {
      cpu::device d = machine.device(2);
      const plumb::attention_options o{
          .heads = heads, .kv_heads = kv_heads, .head_width = width, .scale = 0.3, .cap = cap};
      const auto q = random_numbers<T>(tokens * heads * width, 1);
      const auto k = random_numbers<T>(tokens * kv_heads * width, 2),
                 v = random_numbers<T>(tokens * kv_heads * width, 3);
      std::vector<std::int32_t> keys(static_cast<std::size_t>(tokens));
      std::iota(keys.begin(), keys.end(), 0);
      const auto run = [&](index_t first, index_t count) {
        const plumb::query_segment segment{0, static_cast<std::int32_t>(count), static_cast<std::int32_t>(first), 0};
        const plumb::attention_plan plan{
            .segments = &segment, .segment_count = 1, .key_rows = keys.data(), .row_segment = nullptr};
        std::vector<T> result(static_cast<std::size_t>(count * heads * (width + 1)));
        const view<const T> queries(q.data() + first * heads * width, count, heads * width),
            of_keys(k.data(), tokens, kv_heads * width), of_values(v.data(), of_keys.extent());
        const view<T> out(result.data(), queries.extent()),
            log_sum(result.data() + count * heads * width, count, heads);
        cpu::attention<T>(d, plan, o, queries, of_keys, of_values, out, log_sum);
        check_rounded_keys<T>(d, plan, o, queries, of_keys, of_values, out, log_sum);
        return result;
      };
      const auto whole = run(0, tokens);
      const index_t sums = tokens * heads * width;
      for (const index_t at : {0, 1, 13, 55, 56, 63, 64, 111, 300, 344}) {
        INFO("set " << static_cast<int>(machine.set) << ", heads " << heads << "/" << kv_heads << " of " << width
                    << ", position " << at);
        const auto alone = run(at, 1);
        CHECK(same_bits(alone.data(), whole.data() + at * heads * width, heads * width));
        CHECK(same_bits(alone.data() + heads * width, whole.data() + sums + at * heads, heads));
        const index_t other = at == 0 ? 1 : at - 1;  // negative control
        CHECK_FALSE(same_bits(alone.data(), whole.data() + other * heads * width, heads * width));
      }
    }
}

TEST_CASE("backend: scratch memory stops growing once a shape was seen") {
  cpu::device d(1);
  (void)plumb_test::backend_cases<cpu, float>(d).run();
  (void)plumb_test::backend_cases<cpu, double>(d).run();
  const std::size_t before = d.scratch_bytes();
  REQUIRE(before > 0);
  (void)plumb_test::backend_cases<cpu, float>(d).run();
  (void)plumb_test::backend_cases<cpu, double>(d).run();
  CHECK(d.scratch_bytes() == before);
}

TEST_CASE("backend: logits that are infinite or no number") {
  const float inf = std::numeric_limits<float>::infinity(), nan = std::numeric_limits<float>::quiet_NaN();
  std::vector<float> z(3 * 40, 0.0f);
  for (int j = 1; j < 40; ++j) z[static_cast<std::size_t>(j)] = -inf;  // certainty: logp 0, entropy 0
  z[40 + 17] = nan;
  z[80 + 39] = 1e30f;
  const std::int32_t targets[] = {0, 0, 39};
  std::vector<float> logp(3), entropy(3);
  std::vector<std::int32_t> best(3);
  cpu::device d(1);
  cpu::row_statistics<float>(
      d, view<const float>(z.data(), 3, 40), targets,
      {.logp = logp.data(), .log_partition = nullptr, .entropy = entropy.data(), .best = best.data()});
  CHECK(logp[0] == 0);
  CHECK(entropy[0] == 0);
  CHECK(std::isnan(logp[1]));
  CHECK(std::isnan(entropy[1]));
  CHECK(logp[2] == 0);
  CHECK(entropy[2] == 0);
  CHECK(best == std::vector<std::int32_t>{0, 0, 39});
}

TEMPLATE_TEST_CASE("backend: weights of tokens to draw from", "", float, double) {
  using T = TestType;
  for (const index_t count : {1, 7, 16, 33, 1000}) {
    auto z = random_numbers<T>(count, 11);
    for (T& x : z) x *= 20;
    if (count > 7) z[5] = -std::numeric_limits<T>::infinity();
    const auto top = std::max_element(z.begin(), z.end());
    std::vector<double> weights(z.size());
    const auto found = plumb::detail::cpu_token_weights<T>(count, z.data(), 0.7, weights.data());
    CHECK(found.best == top - z.begin());
    CHECK_FALSE(found.nan);
    double total = 0;
    for (std::size_t i = 0; i < z.size(); ++i) {
      const double expected = std::exp((static_cast<double>(z[i]) - static_cast<double>(*top)) * (1 / 0.7));
      CHECK(std::abs(weights[i] - expected) <= 4e-16 * expected);
      total += expected;
    }
    CHECK(std::abs(found.total - total) <= 1e-14 * total);
    z.push_back(*top);  // of equals the first
    CHECK(plumb::detail::cpu_token_weights<T>(count + 1, z.data(), 0, nullptr).best == found.best);
    z[z.size() / 2] = std::numeric_limits<T>::quiet_NaN();
    CHECK(plumb::detail::cpu_token_weights<T>(count + 1, z.data(), 0, nullptr).nan);
  }
}

TEST_CASE("backend: the threads run every task once, pass exceptions on and may be asked from inside a task") {
  plumb::thread_pool pool(4);
  CHECK(pool.threads() == 4);
  for (const index_t tasks : {0, 1, 2, 3, 5, 1000}) {
    std::vector<std::atomic<int>> seen(static_cast<std::size_t>(tasks));
    std::vector<std::atomic<int>> working(4);
    std::atomic<bool> shared_worker = false;
    pool.run(tasks, [&](index_t task, int worker) {
      if (working[static_cast<std::size_t>(worker)].fetch_add(1) != 0) shared_worker = true;
      ++seen[static_cast<std::size_t>(task)];
      working[static_cast<std::size_t>(worker)].fetch_sub(1);
    });
    CHECK(std::all_of(seen.begin(), seen.end(), [](const auto& n) { return n == 1; }));
    CHECK_FALSE(shared_worker);
  }
  for (int round = 0; round < 20; ++round) {
    CHECK_THROWS_WITH(pool.run(100,
                               [](index_t task, int) {
                                 if (task == 41) throw std::runtime_error("task 41");
                               }),
                      "task 41");
    std::atomic<index_t> sum = 0;
    pool.run(50, [&](index_t outer, int worker) {
      pool.run(10, [&](index_t inner, int same) {
        if (same != worker) sum += 1000000;
        sum += outer * inner;
      });
    });
    CHECK(sum == 1225 * 45);
  }
  std::atomic<index_t> count = 0;  // many short runs, with pauses long enough to fall asleep in between
  for (int round = 0; round < 3000; ++round) {
    pool.run(round % 7, [&](index_t, int) { ++count; });
    if (round % 500 == 0) std::this_thread::sleep_for(std::chrono::milliseconds(2));
  }
  CHECK(count == 428 * 21 + 6);
}

TEST_CASE("backend: a device that cannot be made says why") {
  CHECK_THROWS_WITH(cpu::device(-1), "threads: expected 0 to 1024 threads, found -1");
  CHECK_THROWS_AS(cpu::device(5000), plumb::error);
  using plumb::detail::bfloat16_unit;
  for (const auto unit : {bfloat16_unit::vectors, bfloat16_unit::matrices})
    if (!plumb::detail::has_bfloat16_unit(unit))
      CHECK_THROWS_AS(cpu::device(1, plumb::detail::best_instruction_set(), unit), plumb::error);
  CHECK(cpu::device(1).bfloat16() == bfloat16_unit::none);
  CHECK((cpu::device(1, plumb::product_precision::bfloat16).bfloat16() != bfloat16_unit::none) ==
        plumb::multiplies_bfloat16_faster());
  CHECK(cpu::device().threads() >= 1);
  cpu::device first(2);
  cpu::device second = std::move(first);  // movable, and works after the move
  float x[] = {1, 2, 3};
  cpu::fill(second, view<float>(x, 1, 3), 4.0f);
  CHECK((x[0] == 4 && x[2] == 4));
}

namespace {

/// eˣ of every number, in place.
template <class T>
struct exp_body {
  template <class Set>
  [[gnu::always_inline]] static inline void run(index_t count, T* x) {
    using s = plumb::detail::simd<Set, T>;
    for (index_t i = 0; i < count; i += s::lanes) {
      typename s::vector v;
      s::load_some(v, x + i, count - i);
      s::exp(v);
      s::store_some(x + i, v, count - i);
    }
  }
};

}  // namespace

TEMPLATE_TEST_CASE("backend: the exponential is within two units in the last place", "", float, double) {
  using T = TestType;
  const T inf = std::numeric_limits<T>::infinity();
  const T edge = sizeof(T) == 4 ? T(110) : T(760);
  std::vector<T> x;
  for (int i = 0; i <= 200000; ++i) x.push_back(-edge + 2 * edge * static_cast<T>(i) / 200000);
  for (const T special : {T(0), T(-0.0), inf, -inf, std::numeric_limits<T>::quiet_NaN()}) x.push_back(special);
  for (const auto& machine : plumb_test::full_machines()) {
    auto y = x;
    plumb::detail::run_with<exp_body<T>>(machine.set, static_cast<index_t>(y.size()), y.data());
    double worst = 0;
    T small_worst = 0;
    bool overflows = true;
    for (std::size_t i = 0; i + 5 < x.size(); ++i) {
      const long double exact = std::exp(static_cast<long double>(x[i]));
      const T rounded = static_cast<T>(exact);
      if (rounded < std::numeric_limits<T>::min()) {
        small_worst = std::max(small_worst, std::abs(y[i] - rounded));
      } else if (rounded == inf) {
        overflows = overflows && y[i] == inf;
      } else {
        const long double unit = std::nextafter(rounded, inf) - rounded;
        worst = std::max(worst, static_cast<double>(std::abs(y[i] - exact) / unit));
      }
    }
    INFO("set " << static_cast<int>(machine.set));
    CHECK(worst <= 2);
    CHECK(small_worst <= 2 * std::numeric_limits<T>::denorm_min());
    CHECK(overflows);
    const T* const special = y.data() + y.size() - 5;
    CHECK((special[0] == 1 && special[1] == 1 && special[2] == inf && special[3] == 0 && std::isnan(special[4])));
  }
}

namespace {
struct philox_words {
  template <class Set>
  [[gnu::always_inline]] static inline void run(std::uint64_t key, std::uint64_t block, std::uint32_t* to, int* count) {
    plumb::detail::philox_lanes<Set>::run(key, block, to);
    *count = static_cast<int>(plumb::detail::philox_lanes<Set>::words_at_once);
  }
};
}  // namespace

TEST_CASE("Philox blocks made side by side are those made one by one", "[backend]") {
  for (const auto& machine : plumb_test::full_machines())
    for (const std::uint64_t key : {std::uint64_t{0}, std::uint64_t{0xfedcba9876543210}})
      for (const std::uint64_t block : {std::uint64_t{0}, std::uint64_t{0xfffffff0}, std::uint64_t{0x1234567890}}) {
        std::uint32_t found[64] = {};
        int count = 0;
        plumb::detail::run_with<philox_words>(machine.set, key, block, static_cast<std::uint32_t*>(found), &count);
        REQUIRE(count >= 16);
        for (int i = 0; i < count; ++i)
          CHECK(found[i] == plumb::philox_word(key, 4 * block + static_cast<std::uint64_t>(i)));
      }
}

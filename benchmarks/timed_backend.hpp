// SPDX-License-Identifier: BSL-1.0
// The cpu backend with a stopwatch around every primitive: where the time of a step goes. What the cpu backend has and is
// not named here passes through unmeasured.
#pragma once

#include <array>
#include <chrono>
#include <string_view>
#include <tuple>
#include <utility>

#include <plumb/backend/concept.hpp>
#include <plumb/backend/cpu.hpp>

namespace bench {

using plumb::cpu;
using plumb::index_t;

/// The kinds of work that times are added up by.
enum class work : unsigned char {
  maps,     ///< products with the weights of the blocks
  adapter,  ///< products with a side of at most 64: LoRA's
  head,     ///< products with the vocabulary
  attention,
  norms,
  elementwise,  ///< activations, sums, rotary positions
  head_rows,    ///< log-probabilities and their gradients
  embedding,
  optimiser,
  memory,  ///< copies and fills
  count
};
inline constexpr std::array<std::string_view, static_cast<std::size_t>(work::count)> work_names = {
    "products: maps of the blocks",  "products: adapters", "products: head", "attention",       "norms", "elementwise",
    "log-probabilities of the head", "embedding and rows", "optimiser",      "copies and fills"};
constexpr bool is_product(work w) { return w <= work::head; }

struct work_time {
  double seconds = 0, operations = 0;
  long calls = 0;
};
using work_times = std::array<work_time, static_cast<std::size_t>(work::count)>;

/// A backend like `cpu` whose device knows what its primitives took.
struct timed : cpu {
  struct device : cpu::device {
    using cpu::device::device;
    work_times times{};
  };

  template <class T>
  static void multiply(device& d, plumb::product kind, std::type_identity_t<T> alpha, plumb::in<T> a, plumb::in<T> b,
                       std::type_identity_t<T> beta, plumb::view<T> c) {
    const stopwatch running(d, c.rows, c.columns, depth_of(kind, a));
    cpu::multiply<T>(d, kind, alpha, a, b, beta, c);
  }
  /// Counts as the larger product, with the operations of both: the smaller one rides on it.
  template <class T>
  static void multiply_sum(device& d, plumb::product kind, plumb::product_operands<T> one,
                           plumb::product_operands<T> more, std::type_identity_t<T> beta, plumb::view<T> c) {
    stopwatch running(d, c.rows, c.columns, depth_of(kind, one.a));
    running.add_operations(c.rows, c.columns, depth_of(kind, more.a));
    cpu::multiply_sum<T>(d, kind, one, more, beta, c);
  }
  template <class T>
  static void multiply_adapted(device& d, plumb::product kind, plumb::product_operands<T> one,
                               plumb::product_operands<T> down, std::type_identity_t<T> factor, plumb::view<T> inner,
                               plumb::product_operands<T> up, std::type_identity_t<T> beta, plumb::view<T> c) {
    stopwatch running(d, c.rows, c.columns, depth_of(kind, one.a));
    running.add_operations(c.rows, c.columns, inner.columns);
    running.add_operations(c.rows, inner.columns, depth_of(kind, one.a));
    cpu::multiply_adapted<T>(d, kind, one, down, factor, inner, up, beta, c);
  }
  template <class T>
  static void multiply_panels(device& d, std::type_identity_t<T> alpha, plumb::in<T> a, const T* panels,
                              std::type_identity_t<T> beta, plumb::view<T> c) {
    const stopwatch running(d, c.rows, c.columns, a.columns);
    cpu::multiply_panels<T>(d, alpha, a, panels, beta, c);
  }
  template <class T>
  static void multiply_packed(device& d, plumb::product kind, std::type_identity_t<T> alpha, plumb::in<T> a,
                              const plumb::packed_matrix& b, const std::uint8_t* panels, std::type_identity_t<T> beta,
                              plumb::view<T> c) {
    const stopwatch running(d, c.rows, c.columns, a.columns);
    cpu::multiply_packed<T>(d, kind, alpha, a, b, panels, beta, c);
  }
  template <class T>
  static void make_packed_panels(device& d, const plumb::packed_matrix& m, std::uint8_t* to) {
    const stopwatch running(d, work::memory);
    cpu::make_packed_panels<T>(d, m, to);
  }
  template <class T>
  static void make_panels(device& d, plumb::in<T> weight, T* to) {
    const stopwatch running(d, work::memory);
    cpu::make_panels<T>(d, weight, to);
  }
  template <class T>
  static void multiply(device& d, plumb::in<T> a, plumb::in<T> b, plumb::view<T> out) {
    const stopwatch running(d, work::elementwise);
    cpu::multiply<T>(d, a, b, out);
  }
  template <class T, class... A>
  static void row_sums(device& d, A&&... a) {
    const stopwatch running(d, work::head_rows);
    cpu::row_sums<T>(d, std::forward<A>(a)...);
  }
  template <class T, class... A>
  static void row_sum_gradients(device& d, A&&... a) {
    const stopwatch running(d, work::head_rows);
    cpu::row_sum_gradients<T>(d, std::forward<A>(a)...);
  }
  template <class T, class... A>
  static double sum_of_squares(device& d, A&&... a) {
    const stopwatch running(d, work::optimiser);
    return cpu::sum_of_squares<T>(d, std::forward<A>(a)...);
  }
  static void adamw(device& d, auto&&... a) {
    measure(d, work::optimiser, [&] { cpu::adamw(d, a...); });
  }
  /// Two products a head forward, scores and sums of values; five backward: scores again, and the slopes of both sides of
  /// both.
  static void attention(device& d, const plumb::attention_plan& plan, const plumb::attention_options& o, auto&&... a) {
    stopwatch running(d, work::attention);
    running.add_operations(2 * o.heads, o.head_width, seen_pairs(plan, o));
    cpu::attention(d, plan, o, a...);
  }
  static void attention_backward(device& d, const plumb::attention_plan& plan, const plumb::attention_options& o,
                                 auto&&... a) {
    stopwatch running(d, work::attention);
    running.add_operations(5 * o.heads, o.head_width, seen_pairs(plan, o));
    cpu::attention_backward(d, plan, o, a...);
  }
  static void rms_norm(device& d, auto&&... a) {
    measure(d, work::norms, [&] { cpu::rms_norm(d, a...); });
  }
  static void rms_norm_backward(device& d, auto&&... a) {
    measure(d, work::norms, [&] { cpu::rms_norm_backward(d, a...); });
  }
  static void layer_norm(device& d, auto&&... a) {
    measure(d, work::norms, [&] { cpu::layer_norm(d, a...); });
  }
  static void layer_norm_backward(device& d, auto&&... a) {
    measure(d, work::norms, [&] { cpu::layer_norm_backward(d, a...); });
  }
  static void number_function(device& d, auto&&... a) {
    measure(d, work::elementwise, [&] { cpu::number_function(d, a...); });
  }
  static void number_function_backward(device& d, auto&&... a) {
    measure(d, work::elementwise, [&] { cpu::number_function_backward(d, a...); });
  }
  static void add_scaled(device& d, auto&&... a) {
    measure(d, work::elementwise, [&] { cpu::add_scaled(d, a...); });
  }
  static void add(device& d, auto&&... a) {
    measure(d, work::elementwise, [&] { cpu::add(d, a...); });
  }
  static void multiply_add(device& d, auto&&... a) {
    measure(d, work::elementwise, [&] { cpu::multiply_add(d, a...); });
  }
  static void swiglu(device& d, auto&&... a) {
    measure(d, work::elementwise, [&] { cpu::swiglu(d, a...); });
  }
  static void swiglu_backward(device& d, auto&&... a) {
    measure(d, work::elementwise, [&] { cpu::swiglu_backward(d, a...); });
  }
  static void dropout(device& d, auto&&... a) {
    measure(d, work::elementwise, [&] { cpu::dropout(d, a...); });
  }
  static void add_row(device& d, auto&&... a) {
    measure(d, work::elementwise, [&] { cpu::add_row(d, a...); });
  }
  static void sum_rows(device& d, auto&&... a) {
    measure(d, work::elementwise, [&] { cpu::sum_rows(d, a...); });
  }
  static void rotate(device& d, auto&&... a) {
    measure(d, work::elementwise, [&] { cpu::rotate(d, a...); });
  }
  static void for_each(device& d, auto&&... a) {
    measure(d, work::elementwise, [&] { cpu::for_each(d, a...); });
  }
  static void add_scaled_rows(device& d, auto&&... a) {
    measure(d, work::head_rows, [&] { cpu::add_scaled_rows(d, a...); });
  }
  static void row_statistics(device& d, auto&&... a) {
    measure(d, work::head_rows, [&] { cpu::row_statistics(d, a...); });
  }
  static void row_gradients(device& d, auto&&... a) {
    measure(d, work::head_rows, [&] { cpu::row_gradients(d, a...); });
  }
  static void gather_rows(device& d, auto&&... a) {
    measure(d, work::embedding, [&] { cpu::gather_rows(d, a...); });
  }
  static void scatter_add_rows(device& d, auto&&... a) {
    measure(d, work::embedding, [&] { cpu::scatter_add_rows(d, a...); });
  }
  static void upload(device& d, auto&&... a) {
    measure(d, work::memory, [&] { cpu::upload(d, a...); });
  }
  static void download(device& d, auto&&... a) {
    measure(d, work::memory, [&] { cpu::download(d, a...); });
  }
  static void copy(device& d, auto&&... a) {
    measure(d, work::memory, [&] { cpu::copy(d, a...); });
  }
  static void fill(device& d, auto&&... a) {
    measure(d, work::memory, [&] { cpu::fill(d, a...); });
  }

 private:
  template <class T>
  static index_t depth_of(plumb::product kind, plumb::view<const T> a) {
    return kind == plumb::product::tn ? a.rows : a.columns;
  }

  /// Pairs of a query and a key that it sees.
  static index_t seen_pairs(const plumb::attention_plan& plan, const plumb::attention_options& o) {
    index_t pairs = 0;
    for (index_t i = 0; i < plan.segment_count; ++i) {
      const plumb::query_segment& s = plan.segments[i];
      for (index_t p = s.first_position; p < s.first_position + s.length; ++p)
        pairs += plumb::last_seen(o, s, p) - plumb::first_seen(o, p) + 1;
    }
    return pairs;
  }

  using clock = std::chrono::steady_clock;

  class stopwatch {
   public:
    stopwatch(device& d, work which) : time_(d.times[static_cast<std::size_t>(which)]) { ++time_.calls; }
    /// Of a product.
    stopwatch(device& d, index_t rows, index_t columns, index_t depth)
        : stopwatch(d, std::min({rows, columns, depth}) <= 64    ? work::adapter
                       : std::max({rows, columns, depth}) > 8000 ? work::head
                                                                 : work::maps) {
      add_operations(rows, columns, depth);
    }
    void add_operations(index_t rows, index_t columns, index_t depth) {
      time_.operations += 2 * static_cast<double>(rows) * static_cast<double>(columns) * static_cast<double>(depth);
    }
    stopwatch(const stopwatch&) = delete;
    stopwatch& operator=(const stopwatch&) = delete;
    ~stopwatch() { time_.seconds += std::chrono::duration<double>(clock::now() - start_).count(); }

   private:
    work_time& time_;
    clock::time_point start_ = clock::now();
  };

  template <class F>
  static void measure(device& d, work which, F f) {
    const stopwatch running(d, which);
    f();
  }
};

static_assert(plumb::backend<timed>);

}  // namespace bench

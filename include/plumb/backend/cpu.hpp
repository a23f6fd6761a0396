// SPDX-License-Identifier: BSL-1.0
// The cpu backend: the primitives of reference.hpp on threads and vector registers.
//
// Two laws hold for every primitive, and tests/test_backend.cpp asserts them bit by bit. The number of threads changes
// nothing: what a task does is fixed, and sums have a fixed shape. And the row of a result changes with nothing but its
// own operands: not with the other rows, their number, its place among them or its address. See docs/backends.md.
#pragma once

#include <plumb/config.hpp>

#include <algorithm>
#include <cstring>
#include <type_traits>

#include <plumb/backend/cpu_device.hpp>
#include <plumb/backend/cpu_kernels.hpp>
#include <plumb/backend/cpu_row_sums.hpp>
#include <plumb/backend/plan.hpp>
#include <plumb/core/error.hpp>
#include <plumb/core/view.hpp>

namespace plumb::inline v0 {

/// What each primitive means stands beside its plain loop in `reference`.
struct cpu {
  using device = cpu_device;

  static constexpr bool host_memory = true;

  // --- memory -------------------------------------------------------------------------------------------------------

  static void* allocate(device&, std::size_t bytes) { return detail::cpu_allocate(bytes); }
  static void release(device&, void* memory, std::size_t bytes) noexcept { detail::cpu_release(memory, bytes); }
  template <class T>
  static void upload(device& d, const T* host, T* to, index_t count) {
    d.run_pieces(count, copy_grain, [&](index_t first, index_t last) {
      std::memcpy(to + first, host + first, sizeof(T) * static_cast<std::size_t>(last - first));
    });
  }
  template <class T>
  static void download(device& d, const T* from, T* host, index_t count) {
    upload(d, from, host, count);
  }
  template <class T>
  static void copy(device& d, in<T> from, view<T> to) {
    upload(d, from.data, to.data, from.size());
  }
  template <class T>
  static void fill(device& d, view<T> x, T value) {
    d.run_pieces(x.size(), copy_grain,
                 [&](index_t first, index_t last) { std::fill(x.data + first, x.data + last, value); });
  }
  template <class F>
  static void for_each(device& d, index_t count, F f) {
    const index_t grain = std::max<index_t>(1, count / (8 * static_cast<index_t>(d.threads())));
    d.run_pieces(count, grain, [&](index_t first, index_t last) {
      for (index_t i = first; i < last; ++i) f(i);
    });
  }

  // --- numbers one by one -------------------------------------------------------------------------------------------

  template <class T>
  static void add_scaled(device& d, std::type_identity_t<T> factor, in<T> x, view<T> y) {
    detail::cpu_pointwise<detail::pointwise::add_scaled, T>(d, factor, x, nullptr, y);
  }
  template <class T>
  static void add(device& d, in<T> a, in<T> b, view<T> out) {
    detail::cpu_pointwise<detail::pointwise::add, T>(d, T(0), a, b.data, out);
  }
  template <class T>
  static void multiply(device& d, in<T> a, in<T> b, view<T> out) {
    detail::cpu_pointwise<detail::pointwise::multiply, T>(d, T(0), a, b.data, out);
  }
  template <class T>
  static void multiply_add(device& d, in<T> a, in<T> b, view<T> out) {
    detail::cpu_pointwise<detail::pointwise::multiply_add, T>(d, T(0), a, b.data, out);
  }
  template <class T>
  static void swiglu(device& d, in<T> gate, in<T> up, view<T> out) {
    detail::cpu_swiglu<T>(d, gate, up, out);
  }
  template <class T>
  static void swiglu_backward(device& d, in<T> gate, in<T> up, in<T> slope, bool accumulate, view<T> d_gate,
                              view<T> d_up) {
    detail::cpu_swiglu_backward<T>(d, gate, up, slope, accumulate, d_gate, d_up);
  }
  // Where these are: see `number_functions` and `layer_norms` in backend/concept.hpp.
  static void number_function(device& d, number_function_kind f, float parameter, in<float> x, view<float> out) {
    detail::cpu_number_function<float>(d, f, parameter, x, out);
  }
  static void number_function_backward(device& d, number_function_kind f, float parameter, in<float> x, in<float> slope,
                                       bool accumulate, view<float> dx) {
    detail::cpu_number_function_backward<float>(d, f, parameter, x, slope, accumulate, dx);
  }
  template <class T>
  static void layer_norm(device& d, in<T> x, in<T> weight, double epsilon, view<T> y, T* mean, T* inverse) {
    detail::cpu_layer_norm<T>(d, x, weight, epsilon, y, mean, inverse);
  }
  template <class T>
  static void layer_norm_backward(device& d, in<T> x, in<T> weight, const T* mean, const T* inverse, in<T> dy,
                                  view<T> dx, view<T> dw) {
    detail::cpu_layer_norm_backward<T>(d, x, weight, mean, inverse, dy, dx, dw);
  }
  template <class T>
  static void dropout(device& d, in<T> x, std::uint64_t key, double rate, bool accumulate, view<T> out) {
    detail::cpu_dropout<T>(d, x, key, rate, accumulate, out);
  }

  // --- rows ---------------------------------------------------------------------------------------------------------

  template <class T>
  static void gather_rows(device& d, in<T> table, const std::int32_t* rows, view<T> out) {
    detail::cpu_gather_rows<T>(d, table, rows, out);
  }
  template <class T>
  static void scatter_add_rows(device& d, in<T> x, const std::int32_t* rows, view<T> table) {
    detail::cpu_scatter_add_rows<T>(d, x, rows, table);
  }
  template <class T>
  static void add_row(device& d, in<T> x, in<T> bias, view<T> out) {
    detail::cpu_add_row<T>(d, x, bias.data, out);
  }
  template <class T>
  static void sum_rows(device& d, in<T> x, view<T> out) {
    detail::cpu_sum_rows<T>(d, x, out);
  }
  template <class T>
  static void rms_norm(device& d, in<T> x, in<T> weight, double epsilon, view<T> y, T* inverse) {
    detail::cpu_rms_norm<T>(d, x, weight, epsilon, y, inverse);
  }
  template <class T>
  static void rms_norm_backward(device& d, in<T> x, in<T> weight, const T* inverse, in<T> dy, view<T> dx, view<T> dw) {
    detail::cpu_rms_norm_backward<T>(d, x, weight, inverse, dy, dx, dw);
  }
  template <class T>
  static void rotate(device& d, in<T> x, const std::int32_t* positions, in<T> cosine, in<T> sine, index_t head_width,
                     rotary_layout layout, int direction, bool accumulate, view<T> out) {
    detail::cpu_rotate<T>(d, x, positions, cosine, sine, head_width, layout, direction, accumulate, out);
  }
  template <class T>
  static void add_scaled_rows(device& d, const T* factor, in<T> x, view<T> out) {
    detail::cpu_add_scaled_rows<T>(d, factor, x, out);
  }

  // --- products and attention ---------------------------------------------------------------------------------------

  template <class T>
  static void multiply(device& d, product kind, std::type_identity_t<T> alpha, in<T> a, in<T> b,
                       std::type_identity_t<T> beta, view<T> c) {
    detail::cpu_multiply<T>(d, kind, alpha, a, b, beta, c);
  }
  /// The same with B in fewer bits (A Bᵀ or A B), which becomes floats while it is packed: never all of it at a time.
  template <class T>
  static void multiply_packed(device& d, product kind, std::type_identity_t<T> alpha, in<T> a, const packed_matrix& b,
                              const std::uint8_t* panels, std::type_identity_t<T> beta, view<T> c) {
    detail::cpu_multiply_packed<T>(d, kind, alpha, a, b, panels, beta, c);
  }
  template <class T>
  static index_t packed_panel_size(const device& d, const packed_matrix& m) {
    return detail::cpu_packed_panel_size<T>(d, m);
  }
  template <class T>
  static void make_packed_panels(device& d, const packed_matrix& m, std::uint8_t* to) {
    detail::cpu_make_packed_panels<T>(d, m, to);
  }
  /// C = β C + op(A, B) + op(A', B') in one trip through C; each number is one sum, in the order of k.
  template <class T>
  static void multiply_sum(device& d, product kind, product_operands<T> one, product_operands<T> more,
                           std::type_identity_t<T> beta, view<T> c) {
    detail::cpu_multiply_sum<T>(d, kind, one, more, beta, c);
  }
  /// inner = factor · op(A, D) and C = β C + op(A, B) + op(inner, U), where `down` is {A, D} and `up` {inner, U}: a map and
  /// its low-rank side. In bfloat16, A is packed once for both.
  template <class T>
  static void multiply_adapted(device& d, product kind, product_operands<T> one, product_operands<T> down,
                               std::type_identity_t<T> factor, view<T> inner, product_operands<T> up,
                               std::type_identity_t<T> beta, view<T> c) {
    detail::cpu_multiply_adapted<T>(d, kind, one, down, factor, inner, up, beta, c);
  }
  // Weights in the order of products: see `panel_products` in backend/concept.hpp.
  template <class T>
  static index_t panel_size(const device& d, shape extent) {
    return detail::cpu_panel_size<T>(d, extent);
  }
  template <class T>
  static void make_panels(device& d, in<T> weight, T* to) {
    detail::cpu_make_panels<T>(d, weight, to);
  }
  template <class T>
  static void multiply_panels(device& d, std::type_identity_t<T> alpha, in<T> a, const T* panels,
                              std::type_identity_t<T> beta, view<T> c) {
    detail::cpu_multiply_panels<T>(d, alpha, a, panels, beta, c);
  }
  template <class T>
  static void attention(device& d, const attention_plan& plan, const attention_options& o, in<T> q, in<T> k, in<T> v,
                        view<T> out, view<T> log_sum) {
    detail::cpu_attention<T>(d, plan, o, q, k, v, out, log_sum);
  }
  [[nodiscard]] static bool rounds_keys(const device& d) { return detail::cpu_rounds_keys<float>(d); }
  static void round_rows(device& d, in<float> x, const std::int32_t* rows, view<std::uint16_t> to) {
    detail::cpu_round_rows<float>(d, x, rows, to);
  }
  static void attention_to_rounded(device& d, const attention_plan& plan, const attention_options& o, in<float> q,
                                   in<std::uint16_t> k, in<std::uint16_t> v, view<float> out, view<float> log_sum) {
    detail::cpu_attention_to_rounded<float>(d, plan, o, q, k, v, out, log_sum);
  }
  template <class T>
  static void attention_backward(device& d, const attention_plan& plan, const attention_options& o, in<T> q, in<T> k,
                                 in<T> v, in<T> out, in<T> log_sum, in<T> slope, view<T> dq, view<T> dk, view<T> dv) {
    detail::cpu_attention_backward<T>(d, plan, o, q, k, v, out, log_sum, slope, dq, dk, dv);
  }

  // --- the head's rows and the optimiser ----------------------------------------------------------------------------

  template <class T>
  static void row_statistics(device& d, in<T> z, const std::int32_t* targets, row_outputs<T> out) {
    detail::cpu_row_statistics<T>(d, z, targets, out);
  }
  template <class T>
  static void row_gradients(device& d, view<T> z, const std::int32_t* targets, const T* log_partition, const T* entropy,
                            const T* slope, const T* entropy_slope) {
    detail::cpu_row_gradients<T>(d, z, targets, log_partition, entropy, slope, entropy_slope);
  }
  template <class T, class Phi>
  static void row_sums(device& d, in<T> z, in<T> other, double sharpness, const Phi& phi,
                       std::type_identity_t<T>* out) {
    detail::cpu_row_sums<T>(d, z, other, sharpness, phi, nullptr, out, {});
  }
  template <class T, class Phi>
  static void row_sum_gradients(device& d, in<T> z, in<T> other, double sharpness, const Phi& phi,
                                const std::type_identity_t<T>* slope, view<T> dz) {
    detail::cpu_row_sums<T>(d, z, other, sharpness, phi, slope, nullptr, dz);
  }
  template <class T>
  static void adamw(device& d, const adamw_step& step, view<T> gradient, view<T> m, view<T> v, view<T> p) {
    detail::cpu_adamw<T>(d, step, gradient, m, v, p);
  }
  template <class T>
  static double sum_of_squares(device& d, in<T> x) {
    return detail::cpu_sum_of_squares<T>(d, x);
  }

 private:
  static constexpr index_t copy_grain = index_t{1} << 16;
};

}  // namespace plumb::inline v0

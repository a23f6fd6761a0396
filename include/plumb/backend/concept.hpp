// SPDX-License-Identifier: BSL-1.0
// What a backend must offer: the whole list of primitives, each explained beside its plain loop in reference.hpp.
#pragma once

#include <concepts>
#include <cstddef>
#include <cstdint>

#include <plumb/backend/plan.hpp>
#include <plumb/core/packed_matrix.hpp>
#include <plumb/core/view.hpp>

namespace plumb::inline v0 {

namespace detail {

/// The one functor the concept needs to ask whether `for_each` takes functors.
struct touch_nothing {
  constexpr void operator()(index_t) const {}
};

/// The one φ the concept needs to ask whether `row_sums` takes functions of log-probabilities.
struct same_number {
  static constexpr bool compares = false;
  template <class Real>
  constexpr Real operator()(const Real& logp, double) const {
    return logp;
  }
};

template <class B, class T>
concept memory_primitives = requires(typename B::device& d, void* memory, std::size_t bytes, T* data, const T* source,
                                     view<const T> from, view<T> to, index_t n) {
  { B::host_memory } -> std::convertible_to<bool>;
  { B::allocate(d, bytes) } -> std::same_as<void*>;
  { B::release(d, memory, bytes) } noexcept;
  B::upload(d, source, data, n);
  B::download(d, source, data, n);
  B::copy(d, from, to);
  B::fill(d, to, T{});
  B::for_each(d, n, touch_nothing{});
};

template <class B, class T>
concept elementwise_primitives = requires(typename B::device& d, view<const T> a, view<T> out, std::uint64_t key) {
  B::add_scaled(d, T{}, a, out);
  B::add(d, a, a, out);
  B::multiply(d, a, a, out);
  B::multiply_add(d, a, a, out);
  B::swiglu(d, a, a, out);
  B::swiglu_backward(d, a, a, a, true, out, out);
  B::dropout(d, a, key, 0.5, true, out);
};

template <class B, class T>
concept row_primitives =
    requires(typename B::device& d, view<const T> a, view<T> out, const std::int32_t* rows, T* vector, const T* read) {
      B::gather_rows(d, a, rows, out);
      B::scatter_add_rows(d, a, rows, out);
      B::add_row(d, a, a, out);
      B::sum_rows(d, a, out);
      B::rms_norm(d, a, a, 1e-5, out, vector);
      B::rms_norm_backward(d, a, a, read, a, out, out);
      B::rotate(d, a, rows, a, a, index_t{2}, rotary_layout::half, 1, false, out);
      B::add_scaled_rows(d, read, a, out);
    };

template <class B, class T>
concept heavy_primitives = requires(typename B::device& d, view<const T> a, view<T> out, const attention_plan& plan,
                                    const attention_options& o, const std::int32_t* targets, row_outputs<T> statistics,
                                    const T* read, T* vector, const adamw_step& step) {
  B::multiply(d, product::nt, T{1}, a, a, T{0}, out);
  B::attention(d, plan, o, a, a, a, out, out);
  B::attention_backward(d, plan, o, a, a, a, a, a, a, out, out, out);
  B::row_statistics(d, a, targets, statistics);
  B::row_gradients(d, out, targets, read, read, read, read);
  B::template row_sums<T>(d, a, a, 1.0, same_number{}, vector);
  B::template row_sum_gradients<T>(d, a, a, 1.0, same_number{}, read, out);
  B::adamw(d, step, out, out, out, out);
  { B::template sum_of_squares<T>(d, a) } -> std::same_as<double>;
};

}  // namespace detail

/// A tag type whose static members are the primitives, for float and for double (double serves `gradcheck`).
/// `B::device` is where the work runs (threads, a stream); it is created by its owner, never global.
template <class B>
concept backend =
    std::default_initializable<typename B::device> && detail::memory_primitives<B, float> &&
    detail::memory_primitives<B, std::int32_t> && detail::elementwise_primitives<B, float> &&
    detail::elementwise_primitives<B, double> && detail::row_primitives<B, float> &&
    detail::row_primitives<B, double> && detail::heavy_primitives<B, float> && detail::heavy_primitives<B, double>;

// Primitives that a backend may offer beyond these.

/// Does the backend have kernels of its own for functions of single numbers? `number_function(d, f, parameter, x, out)` is out =
/// f(x), `number_function_backward(d, f, parameter, x, slope, accumulate, dx)` dx (+)= slope · f'(x). Elsewhere the functors of
/// autograd/activations.hpp run through for_each.
template <class B, class T>
concept number_functions = requires(typename B::device& d, view<const T> a, view<T> out) {
  B::number_function(d, number_function_kind::gelu, T(1), a, out);
  B::number_function_backward(d, number_function_kind::gelu, T(1), a, a, true, out);
};

/// Has it one for layer norms? `layer_norm(d, x, weight, epsilon, y, mean, inverse)` and `layer_norm_backward(d, x, weight, mean,
/// inverse, dy, dx, dw)`, which adds to dx and dw where they are there: see autograd/layer_normalisation.hpp.
template <class B, class T>
concept layer_norms = requires(typename B::device& d, view<const T> a, view<T> out, const T* read, T* vector) {
  B::layer_norm(d, a, a, 1e-5, out, vector, vector);
  B::layer_norm_backward(d, a, a, read, read, a, out, out);
};

/// Does the backend's product gain from a weight whose numbers lie in its own order? Then it has three more primitives:
/// `panel_size(d, shape)` numbers hold a weight [out, in], `make_panels(d, weight, to)` writes them, and
/// `multiply_panels(d, alpha, a, panels, beta, c)` is multiply(nt, …) with the weight read from there, to the same bits.
template <class B, class T>
concept panel_products =
    requires(typename B::device& d, shape extent, view<const T> a, const T* panels, T* to, view<T> c) {
      { B::template panel_size<T>(d, extent) } -> std::same_as<index_t>;
      B::make_panels(d, a, to);
      B::multiply_panels(d, T(1), a, panels, T(0), c);
    };

/// Does the backend's attention take keys and values in bfloat16? Where `rounds_keys(d)`, device d rounds them in any case:
/// `round_rows(d, x, rows, to)` is to[rows[i], :] = x[i, :], rounded (null: rows 0, 1, …), and `attention_to_rounded(d, plan,
/// options, q, k, v, out, log_sum)` attention to such rows, with the bits of attention to x, from half the memory.
template <class B, class T>
concept rounded_keys =
    std::same_as<T, float> && requires(typename B::device& d, view<const T> a, view<T> out, const attention_plan& plan,
                                       const attention_options& o, const std::int32_t* rows,
                                       view<const std::uint16_t> keys, view<std::uint16_t> to) {
      { B::rounds_keys(d) } -> std::same_as<bool>;
      B::round_rows(d, a, rows, to);
      B::attention_to_rounded(d, plan, o, a, keys, keys, out, out);
    };

/// Does the backend add two products in one trip? `multiply_sum(d, kind, {a, b, panels}, {a, b, panels}, beta, c)`, and
/// `multiply_adapted(d, kind, one, {a, down}, factor, inner, {inner, up}, beta, c)`, which makes the second one's left operand
/// from the first one's, inner = factor · op(a, down).
template <class B, class T>
concept summed_products = requires(typename B::device& d, view<const T> a, view<T> c) {
  B::template multiply_sum<T>(d, product::nt, {a, a, nullptr}, {a, a, nullptr}, T(0), c);
  B::template multiply_adapted<T>(d, product::nt, {a, a, nullptr}, {a, a, nullptr}, T(1), c, {c, a, nullptr}, T(0), c);
};

/// Does the backend multiply with packed weights as they are? `multiply_packed(d, kind, alpha, a, b, panels, beta, c)` is
/// multiply(d, kind, …) for kind nt or nn with the numbers of b, to the same bits. `panels` is null, or for nt what
/// `make_packed_panels(d, b, to)` wrote: the codes in the order of products, `packed_panel_size(d, b)` bytes (0: it has no
/// kernel for this format). Where a backend lacks these three, a weight becomes plain numbers in the step's memory for the
/// time of one product: right everywhere, and no more than one weight at a time.
template <class B, class T>
concept packed_products = requires(typename B::device& d, view<const T> a, const packed_matrix& b, std::uint8_t* to,
                                   const std::uint8_t* panels, view<T> c) {
  { B::template packed_panel_size<T>(d, b) } -> std::same_as<index_t>;
  B::template make_packed_panels<T>(d, b, to);
  B::multiply_packed(d, product::nt, T(1), a, b, panels, T(0), c);
};

}  // namespace plumb::inline v0

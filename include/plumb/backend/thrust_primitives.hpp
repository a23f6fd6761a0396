// SPDX-License-Identifier: BSL-1.0
// The primitives of a backend in terms of four abilities: to run a function for each number, to run a kernel's blocks, to
// sort rows, and to lend scratch memory. thrust_host and cuda bring the abilities, and share everything else.
#pragma once

#include <cstdint>
#include <type_traits>

#include <plumb/backend/plan.hpp>
#include <plumb/backend/thrust_attention.hpp>
#include <plumb/backend/thrust_attention_backward.hpp>
#include <plumb/backend/thrust_block.hpp>
#include <plumb/backend/thrust_elementwise.hpp>
#include <plumb/backend/thrust_products.hpp>
#include <plumb/backend/thrust_row_sums.hpp>
#include <plumb/backend/thrust_rows.hpp>
#include <plumb/core/error.hpp>
#include <plumb/core/view.hpp>

namespace plumb::inline v0::detail::blocks {

/// The base of a backend `Self`, which has, besides memory functions,
///
///   for_each(device, count, f)             f(i) for i in [0, count)
///   run_blocks(device, count, kernel)      blocks 0 … count − 1 of a kernel as thrust_block.hpp describes it
///   scratch<T>(device, count) → T*         memory that is valid until the next primitive
///   sort_rows(device, rows, count)         → sorted numbers of pack_destination, in scratch memory
///
/// Every primitive that is not listed means what reference.hpp says.
template <class Self>
struct thrust_primitives {
  template <class T, class Device>
  static void fill(Device& d, view<T> x, std::type_identity_t<T> value) {
    Self::for_each(d, x.size(), fill_each<T>{x.data, value});
  }

  // --- numbers one by one -------------------------------------------------------------------------------------------

  template <class T, class Device>
  static void add_scaled(Device& d, std::type_identity_t<T> factor, in<T> x, view<T> y) {
    Self::for_each(d, x.size(), add_scaled_each<T>{factor, x.data, y.data});
  }
  template <class T, class Device>
  static void add(Device& d, in<T> a, in<T> b, view<T> out) {
    Self::for_each(d, a.size(), add_each<T>{a.data, b.data, out.data});
  }
  template <class T, class Device>
  static void multiply(Device& d, in<T> a, in<T> b, view<T> out) {
    Self::for_each(d, a.size(), multiply_each<T>{a.data, b.data, out.data});
  }
  template <class T, class Device>
  static void multiply_add(Device& d, in<T> a, in<T> b, view<T> out) {
    Self::for_each(d, a.size(), multiply_add_each<T>{a.data, b.data, out.data});
  }
  template <class T, class Device>
  static void swiglu(Device& d, in<T> gate, in<T> up, view<T> out) {
    Self::for_each(d, gate.size(), swiglu_each<T>{gate.data, up.data, out.data});
  }
  template <class T, class Device>
  static void swiglu_backward(Device& d, in<T> gate, in<T> up, in<T> from, bool accumulate, view<T> d_gate,
                              view<T> d_up) {
    Self::for_each(d, gate.size(),
                   swiglu_backward_each<T>{gate.data, up.data, from.data, accumulate, d_gate.data, d_up.data});
  }
  template <class T, class Device>
  static void dropout(Device& d, in<T> x, std::uint64_t key, double rate, bool accumulate, view<T> out) {
    Self::for_each(d, ceil_div(x.size(), 4),
                   dropout_each<T>{x.data, out.data, x.size(), static_cast<T>(1 / (1 - rate)), key,
                                   dropout_threshold(rate), accumulate});
  }

  // --- rows ---------------------------------------------------------------------------------------------------------

  template <class T, class Device>
  static void gather_rows(Device& d, in<T> table, const std::int32_t* rows, view<T> out) {
    Self::for_each(d, out.size(), gather_each<T>{table.data, rows, out.data, out.columns});
  }
  template <class T, class Device>
  static void scatter_add_rows(Device& d, in<T> x, const std::int32_t* rows, view<T> table) {
    if (x.empty()) return;
    const std::uint64_t* const sorted = Self::sort_rows(d, rows, x.rows);
    Self::for_each(d, x.size(), scatter_add_each<T>{x.data, sorted, table.data, x.rows, x.columns});
  }
  template <class T, class Device>
  static void add_row(Device& d, in<T> x, in<T> bias, view<T> out) {
    Self::for_each(d, x.size(), add_row_each<T>{x.data, bias.data, out.data, x.columns});
  }
  template <class T, class Device>
  static void sum_rows(Device& d, in<T> x, view<T> out) {
    sum_chunks<T>(d, x, nullptr, nullptr, out);
  }
  template <class T, class Device>
  static void rms_norm(Device& d, in<T> x, in<T> weight, double epsilon, view<T> y, std::type_identity_t<T>* inverse) {
    Self::run_blocks(d, x.rows, rms_norm_row<T>{x, weight.data, static_cast<T>(epsilon), y, inverse});
  }
  template <class T, class Device>
  static void rms_norm_backward(Device& d, in<T> x, in<T> weight, const std::type_identity_t<T>* inverse, in<T> dy,
                                view<T> dx, view<T> dw) {
    if (dx.data) Self::run_blocks(d, x.rows, rms_norm_backward_row<T>{x, weight.data, inverse, dy, dx});
    if (dw.data) sum_chunks<T>(d, dy, x.data, inverse, dw);
  }
  template <class T, class Device>
  static void rotate(Device& d, in<T> x, const std::int32_t* positions, in<T> cosine, in<T> sine, index_t head_width,
                     rotary_layout layout, int direction, bool accumulate, view<T> out) {
    if (head_width < 2 || x.empty()) return;
    Self::for_each(d, x.rows * (x.columns / head_width) * (head_width / 2),
                   rotate_each<T>{x.data, positions, cosine.data, sine.data, x.columns, head_width, cosine.columns,
                                  layout, static_cast<T>(direction), accumulate, out.data});
  }

  // --- products -----------------------------------------------------------------------------------------------------

  /// Own kernels, in tiles that fit the number of rows; all tiles give the same bits.
  template <class T, class Device>
  static void multiply(Device& d, product kind, std::type_identity_t<T> alpha, in<T> a, in<T> b,
                       std::type_identity_t<T> beta, view<T> c) {
    if (c.empty()) return;
    const index_t depth = kind == product::tn ? a.rows : a.columns;
    const auto run = [&]<class Tile>(std::type_identity<Tile>) {
      const Tile tile{a.data, b.data, c.data, c.rows, c.columns, depth, alpha, beta};
      Self::run_blocks(d, tile.tiles(), tile);
    };
    switch (kind) {
      case product::nt:
        if (c.rows <= skinny_product<T, product::nt>::rows)
          return run(std::type_identity<skinny_product<T, product::nt>>{});
        if (c.rows >= 1024 && c.columns >= 1024) return run(std::type_identity<large_product<T, product::nt>>{});
        return run(std::type_identity<medium_product<T, product::nt>>{});
      case product::nn: return run(std::type_identity<medium_product<T, product::nn>>{});
      case product::tn: return run(std::type_identity<medium_product<T, product::tn>>{});
    }
  }

  // --- attention ----------------------------------------------------------------------------------------------------

  template <class T, class Device>
  static void attention(Device& d, const attention_plan& plan, const attention_options& o, in<T> q, in<T> k, in<T> v,
                        view<T> out, view<T> log_sum) {
    if (q.empty() || plan.segment_count == 0) return;
    for_width(o, [&]<int Width>(std::integral_constant<int, Width>) {
      using kernel = attention_tile<T, Width>;
      const kernel tile{plan, o, q, k, v, out, log_sum, queries_per_block(plan, q.rows, kernel::rows)};
      Self::run_blocks(d, tile.tiles(), tile);
    });
  }

  template <class T, class Device>
  static void attention_backward(Device& d, const attention_plan& plan, const attention_options& o, in<T> q, in<T> k,
                                 in<T> v, in<T> out, in<T> log_sum, in<T> from, view<T> dq, view<T> dk, view<T> dv) {
    if (q.empty() || plan.segment_count == 0) return;
    const index_t sums = q.rows * o.heads;
    T* const through = Self::template scratch<T>(d, sums + ceil_div(k.rows * index_t{sizeof(std::int32_t)}, sizeof(T)));
    auto* const positions = reinterpret_cast<std::int32_t*>(through + sums);
    Self::for_each(d, sums, attention_through<T>{out.data, from.data, o.head_width, through});
    Self::for_each(d, k.rows, fill_each<std::int32_t>{positions, -1});
    Self::run_blocks(d, plan.segment_count, find_key_positions{plan, positions});
    const attention_back<T> back{plan, o, q, k, v, log_sum, from, through, positions};
    for_width(o, [&]<int Width>(std::integral_constant<int, Width>) {
      using query_kernel = attention_query_gradient<T, Width>;
      const query_kernel queries{back, dq, queries_per_block(plan, q.rows, query_kernel::rows)};
      Self::run_blocks(d, queries.tiles(), queries);
      const attention_key_gradient<T, Width> keys{back, dk, dv};
      Self::run_blocks(d, keys.tiles(), keys);
    });
  }

  // --- the head's rows ----------------------------------------------------------------------------------------------

  template <class T, class Device>
  static void row_statistics(Device& d, in<T> z, const std::int32_t* targets, row_outputs<T> out) {
    Self::run_blocks(d, z.rows, row_statistics_row<T>{z, targets, out});
  }
  template <class T, class Device>
  static void row_gradients(Device& d, view<T> z, const std::int32_t* targets,
                            const std::type_identity_t<T>* log_partition, const std::type_identity_t<T>* entropy,
                            const std::type_identity_t<T>* slope, const std::type_identity_t<T>* entropy_slope) {
    Self::run_blocks(d, z.rows, row_gradients_row<T>{z, targets, log_partition, entropy, slope, entropy_slope});
  }
  template <class T, class Device, class Phi>
  static void row_sums(Device& d, in<T> z, in<T> other, double sharpness, const Phi& phi,
                       std::type_identity_t<T>* out) {
    Self::run_blocks(d, z.rows, row_sum_row<T, Phi>{z, other, sharpness, phi, nullptr, out, {}});
  }
  template <class T, class Device, class Phi>
  static void row_sum_gradients(Device& d, in<T> z, in<T> other, double sharpness, const Phi& phi,
                                const std::type_identity_t<T>* slope, view<T> dz) {
    Self::run_blocks(d, z.rows, row_sum_row<T, Phi>{z, other, sharpness, phi, slope, nullptr, dz});
  }
  template <class T, class Device>
  static void add_scaled_rows(Device& d, const std::type_identity_t<T>* factor, in<T> x, view<T> out) {
    Self::for_each(d, x.size(), add_scaled_rows_each<T>{factor, x.data, out.data, x.columns});
  }

  // --- the optimiser ------------------------------------------------------------------------------------------------

  template <class T, class Device>
  static void adamw(Device& d, const adamw_step& step, view<T> gradient, view<T> m, view<T> v, view<T> p) {
    Self::for_each(d, p.size(), adamw_each<T>(step, gradient.data, m.data, v.data, p.data));
  }
  template <class T, class Device>
  static double sum_of_squares(Device& d, in<T> x) {
    if (x.empty()) return 0;
    const index_t chunks = ceil_div(x.size(), sum_of_squares_chunk<T>::size);
    double* const partial = Self::template scratch<double>(d, chunks + 1);
    Self::run_blocks(d, chunks, sum_of_squares_chunk<T>{x.data, x.size(), partial});
    Self::run_blocks(d, 1, sum_doubles{partial, chunks, partial + chunks});
    double sum = 0;
    Self::download(d, partial + chunks, &sum, 1);
    return sum;
  }

 private:
  /// out += the sum of x's rows, or of (x ⊙ y · factor)'s.
  template <class T, class Device>
  static void sum_chunks(Device& d, in<T> x, const T* y, const T* factor, view<T> out) {
    if (x.empty()) return;
    const index_t chunks = ceil_div(x.rows, rows_per_sum);
    T* const partial = Self::template scratch<T>(d, chunks * x.columns);
    Self::for_each(d, chunks * x.columns, sum_rows_chunk<T>{x, y, factor, partial});
    Self::for_each(d, x.columns, add_chunks<T>{partial, chunks, x.columns, out.data});
  }

  /// Calls f with the narrowest compiled width that holds a head.
  template <class F>
  static void for_width(const attention_options& o, F f) {
    if (o.head_width <= 32) return f(std::integral_constant<int, 32>{});
    if (o.head_width <= 64) return f(std::integral_constant<int, 64>{});
    if (o.head_width <= 128) return f(std::integral_constant<int, 128>{});
    if (o.head_width <= 256) return f(std::integral_constant<int, 256>{});
    throw error(
        errc::unsupported, "attention",
        join("expected heads of at most 256 numbers, found ", o.head_width, "; train this model on plumb::cpu"));
  }

  /// Short segments get short blocks: queries of different paths cannot share the keys that a block loads.
  static index_t queries_per_block(const attention_plan& plan, index_t queries, index_t most) {
    const index_t mean = plan.segment_count > 0 ? queries / plan.segment_count : 1;
    return mean < 1 ? 1 : mean > most / 2 ? most : mean;
  }
};

}  // namespace plumb::inline v0::detail::blocks

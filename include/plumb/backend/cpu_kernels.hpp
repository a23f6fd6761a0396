// SPDX-License-Identifier: BSL-1.0
// What backend/cpu.hpp calls, declared only: each kernel is compiled once per program, in float and double, for all
// instruction sets (cpu_kernels_impl.hpp); they would take every file that uses the backend seconds.
#pragma once

#include <cstdint>

#include <plumb/backend/cpu_device.hpp>
#include <plumb/backend/plan.hpp>
#include <plumb/core/types.hpp>
#include <plumb/core/view.hpp>

namespace plumb::inline v0::detail {

enum class pointwise : std::uint8_t { add, multiply, multiply_add, add_scaled };

template <pointwise Kind, class T>
void cpu_pointwise(cpu_device& d, T factor, view<const T> a, const T* b, view<T> out);
template <class T>
void cpu_swiglu(cpu_device& d, view<const T> gate, view<const T> up, view<T> out);
template <class T>
void cpu_swiglu_backward(cpu_device& d, view<const T> gate, view<const T> up, view<const T> slope, bool accumulate,
                         view<T> d_gate, view<T> d_up);
/// For float alone.
template <class T>
void cpu_number_function(cpu_device& d, number_function_kind f, T parameter, view<const T> x, view<T> out);
template <class T>
void cpu_number_function_backward(cpu_device& d, number_function_kind f, T parameter, view<const T> x,
                                  view<const T> slope, bool accumulate, view<T> dx);
template <class T>
void cpu_layer_norm(cpu_device& d, view<const T> x, view<const T> weight, double epsilon, view<T> y, T* mean,
                    T* inverse);
template <class T>
void cpu_layer_norm_backward(cpu_device& d, view<const T> x, view<const T> weight, const T* mean, const T* inverse,
                             view<const T> dy, view<T> dx, view<T> dw);
template <class T>
void cpu_dropout(cpu_device& d, view<const T> x, std::uint64_t key, double rate, bool accumulate, view<T> out);
template <class T>
void cpu_adamw(cpu_device& d, const adamw_step& step, view<T> gradient, view<T> m, view<T> v, view<T> p);
template <class T>
double cpu_sum_of_squares(cpu_device& d, view<const T> x);
template <class T>
void cpu_rms_norm(cpu_device& d, view<const T> x, view<const T> weight, double epsilon, view<T> y, T* inverse);
template <class T>
void cpu_sum_rows(cpu_device& d, view<const T> x, view<T> out);
template <class T>
void cpu_rms_norm_backward(cpu_device& d, view<const T> x, view<const T> weight, const T* inverse, view<const T> dy,
                           view<T> dx, view<T> dw);
template <class T>
void cpu_rotate(cpu_device& d, view<const T> x, const std::int32_t* positions, view<const T> cosine, view<const T> sine,
                index_t head_width, rotary_layout layout, int direction, bool accumulate, view<T> out);
template <class T>
void cpu_gather_rows(cpu_device& d, view<const T> table, const std::int32_t* rows, view<T> out);
template <class T>
void cpu_scatter_add_rows(cpu_device& d, view<const T> x, const std::int32_t* rows, view<T> table);
template <class T>
void cpu_add_row(cpu_device& d, view<const T> x, const T* bias, view<T> out);
template <class T>
void cpu_add_scaled_rows(cpu_device& d, const T* factor, view<const T> x, view<T> out);
template <class T>
void cpu_row_statistics(cpu_device& d, view<const T> z, const std::int32_t* targets, row_outputs<T> out);
template <class T>
void cpu_row_gradients(cpu_device& d, view<T> z, const std::int32_t* targets, const T* log_partition, const T* entropy,
                       const T* slope, const T* entropy_slope);
template <class T>
void cpu_multiply(cpu_device& d, product kind, T alpha, view<const T> a, view<const T> b, T beta, view<T> c);
template <class T>
void cpu_multiply_packed(cpu_device& d, product kind, T alpha, view<const T> a, const packed_matrix& b,
                         const std::uint8_t* panels, T beta, view<T> c);
template <class T>
index_t cpu_packed_panel_size(const cpu_device& d, const packed_matrix& m);
template <class T>
void cpu_make_packed_panels(cpu_device& d, const packed_matrix& m, std::uint8_t* to);
template <class T>
void cpu_multiply_sum(cpu_device& d, product kind, product_operands<T> one, product_operands<T> more, T beta,
                      view<T> c);
template <class T>
void cpu_multiply_adapted(cpu_device& d, product kind, product_operands<T> one, product_operands<T> down, T factor,
                          view<T> inner, product_operands<T> up, T beta, view<T> c);
/// How many numbers `cpu_make_panels` writes for a weight of this shape.
template <class T>
index_t cpu_panel_size(const cpu_device& d, shape extent);
template <class T>
void cpu_make_panels(cpu_device& d, view<const T> weight, T* to);
template <class T>
void cpu_multiply_panels(cpu_device& d, T alpha, view<const T> a, const T* panels, T beta, view<T> c);
template <class T>
void cpu_attention(cpu_device& d, const attention_plan& plan, const attention_options& o, view<const T> q,
                   view<const T> k, view<const T> v, view<T> out, view<T> log_sum);
/// Does attention round keys and values on this device, so that they may as well be kept in bfloat16?
template <class T>
bool cpu_rounds_keys(const cpu_device& d);
template <class T>
void cpu_round_rows(cpu_device& d, view<const T> x, const std::int32_t* rows, view<std::uint16_t> to);
template <class T>
void cpu_attention_to_rounded(cpu_device& d, const attention_plan& plan, const attention_options& o, view<const T> q,
                              view<const std::uint16_t> k, view<const std::uint16_t> v, view<T> out, view<T> log_sum);
template <class T>
void cpu_attention_backward(cpu_device& d, const attention_plan& plan, const attention_options& o, view<const T> q,
                            view<const T> k, view<const T> v, view<const T> out, view<const T> log_sum,
                            view<const T> slope, view<T> dq, view<T> dk, view<T> dv);

/// What drawing a token needs to know of its logits.
struct token_weights {
  index_t best = 0;  ///< the largest, the first of equals
  bool nan = false;  ///< there is one
  double total = 0;  ///< of the weights
};
/// weights[k] = e^((z_k − largest z) / temperature), unless `weights` is null; on the calling thread, whatever the backend.
template <class T>
token_weights cpu_token_weights(index_t columns, const T* z, double temperature, double* weights);

template <class T>
double cpu_log_partition(cpu_device& d, index_t columns, const T* z, double sharpness);

}  // namespace plumb::inline v0::detail

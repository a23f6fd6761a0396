// SPDX-License-Identifier: BSL-1.0
// The kernels of backend/cpu_kernels.hpp, in float and double.
// Collected by plumb/impl.hpp, which one .cpp of a program includes.
#pragma once

#include <plumb/backend/cpu_adapted_products.hpp>
#include <plumb/backend/cpu_attention.hpp>
#include <plumb/backend/cpu_attention_backward.hpp>
#include <plumb/backend/cpu_dropout.hpp>
#include <plumb/backend/cpu_elementwise.hpp>
#include <plumb/backend/cpu_functions.hpp>
#include <plumb/backend/cpu_kernels.hpp>
#include <plumb/backend/cpu_layer_norm.hpp>
#include <plumb/backend/cpu_logits.hpp>
#include <plumb/backend/cpu_products.hpp>
#include <plumb/backend/cpu_rounded_rows.hpp>
#include <plumb/backend/cpu_rows.hpp>

namespace plumb::inline v0::detail {

template void cpu_pointwise<pointwise::add, float>(cpu_device& d, float factor, view<const float> a, const float* b,
                                                   view<float> out);
template void cpu_pointwise<pointwise::multiply, float>(cpu_device& d, float factor, view<const float> a,
                                                        const float* b, view<float> out);
template void cpu_pointwise<pointwise::multiply_add, float>(cpu_device& d, float factor, view<const float> a,
                                                            const float* b, view<float> out);
template void cpu_pointwise<pointwise::add_scaled, float>(cpu_device& d, float factor, view<const float> a,
                                                          const float* b, view<float> out);
template void cpu_swiglu<float>(cpu_device& d, view<const float> gate, view<const float> up, view<float> out);
template void cpu_swiglu_backward<float>(cpu_device& d, view<const float> gate, view<const float> up,
                                         view<const float> slope, bool accumulate, view<float> d_gate,
                                         view<float> d_up);
template void cpu_number_function<float>(cpu_device& d, number_function_kind f, float parameter, view<const float> x,
                                         view<float> out);
template void cpu_number_function_backward<float>(cpu_device& d, number_function_kind f, float parameter,
                                                  view<const float> x, view<const float> slope, bool accumulate,
                                                  view<float> dx);
template void cpu_layer_norm<float>(cpu_device& d, view<const float> x, view<const float> weight, double epsilon,
                                    view<float> y, float* mean, float* inverse);
template void cpu_layer_norm_backward<float>(cpu_device& d, view<const float> x, view<const float> weight,
                                             const float* mean, const float* inverse, view<const float> dy,
                                             view<float> dx, view<float> dw);
template void cpu_dropout<float>(cpu_device& d, view<const float> x, std::uint64_t key, double rate, bool accumulate,
                                 view<float> out);
template void cpu_adamw<float>(cpu_device& d, const adamw_step& step, view<float> gradient, view<float> m,
                               view<float> v, view<float> p);
template double cpu_sum_of_squares<float>(cpu_device& d, view<const float> x);
template void cpu_rms_norm<float>(cpu_device& d, view<const float> x, view<const float> weight, double epsilon,
                                  view<float> y, float* inverse);
template void cpu_sum_rows<float>(cpu_device& d, view<const float> x, view<float> out);
template void cpu_rms_norm_backward<float>(cpu_device& d, view<const float> x, view<const float> weight,
                                           const float* inverse, view<const float> dy, view<float> dx, view<float> dw);
template void cpu_rotate<float>(cpu_device& d, view<const float> x, const std::int32_t* positions,
                                view<const float> cosine, view<const float> sine, index_t head_width,
                                rotary_layout layout, int direction, bool accumulate, view<float> out);
template void cpu_gather_rows<float>(cpu_device& d, view<const float> table, const std::int32_t* rows, view<float> out);
template void cpu_scatter_add_rows<float>(cpu_device& d, view<const float> x, const std::int32_t* rows,
                                          view<float> table);
template void cpu_add_row<float>(cpu_device& d, view<const float> x, const float* bias, view<float> out);
template void cpu_add_scaled_rows<float>(cpu_device& d, const float* factor, view<const float> x, view<float> out);
template void cpu_row_statistics<float>(cpu_device& d, view<const float> z, const std::int32_t* targets,
                                        row_outputs<float> out);
template void cpu_row_gradients<float>(cpu_device& d, view<float> z, const std::int32_t* targets,
                                       const float* log_partition, const float* entropy, const float* slope,
                                       const float* entropy_slope);
template void cpu_multiply<float>(cpu_device& d, product kind, float alpha, view<const float> a, view<const float> b,
                                  float beta, view<float> c);
template void cpu_multiply_packed<float>(cpu_device& d, product kind, float alpha, view<const float> a,
                                         const packed_matrix& b, const std::uint8_t* panels, float beta, view<float> c);
template index_t cpu_packed_panel_size<float>(const cpu_device& d, const packed_matrix& m);
template void cpu_make_packed_panels<float>(cpu_device& d, const packed_matrix& m, std::uint8_t* to);
template void cpu_multiply_sum<float>(cpu_device& d, product kind, product_operands<float> one,
                                      product_operands<float> more, float beta, view<float> c);
template void cpu_multiply_adapted<float>(cpu_device& d, product kind, product_operands<float> one,
                                          product_operands<float> down, float factor, view<float> inner,
                                          product_operands<float> up, float beta, view<float> c);
template index_t cpu_panel_size<float>(const cpu_device& d, shape extent);
template void cpu_make_panels<float>(cpu_device& d, view<const float> weight, float* to);
template void cpu_multiply_panels<float>(cpu_device& d, float alpha, view<const float> a, const float* panels,
                                         float beta, view<float> c);
template void cpu_attention<float>(cpu_device& d, const attention_plan& plan, const attention_options& o,
                                   view<const float> q, view<const float> k, view<const float> v, view<float> out,
                                   view<float> log_sum);
template bool cpu_rounds_keys<float>(const cpu_device& d);
template void cpu_round_rows<float>(cpu_device& d, view<const float> x, const std::int32_t* rows,
                                    view<std::uint16_t> to);
template void cpu_attention_to_rounded<float>(cpu_device& d, const attention_plan& plan, const attention_options& o,
                                              view<const float> q, view<const std::uint16_t> k,
                                              view<const std::uint16_t> v, view<float> out, view<float> log_sum);
template void cpu_attention_backward<float>(cpu_device& d, const attention_plan& plan, const attention_options& o,
                                            view<const float> q, view<const float> k, view<const float> v,
                                            view<const float> out, view<const float> log_sum, view<const float> slope,
                                            view<float> dq, view<float> dk, view<float> dv);
template token_weights cpu_token_weights<float>(index_t columns, const float* z, double temperature, double* weights);
template double cpu_log_partition<float>(cpu_device& d, index_t columns, const float* z, double sharpness);

template void cpu_pointwise<pointwise::add, double>(cpu_device& d, double factor, view<const double> a, const double* b,
                                                    view<double> out);
template void cpu_pointwise<pointwise::multiply, double>(cpu_device& d, double factor, view<const double> a,
                                                         const double* b, view<double> out);
template void cpu_pointwise<pointwise::multiply_add, double>(cpu_device& d, double factor, view<const double> a,
                                                             const double* b, view<double> out);
template void cpu_pointwise<pointwise::add_scaled, double>(cpu_device& d, double factor, view<const double> a,
                                                           const double* b, view<double> out);
template void cpu_swiglu<double>(cpu_device& d, view<const double> gate, view<const double> up, view<double> out);
template void cpu_swiglu_backward<double>(cpu_device& d, view<const double> gate, view<const double> up,
                                          view<const double> slope, bool accumulate, view<double> d_gate,
                                          view<double> d_up);
template void cpu_layer_norm<double>(cpu_device& d, view<const double> x, view<const double> weight, double epsilon,
                                     view<double> y, double* mean, double* inverse);
template void cpu_layer_norm_backward<double>(cpu_device& d, view<const double> x, view<const double> weight,
                                              const double* mean, const double* inverse, view<const double> dy,
                                              view<double> dx, view<double> dw);
template void cpu_dropout<double>(cpu_device& d, view<const double> x, std::uint64_t key, double rate, bool accumulate,
                                  view<double> out);
template void cpu_adamw<double>(cpu_device& d, const adamw_step& step, view<double> gradient, view<double> m,
                                view<double> v, view<double> p);
template double cpu_sum_of_squares<double>(cpu_device& d, view<const double> x);
template void cpu_rms_norm<double>(cpu_device& d, view<const double> x, view<const double> weight, double epsilon,
                                   view<double> y, double* inverse);
template void cpu_sum_rows<double>(cpu_device& d, view<const double> x, view<double> out);
template void cpu_rms_norm_backward<double>(cpu_device& d, view<const double> x, view<const double> weight,
                                            const double* inverse, view<const double> dy, view<double> dx,
                                            view<double> dw);
template void cpu_rotate<double>(cpu_device& d, view<const double> x, const std::int32_t* positions,
                                 view<const double> cosine, view<const double> sine, index_t head_width,
                                 rotary_layout layout, int direction, bool accumulate, view<double> out);
template void cpu_gather_rows<double>(cpu_device& d, view<const double> table, const std::int32_t* rows,
                                      view<double> out);
template void cpu_scatter_add_rows<double>(cpu_device& d, view<const double> x, const std::int32_t* rows,
                                           view<double> table);
template void cpu_add_row<double>(cpu_device& d, view<const double> x, const double* bias, view<double> out);
template void cpu_add_scaled_rows<double>(cpu_device& d, const double* factor, view<const double> x, view<double> out);
template void cpu_row_statistics<double>(cpu_device& d, view<const double> z, const std::int32_t* targets,
                                         row_outputs<double> out);
template void cpu_row_gradients<double>(cpu_device& d, view<double> z, const std::int32_t* targets,
                                        const double* log_partition, const double* entropy, const double* slope,
                                        const double* entropy_slope);
template void cpu_multiply<double>(cpu_device& d, product kind, double alpha, view<const double> a,
                                   view<const double> b, double beta, view<double> c);
template void cpu_multiply_packed<double>(cpu_device& d, product kind, double alpha, view<const double> a,
                                          const packed_matrix& b, const std::uint8_t* panels, double beta,
                                          view<double> c);
template index_t cpu_packed_panel_size<double>(const cpu_device& d, const packed_matrix& m);
template void cpu_make_packed_panels<double>(cpu_device& d, const packed_matrix& m, std::uint8_t* to);
template void cpu_multiply_sum<double>(cpu_device& d, product kind, product_operands<double> one,
                                       product_operands<double> more, double beta, view<double> c);
template void cpu_multiply_adapted<double>(cpu_device& d, product kind, product_operands<double> one,
                                           product_operands<double> down, double factor, view<double> inner,
                                           product_operands<double> up, double beta, view<double> c);
template index_t cpu_panel_size<double>(const cpu_device& d, shape extent);
template void cpu_make_panels<double>(cpu_device& d, view<const double> weight, double* to);
template void cpu_multiply_panels<double>(cpu_device& d, double alpha, view<const double> a, const double* panels,
                                          double beta, view<double> c);
template void cpu_attention<double>(cpu_device& d, const attention_plan& plan, const attention_options& o,
                                    view<const double> q, view<const double> k, view<const double> v, view<double> out,
                                    view<double> log_sum);
template void cpu_attention_backward<double>(cpu_device& d, const attention_plan& plan, const attention_options& o,
                                             view<const double> q, view<const double> k, view<const double> v,
                                             view<const double> out, view<const double> log_sum,
                                             view<const double> slope, view<double> dq, view<double> dk,
                                             view<double> dv);
template token_weights cpu_token_weights<double>(index_t columns, const double* z, double temperature, double* weights);
template double cpu_log_partition<double>(cpu_device& d, index_t columns, const double* z, double sharpness);

}  // namespace plumb::inline v0::detail

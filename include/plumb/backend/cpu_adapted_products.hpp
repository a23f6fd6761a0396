// SPDX-License-Identifier: BSL-1.0
// Two products in one trip through C: a map and its low-rank side.
#pragma once

#include <plumb/backend/cpu_products.hpp>
#include <plumb/config.hpp>

namespace plumb::inline v0::detail {

template <class T>
product_term<T> term_of(product kind, const product_operands<T>& o) {
  return term_of<T>(kind, o.a, o.b, o.panels, o.packed, o.packed_panels);
}

/// The product of a pair of operands; the second pair is the product's own `more`.
template <class T>
product_job<T> sum_of(product kind, const product_operands<T>& one, const product_operands<T>& more, T beta,
                      view<T> c) {
  auto job = job_of<T>(kind, T(1), term_of<T>(kind, one), beta, c);
  job.more = term_of<T>(kind, more);
  return job;
}

/// C = β C + op(A, B) + op(A', B').
template <class T>
void cpu_multiply_sum(cpu_device& d, product kind, product_operands<T> one, product_operands<T> more, T beta,
                      view<T> c) {
  auto job = sum_of<T>(kind, one, more, beta, c);
  if (job.more.depth <= depth_block) return multiply_job<T>(d, job);
  const auto second = std::exchange(job.more, {});
  multiply_job<T>(d, job);
  job.term = second, job.beta = 1;
  multiply_job<T>(d, job);
}

/// inner = factor · op(A, D), C = β C + op(A, B) + op(inner, U); `down` is {A, D}, `up` {inner, U}.
template <class T>
void cpu_multiply_adapted(cpu_device& d, product kind, product_operands<T> one, product_operands<T> down, T factor,
                          view<T> inner, product_operands<T> up, T beta, view<T> c) {
  const auto below = term_of<T>(kind, down);
#if defined(PLUMB_X86)
  if constexpr (std::is_same_v<T, float>)
    if (rounds_operands<T>(d, inner.columns) && rounds_operands<T>(d, c.columns) && inner.columns <= depth_block &&
        bfloat16_chunks(below.depth) <= bfloat16_part_chunks && below.depth > 0) {
      bfloat16_inner on_the_way{below, factor, inner, reinterpret_cast<const bfloat16_bits*>(below.panels)};
      return multiply_rounded(d, sum_of<T>(kind, one, up, beta, c), &on_the_way);
    }
#endif
  multiply_job<T>(d, job_of<T>(kind, factor, below, T(0), inner));
  cpu_multiply_sum<T>(d, kind, one, up, beta, c);
}

}  // namespace plumb::inline v0::detail

// SPDX-License-Identifier: BSL-1.0
// Aᵀ·B of two tall matrices of which one has few columns: the gradients of a low-rank map, 1,024 by 16 and 1,024 by 1,536.
//
// Such a product does little with each number that it reads, so both operands are read where they lie, the wide one
// once. Each element is the same chain of multiply-adds as in cpu_products.hpp, so it has the same bits.
#pragma once

#include <algorithm>

#include <plumb/backend/cpu_device.hpp>
#include <plumb/backend/cpu_packing.hpp>
#include <plumb/core/view.hpp>

namespace plumb::inline v0::detail {

/// C = β C + α Aᵀ B as few and many columns: C is [few, many], or the other way round when `turned`.
template <class T>
struct narrow_job {
  T alpha, beta;
  view<const T> few, many;
  bool turned;
  T* c;
  index_t task_columns;
};

/// One task: columns from `first` on of the wide operand.
template <class T>
struct narrow_task {
  static constexpr index_t most_columns = 128, most_few = 64;
  static constexpr index_t scratch = 2 * most_few * most_columns;

  template <class Set>
  [[gnu::always_inline]] static inline void run(const narrow_job<T>* the_job, index_t first, T* sums) {
    constexpr int tall = Set::tile_rows >= 14 ? 16 : 8;  // rows that the registers hold beside one vector of B
    const narrow_job<T>& job = *the_job;
    const index_t few = job.few.columns, many = job.many.columns, all = job.few.rows;
    const index_t columns = std::min(job.task_columns, many - first);
    // Of K. What is asked for in advance of the wide operand is still in the cache when the next pass over it begins.
    constexpr index_t stretch = 64;
    std::fill_n(sums, few * most_columns, T(0));
    for (index_t k = 0; k < all; k += stretch)
      for (index_t j = 0; j < columns; j += simd<Set, T>::lanes)
        for (index_t r = 0, rows = 0; r < few; r += rows) {
          const auto add = [&]<int Rows>() {
            rows = Rows;
            call_with<Set, product_tile<T, Rows, 1, left_order::columns>>(
                std::min(stretch, all - k), job.few.data + k * few + r, few, job.many.data + k * many + first + j, many,
                sums + r * most_columns + j, most_columns, true);
          };
          if (few - r >= tall)
            add.template operator()<tall>();
          else if (few - r >= 8)
            add.template operator()<8>();
          else if (few - r >= 4)
            add.template operator()<4>();
          else
            add.template operator()<1>();
        }
    if (!job.turned)
      return call_with<Set, finish_tile<T>>(job.alpha, job.beta, few, columns, static_cast<const T*>(sums),
                                            most_columns, job.c + first, many);
    T* const turned = sums + most_few * most_columns;
    call_with<Set, transpose<T>>(static_cast<const T*>(sums), most_columns, few, columns, most_columns, turned, few);
    call_with<Set, finish_tile<T>>(job.alpha, job.beta, columns, few, static_cast<const T*>(turned), few,
                                   job.c + first * few, few);
  }
};

/// Computes the product if it is of this kind.
template <class Set, class T>
bool multiply_narrow(cpu_device& d, T alpha, view<const T> a, view<const T> b, T beta, view<T> c) {
  using task = narrow_task<T>;
  const bool turned = b.columns < a.columns;
  narrow_job<T> job{alpha, beta, turned ? b : a, turned ? a : b, turned, c.data, 0};
  const index_t many = job.many.columns;
  if (job.few.columns > task::most_few || job.few.columns == 0 || many % simd<Set, T>::lanes != 0 || many == 0)
    return false;
  job.task_columns =
      std::min(up_to(parts_of(many, index_t{4} * d.threads()), index_t{simd<Set, T>::lanes}), task::most_columns);
  d.run(parts_of(many, job.task_columns), [&](index_t i, int worker) {
    call_with<Set, task>(static_cast<const narrow_job<T>*>(&job), i * job.task_columns,
                         d.scratch<T>(worker, task::scratch));
  });
  return true;
}

}  // namespace plumb::inline v0::detail

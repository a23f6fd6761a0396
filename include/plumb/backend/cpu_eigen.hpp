// SPDX-License-Identifier: BSL-1.0
// Views as Eigen matrices, for blocks and operations of one's own on the CPU. Eigen is included here and nowhere else; the
// primitives of plumb::cpu do not need it.
#pragma once

#include <plumb/config.hpp>

#include <Eigen/Core>
#include <type_traits>

#include <plumb/core/view.hpp>

namespace plumb::inline v0 {

namespace detail {
template <class T>
using eigen_matrix = Eigen::Matrix<std::remove_const_t<T>, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
}  // namespace detail

/// The numbers of a view in host memory as an Eigen map [rows, columns], row-major; nothing is copied.
///
///   as_eigen(out).noalias() = as_eigen(a) * as_eigen(b).transpose();
template <class T>
auto as_eigen(view<T> x) {
  using matrix = std::conditional_t<std::is_const_v<T>, const detail::eigen_matrix<T>, detail::eigen_matrix<T>>;
  return Eigen::Map<matrix>(x.data, x.rows, x.columns);
}

}  // namespace plumb::inline v0

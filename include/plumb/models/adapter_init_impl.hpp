// SPDX-License-Identifier: BSL-1.0
// The bodies of models/adapter_init.hpp. Collected by plumb/impl.hpp, which one .cpp of a program includes.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <span>
#include <string>
#include <utility>
#include <vector>

#if __has_include(<Eigen/SVD>)
#include <Eigen/QR>
#include <Eigen/SVD>
#else  // where Debian puts it, for programs without CMake
#include <eigen3/Eigen/QR>
#include <eigen3/Eigen/SVD>
#endif

#include <plumb/core/error.hpp>
#include <plumb/core/random.hpp>
#include <plumb/models/adapter_init.hpp>

namespace plumb::inline v0 {

namespace detail {

using row_major = Eigen::Matrix<double, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;

/// An orthonormal basis of the columns' span, as many columns.
Eigen::MatrixXd orthonormal(const Eigen::MatrixXd& m) {
  const Eigen::HouseholderQR<Eigen::MatrixXd> qr(m);
  return qr.householderQ() * Eigen::MatrixXd::Identity(m.rows(), m.cols());
}

/// The largest singular values with their vectors: W ≈ U diag(σ) Vᵀ.
struct singular_parts {
  Eigen::MatrixXd u, v;
  Eigen::VectorXd sigma;
};

singular_parts largest_parts(const Eigen::Map<const row_major>& w, Eigen::Index rank, index_t iterations,
                             std::uint64_t key) {
  if (iterations == 0) {
    const Eigen::BDCSVD<Eigen::MatrixXd> svd(w, Eigen::ComputeThinU | Eigen::ComputeThinV);
    return {svd.matrixU().leftCols(rank), svd.matrixV().leftCols(rank), svd.singularValues().head(rank)};
  }
  // A few columns more than wanted make the last singular values good (Halko et al. 2011, section 4.2).
  const Eigen::Index width = std::min<Eigen::Index>(rank + 8, std::min(w.rows(), w.cols()));
  const philox_stream numbers{key, 0x7069737361};  // "pissa" in letters: no other stream of the seed
  Eigen::MatrixXd sample(w.cols(), width);
  for (Eigen::Index i = 0; i < sample.size(); ++i) sample(i) = numbers.normal_at(static_cast<std::uint64_t>(i));
  Eigen::MatrixXd basis = orthonormal(w * sample);
  for (index_t round = 0; round < iterations; ++round) basis = orthonormal(w * orthonormal(w.transpose() * basis));
  const Eigen::MatrixXd inner = basis.transpose() * w;
  const Eigen::BDCSVD<Eigen::MatrixXd> svd(inner, Eigen::ComputeThinU | Eigen::ComputeThinV);
  return {basis * svd.matrixU().leftCols(rank), svd.matrixV().leftCols(rank), svd.singularValues().head(rank)};
}

/// Uniform numbers in ±bound.
std::vector<double> uniform_numbers(index_t count, double bound, std::uint64_t key) {
  std::vector<double> out(static_cast<std::size_t>(count));
  for (std::size_t i = 0; i < out.size(); ++i)
    out[i] = bound * (2 * static_cast<double>(uniform_float(philox_word(key, i))) - 1);
  return out;
}

lora_factors factors_of_weight(lora_init how, index_t iterations, shape extent, std::span<const double> weight,
                               index_t rank, double scale, std::uint64_t key, const std::string& module) {
  if (const index_t most = std::min(extent.rows, extent.columns); rank > most)
    throw error(errc::bad_argument, module,
                join("expected a rank of at most ", most, " for ", name(how), ", since the map is ", extent.rows, " x ",
                     extent.columns, "; found ", rank));
  const Eigen::Map<const row_major> w(weight.data(), extent.rows, extent.columns);
  lora_factors out;
  out.a.resize(static_cast<std::size_t>(rank * extent.columns));
  out.b.resize(static_cast<std::size_t>(extent.rows * rank));
  Eigen::Map<row_major> a(out.a.data(), rank, extent.columns), b(out.b.data(), extent.rows, rank);
  if (how == lora_init::pissa) {
    const singular_parts parts = largest_parts(w, rank, iterations, key);
    const Eigen::VectorXd root = (parts.sigma / scale).cwiseSqrt();
    a = root.asDiagonal() * parts.v.transpose();
    b = parts.u * root.asDiagonal();
  } else {
    const Eigen::HouseholderQR<Eigen::MatrixXd> qr(w);
    const Eigen::MatrixXd upper = qr.matrixQR().topRows(rank).triangularView<Eigen::Upper>();
    const Eigen::MatrixXd first = qr.householderQ() * Eigen::MatrixXd::Identity(extent.rows, rank);
    a = upper;
    b = first;
  }
  return out;
}

}  // namespace detail

lora_factors first_lora_factors(lora_init how, index_t iterations, shape extent, std::span<const double> weight,
                                index_t rank, double scale, std::uint64_t key, const std::string& module) {
  if (starts_from_weight(how))
    return detail::factors_of_weight(how, iterations, extent, weight, rank, scale, key, module);
  lora_factors out;
  if (how == lora_init::gaussian) {
    const philox_stream numbers{key, 0x6c6f7261};  // "lora" in letters
    out.a.resize(static_cast<std::size_t>(rank * extent.columns));
    for (std::size_t i = 0; i < out.a.size(); ++i) out.a[i] = numbers.normal_at(i) / static_cast<double>(rank);
  } else {
    out.a = detail::uniform_numbers(rank * extent.columns, 1 / std::sqrt(static_cast<double>(extent.columns)), key);
  }
  if (how == lora_init::random)
    out.b = detail::uniform_numbers(extent.rows * rank, 1 / std::sqrt(static_cast<double>(rank)), derive_key(key, 1));
  else
    out.b.assign(static_cast<std::size_t>(extent.rows * rank), 0.0);
  return out;
}

}  // namespace plumb::inline v0

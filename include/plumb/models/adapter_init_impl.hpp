// SPDX-License-Identifier: BSL-1.0
// The bodies of models/adapter_init.hpp. Collected by plumb/impl.hpp, which one .cpp of a program includes.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <span>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#if __has_include(<Eigen/QR>)
#include <Eigen/Eigenvalues>
#include <Eigen/QR>
#include <Eigen/SVD>
#else  // where Debian puts it, for programs without CMake
#include <eigen3/Eigen/Eigenvalues>
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

/// The left vectors of the `rank` largest singular values σ of M, and σ, largest first.
///
/// From the eigenvectors of M Mᵀ, whose eigenvalues are σ²: several times as fast as a decomposition of M. What that loses
/// is the accuracy of values far below the largest, which are not asked for.
std::pair<Eigen::MatrixXd, Eigen::VectorXd> left_parts(const Eigen::MatrixXd& m, Eigen::Index rank) {
  const Eigen::MatrixXd square = m * m.transpose();
  const Eigen::SelfAdjointEigenSolver<Eigen::MatrixXd> solver(square);  // smallest first
  return {solver.eigenvectors().rightCols(rank).rowwise().reverse(),
          solver.eigenvalues().tail(rank).reverse().cwiseMax(0.0).cwiseSqrt()};
}

/// M ≈ L R with L [rows, rank] and R [rank, columns], the best approximation of this rank (Eckart and Young 1936), both
/// factors with the roots of the singular values over s.
std::pair<Eigen::MatrixXd, Eigen::MatrixXd> best_factors(const Eigen::MatrixXd& m, Eigen::Index rank,
                                                         index_t iterations, double s, std::uint64_t key) {
  Eigen::MatrixXd left;
  Eigen::VectorXd sigma;
  if (iterations == 0) {
    std::tie(left, sigma) = left_parts(m, rank);
  } else {  // within the span of a few columns more than wanted, which makes the last ones good (Halko et al., section 4.2)
    const Eigen::Index width = std::min<Eigen::Index>(rank + 8, std::min(m.rows(), m.cols()));
    const philox_stream numbers{key, 0x7069737361};  // "pissa" in letters: no other stream of the seed
    Eigen::MatrixXd sample(m.cols(), width);
    for (Eigen::Index i = 0; i < sample.size(); ++i) sample(i) = numbers.normal_at(static_cast<std::uint64_t>(i));
    Eigen::MatrixXd basis = orthonormal(m * sample);
    for (index_t round = 0; round < iterations; ++round) basis = orthonormal(m * orthonormal(m.transpose() * basis));
    std::tie(left, sigma) = left_parts(basis.transpose() * m, rank);
    left = basis * left;
  }
  const Eigen::MatrixXd seen = left.transpose() * m;  // [rank, columns], rows of length σ
  std::pair<Eigen::MatrixXd, Eigen::MatrixXd> out{left, seen};
  for (Eigen::Index i = 0; i < rank; ++i) {
    out.first.col(i) *= std::sqrt(sigma(i) / s);
    out.second.row(i) *= sigma(i) > 0 ? 1 / std::sqrt(sigma(i) * s) : 0;
  }
  return out;
}

/// Uniform numbers in ±bound.
std::vector<double> uniform_numbers(index_t count, double bound, std::uint64_t key) {
  std::vector<double> out(static_cast<std::size_t>(count));
  for (std::size_t i = 0; i < out.size(); ++i)
    out[i] = bound * (2 * static_cast<double>(uniform_float(philox_word(key, i))) - 1);
  return out;
}

/// L [rows, rank] and R [rank, columns] as the factors of an adapter, B and A.
lora_factors as_factors(const Eigen::MatrixXd& left, const Eigen::MatrixXd& right) {
  lora_factors out;
  out.a.resize(static_cast<std::size_t>(right.size()));
  out.b.resize(static_cast<std::size_t>(left.size()));
  Eigen::Map<row_major>(out.a.data(), right.rows(), right.cols()) = right;
  Eigen::Map<row_major>(out.b.data(), left.rows(), left.cols()) = left;
  return out;
}

lora_factors factors_of_weight(lora_init how, index_t iterations, shape extent, std::span<const double> weight,
                               index_t rank, double scale, std::uint64_t key, const std::string& module) {
  if (const index_t most = std::min(extent.rows, extent.columns); rank > most)
    throw error(errc::bad_argument, module,
                join("expected a rank of at most ", most, " for ", name(how), ", since the map is ", extent.rows, " x ",
                     extent.columns, "; found ", rank));
  const Eigen::MatrixXd w = Eigen::Map<const row_major>(weight.data(), extent.rows, extent.columns);
  if (how == lora_init::pissa) {
    const bool tall = extent.rows > extent.columns;
    const auto [left, right] = best_factors(tall ? Eigen::MatrixXd(w.transpose()) : w, rank, iterations, scale, key);
    return tall ? as_factors(right.transpose(), left.transpose()) : as_factors(left, right);
  }
  const Eigen::HouseholderQR<Eigen::MatrixXd> qr(w);
  const Eigen::MatrixXd upper = qr.matrixQR().topRows(rank).triangularView<Eigen::Upper>();
  return as_factors(qr.householderQ() * Eigen::MatrixXd::Identity(extent.rows, rank), upper);
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

lora_factors first_embedding_factors(lora_init how, shape extent, index_t rank, std::uint64_t key) {
  const philox_stream numbers{key, 0x656d626564};  // "embed" in letters
  lora_factors out;
  out.a.assign(static_cast<std::size_t>(extent.rows * rank), 0.0);
  out.b.resize(static_cast<std::size_t>(extent.columns * rank));
  for (std::size_t i = 0; i < out.b.size(); ++i) out.b[i] = numbers.normal_at(i);
  if (how == lora_init::random)
    for (std::size_t i = 0; i < out.a.size(); ++i) out.a[i] = numbers.normal_at(out.b.size() + i);
  return out;
}

lora_factors best_lora_factors(shape extent, std::span<const double> change, index_t rank) {
  const Eigen::MatrixXd m = Eigen::Map<const detail::row_major>(change.data(), extent.rows, extent.columns);
  const bool tall = extent.rows > extent.columns;
  const auto [left, right] = detail::best_factors(tall ? Eigen::MatrixXd(m.transpose()) : m, rank, 0, 1, 0);
  return tall ? detail::as_factors(right.transpose(), left.transpose()) : detail::as_factors(left, right);
}

lora_factors best_lora_factors(shape extent, const lora_factors& longer, index_t rank) {
  const auto inner = static_cast<Eigen::Index>(longer.b.size()) / std::max<Eigen::Index>(1, extent.rows);
  const Eigen::MatrixXd b = Eigen::Map<const detail::row_major>(longer.b.data(), extent.rows, inner);
  const Eigen::MatrixXd a = Eigen::Map<const detail::row_major>(longer.a.data(), inner, extent.columns).transpose();
  // B A = Q_b (R_b R_aᵀ) Q_aᵀ: only the small matrix in the middle is decomposed.
  const Eigen::HouseholderQR<Eigen::MatrixXd> of_b(b), of_a(a);
  const auto upper = [inner](const auto& qr) -> Eigen::MatrixXd {
    const Eigen::Index rows = std::min(qr.matrixQR().rows(), inner);
    return qr.matrixQR().topRows(rows).template triangularView<Eigen::Upper>();
  };
  const Eigen::MatrixXd middle = upper(of_b) * upper(of_a).transpose();
  const Eigen::JacobiSVD<Eigen::MatrixXd> svd(middle, Eigen::ComputeThinU | Eigen::ComputeThinV);
  const Eigen::VectorXd roots = svd.singularValues().head(rank).cwiseSqrt();
  Eigen::MatrixXd left = Eigen::MatrixXd::Zero(extent.rows, rank), right = Eigen::MatrixXd::Zero(extent.columns, rank);
  left.topRows(middle.rows()) = svd.matrixU().leftCols(rank) * roots.asDiagonal();
  right.topRows(middle.cols()) = svd.matrixV().leftCols(rank) * roots.asDiagonal();
  left.applyOnTheLeft(of_b.householderQ());
  right.applyOnTheLeft(of_a.householderQ());
  return detail::as_factors(left, right.transpose());
}

}  // namespace plumb::inline v0

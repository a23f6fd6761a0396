// SPDX-License-Identifier: BSL-1.0
// What the factors of a low-rank adapter hold before training. Bodies: adapter_init_impl.hpp.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include <plumb/core/view.hpp>
#include <plumb/models/adapter_options.hpp>

namespace plumb::inline v0 {

/// The factors of a map's adapter, row by row.
struct lora_factors {
  std::vector<double> a;  ///< [rank, inputs]
  std::vector<double> b;  ///< [outputs, rank]
};

/// Does the adapter start from numbers that are taken out of the weight?
[[nodiscard]] constexpr bool starts_from_weight(lora_init how) noexcept {
  return how == lora_init::pissa || how == lora_init::olora;
}

/// First values for a map of `extent` [outputs, inputs] with weight W `weight` (read by pissa and olora alone).
///
/// pissa: W = U Σ Vᵀ, A = √(Σ_r / s) V_rᵀ, B = U_r √(Σ_r / s), so that s B A is the best approximation of W of this rank
/// (Meng et al. 2024, eq. 2 and 3, with PEFT's scale s); `iterations` above 0 takes a randomised decomposition with as
/// many power iterations (Halko et al. 2011, algorithm 4.4). olora: W = Q R, A = the first rows of R, B = the first columns
/// of Q (Büyükakyüz 2024). Random numbers are functions of `key` and their place.
/// Throws errc::bad_argument, naming `module`, when W has no `rank` singular values or more.
lora_factors first_lora_factors(lora_init how, index_t iterations, shape extent, std::span<const double> weight,
                                index_t rank, double scale, std::uint64_t key, const std::string& module);

/// First values for a table of tokens [vocabulary, width]: A [vocabulary, rank] zero, B [width, rank] normal; with `random` A
/// is normal, too. As in PEFT, where "gaussian" changes nothing here.
lora_factors first_embedding_factors(lora_init how, shape extent, index_t rank, std::uint64_t key);

/// A [rank, inputs] and B [outputs, rank] whose product is the best approximation of this rank (Eckart and Young 1936), with
/// the roots of the singular values in both: of a dense change [outputs, inputs] of `extent`, or of the product of longer
/// factors, which then is never made. rank is at most the smaller extent, and at most that of `longer`.
lora_factors best_lora_factors(shape extent, std::span<const double> change, index_t rank);
lora_factors best_lora_factors(shape extent, const lora_factors& longer, index_t rank);

}  // namespace plumb::inline v0

// SPDX-License-Identifier: BSL-1.0
// Sums over the vocabulary on the cpu: log-partitions with vector instructions, φ itself in double, rows on all threads.
#pragma once

#include <algorithm>
#include <cmath>

#include <plumb/backend/cpu_device.hpp>
#include <plumb/backend/cpu_kernels.hpp>
#include <plumb/core/row_sum.hpp>
#include <plumb/core/view.hpp>

namespace plumb::inline v0::detail {

/// Without `slope` fills out[i] = S_i, with it adds slope_i ∂S_i/∂z_i to `dz`.
template <class T, class Phi>
void cpu_row_sums(cpu_device& d, view<const T> z, view<const T> other, double sharpness, const Phi& phi, const T* slope,
                  T* out, view<T> dz) {
  const index_t grain = std::max<index_t>(1, 1024 / std::max<index_t>(1, z.columns));
  d.run_pieces(z.rows, grain, [&](index_t first, index_t last) {
    for (index_t i = first; i < last; ++i) {
      const T* const row = z.row(i);
      const T* const beside = other.data ? other.row(i) : nullptr;
      const double total = cpu_log_partition(d, z.columns, row, sharpness);
      const double other_total = beside ? cpu_log_partition(d, z.columns, beside, sharpness) : 0;
      double sum = 0, slopes = 0;
      for (index_t k = 0; k < z.columns; ++k) {
        const double log_p = sharpness * static_cast<double>(row[k]) - total;
        const dual<1> at =
            row_term(phi, log_p, beside ? sharpness * static_cast<double>(beside[k]) - other_total : 0.0);
        sum += at.value;
        slopes += at.slope[0];
        if (slope)  // φ'_k now, − p_k Σ φ' when the sum is known
          dz.row(i)[k] += static_cast<T>(static_cast<double>(slope[i]) * sharpness * at.slope[0]);
      }
      if (out) out[i] = static_cast<T>(sum);
      if (!slope || slopes == 0) continue;
      const double pull = static_cast<double>(slope[i]) * sharpness * slopes;
      for (index_t k = 0; k < z.columns; ++k)
        dz.row(i)[k] -= static_cast<T>(pull * std::exp(sharpness * static_cast<double>(row[k]) - total));
    }
  });
}

}  // namespace plumb::inline v0::detail

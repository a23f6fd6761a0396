// SPDX-License-Identifier: BSL-1.0
// Rows drawn from several files on disk: in proportion, in stages, shuffled in a buffer, from an exact position.
// Bodies: mixture_impl.hpp.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include <plumb/core/types.hpp>
#include <plumb/data/row_file.hpp>
#include <plumb/io/json.hpp>

namespace plumb::inline v0 {

/// A file to draw rows from.
struct data_source {
  std::filesystem::path path;
  double share = 0;  ///< of the rows that are drawn, above 0; 0: by the number of its rows
};

/// What is drawn from at the same time, for how long.
struct data_stage {
  std::vector<data_source> sources{};
  index_t rows = 0;  ///< drawn before the next stage begins; 0: one pass, Σ_m min(e_m, mix_cap)
};

/// How rows are drawn.
struct mixture_options {
  double mix_temperature = 1;  ///< T, from 1: the larger, the more alike are the rates of large and small files
  index_t mix_cap = 0;         ///< K: rows of a file that count for its rate; 0: all
  index_t shuffle_buffer =
      10000;               ///< rows of each file that wait to be drawn in a random order; 1: the order of the file
  std::uint64_t seed = 0;  ///< of the order
};

/// The share of each source in the rows that are drawn. Of e_m rows, examples-proportional with cap K and temperature T:
///
///   rate_m = min(e_m, K)^(1/T) / Σ_n min(e_n, K)^(1/T)
///
/// Raffel et al. 2020, arXiv:1910.10683, section 3.5.2. Shares that are given count as they are, and sources without one
/// divide what they leave; when every source has one, they are weights, 1 and 3 as good as 0.25 and 0.75. Throws
/// errc::bad_argument for shares that leave nothing, and for a temperature or cap that no source would follow.
std::vector<double> mixing_rates(std::span<const index_t> rows, std::span<const double> shares,
                                 const mixture_options& o);

/// Rows without end: a file that is used up begins anew, in another order. The next row comes from the source that is
/// furthest behind its rate, so the proportions hold at any time, not on average only. Of each source, `shuffle_buffer` rows wait
/// in a buffer (their places, not the rows); a random one of them is drawn and the file's next row takes its place.
/// Every row comes once in a pass over its file.
///
/// All is a function of files, options and seed: `position` says in a few numbers per waiting row where it stands, and
/// `restore` goes on from there with the same rows. Memory: 24 bytes per waiting row and 256 KiB per file.
class row_mixture {
 public:
  /// A row as it stands in its file.
  struct mixed_row {
    json::value value;
    std::string place;  ///< "file:line"
  };

  /// Opens and counts all files. Throws errc::bad_data for one without rows, errc::bad_argument for options out of range.
  row_mixture(std::vector<data_stage> stages, const mixture_options& o);

  /// The next row; throws errc::bad_file when it is not JSON.
  mixed_row next();
  /// The next call gives the last row once more.
  void put_back();
  [[nodiscard]] index_t drawn() const noexcept { return drawn_ - (waiting_ ? 1 : 0); }
  /// Rows of a pass: those of all stages.
  [[nodiscard]] index_t rows() const noexcept { return rows_; }
  /// A number that differs when a byte of a file or an option differs.
  [[nodiscard]] std::uint64_t fingerprint() const noexcept { return fingerprint_; }

  [[nodiscard]] std::vector<std::uint64_t> position() const;
  /// Throws errc::bad_file for numbers that are no position in these files; then nothing has changed.
  void restore(std::span<const std::uint64_t> position);

 private:
  struct source {
    row_file file;
    std::uint64_t key = 0;
    double rate = 0;
    index_t drawn = 0, of_pass = 0, pass = 0;
    std::vector<row_place> buffer{};
  };
  struct stage {
    std::vector<source> sources;
    index_t rows = 0;
  };
  struct place_of_row {
    std::size_t source = 0;
    row_place row;
  };

  row_place draw(source& s) const;
  mixed_row read(const place_of_row& at) const;

  std::vector<stage> stages_;
  index_t buffer_ = 1;
  std::size_t stage_ = 0;
  index_t drawn_ = 0, of_stage_ = 0, rows_ = 0;
  std::uint64_t fingerprint_ = 0;
  std::optional<place_of_row> last_;
  bool waiting_ = false;  ///< the last row is to be given again
};

}  // namespace plumb::inline v0

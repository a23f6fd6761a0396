// SPDX-License-Identifier: BSL-1.0
// Rows of files on disk as a stream of examples that `fit` trains on.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include <plumb/core/error.hpp>
#include <plumb/data/example_stream.hpp>
#include <plumb/data/mixture.hpp>

namespace plumb::inline v0 {

/// The rows of files as examples: `parse(value, place)` makes one of each, or nothing (std::nullopt) where a row is to be
/// left out, when it returns std::optional.
///
///   plumb::mixture_stream rows({{{{"a.jsonl"}, {"b.jsonl", 0.3}}}}, {.seed = 1},
///       [&](const auto& value, const auto& place) { return plumb::parse_pair(value, place, &words); });
///   fit(policy, plumb::dpo{}, rows, {.steps = 1000});
template <class Parse>
class mixture_stream final : public example_stream {
 public:
  mixture_stream(std::vector<data_stage> stages, const mixture_options& o, Parse parse)
      : rows_(std::move(stages), o), parse_(std::move(parse)) {}

  /// Throws errc::bad_data when a pass has no row that is not left out.
  example next() override {
    for (index_t tries = 0; tries <= rows_.rows(); ++tries) {
      const auto row = rows_.next();
      std::optional<example> e = parse_(row.value, row.place);
      if (e) return *std::move(e);
    }
    throw error(errc::bad_data, "data", join("none of ", rows_.rows(), " rows in a row can be learnt from"));
  }
  void put_back() override { rows_.put_back(); }
  [[nodiscard]] index_t drawn() const override { return rows_.drawn(); }
  [[nodiscard]] index_t rows() const override { return rows_.rows(); }
  [[nodiscard]] std::uint64_t fingerprint() const override { return rows_.fingerprint(); }
  [[nodiscard]] std::vector<std::uint64_t> position() const override { return rows_.position(); }
  void restore(std::span<const std::uint64_t> position) override { rows_.restore(position); }

 private:
  row_mixture rows_;
  Parse parse_;
};

}  // namespace plumb::inline v0

// SPDX-License-Identifier: BSL-1.0
// A batch is a forest: segments of tokens, each of which may continue another. There is no padding, and what several
// segments share is stored and computed once.
#pragma once

#include <limits>
#include <span>
#include <vector>

#include <plumb/backend/plan.hpp>
#include <plumb/core/types.hpp>

namespace plumb::inline v0 {

/// A run of tokens that continues its parent. A prompt is a root; its replies are children.
struct segment {
  index_t parent = -1;            ///< segment that this one continues; −1: none
  index_t first = 0;              ///< row of its first token
  index_t length = 0;             ///< number of tokens
  index_t position = 0;           ///< position of its first token: where the parent ends
  index_t adapter = own_adapter;  ///< that of its root: what segments share is computed with one adapter

  [[nodiscard]] constexpr index_t end_position() const noexcept { return position + length; }
};

/// A prediction to score: the hidden state of `row` should give `token`.
struct prediction {
  std::int32_t row = 0;
  token_id token = 0;
};

/// Rows [first, first + count) run with this adapter.
struct adapter_range {
  index_t first = 0;
  index_t count = 0;
  index_t adapter = own_adapter;
};

/// Appends rows to ranges that follow each other without a gap.
void append_rows(std::vector<adapter_range>& ranges, index_t count, index_t adapter);

/// The plan of a batch in host memory: what the model needs to know of it, as plain integer arrays.
struct batch_layout {
  std::vector<std::int32_t> tokens;     ///< [tokens]
  std::vector<std::int32_t> positions;  ///< [tokens]
  std::vector<query_segment> segments;
  std::vector<std::int32_t> key_rows;
  std::vector<std::int32_t> row_segment;  ///< [tokens]
  std::vector<adapter_range> adapters;    ///< which adapter each row runs with, one range after another

  /// Does every row run with what is on the model?
  [[nodiscard]] bool one_adapter() const noexcept {
    return adapters.empty() || (adapters.size() == 1 && adapters[0].adapter == own_adapter);
  }
};

/// Segments of tokens laid end to end, parents before children.
class forest {
 public:
  static constexpr index_t root = -1;

  /// Adds a root that runs with an adapter of its own; what continues it runs with the same.
  index_t add_root(std::span<const token_id> tokens, index_t adapter) {
    const index_t out = add(tokens);
    segments_.back().adapter = adapter;
    return out;
  }
  /// Adds a segment after all others and returns its number. An empty segment is allowed (its children continue the
  /// grandparent's end). Throws errc::bad_argument for an unknown parent or more than 2³¹ − 1 tokens or key rows.
  index_t add(std::span<const token_id> tokens, index_t parent = root);
  /// Adds a root whose first token has position `position`: it goes on from something that is not in this forest, whose
  /// rows the caller writes into the layout.
  index_t add_from(index_t position, std::span<const token_id> tokens);
  void clear() noexcept {
    tokens_.clear();
    segments_.clear();
    path_total_ = 0;
  }

  [[nodiscard]] std::span<const token_id> tokens() const noexcept { return tokens_; }
  [[nodiscard]] std::span<const segment> segments() const noexcept { return segments_; }
  [[nodiscard]] const segment& operator[](index_t s) const noexcept { return segments_[static_cast<std::size_t>(s)]; }
  /// The position after the last token of the longest path.
  [[nodiscard]] index_t longest_path() const noexcept {
    index_t longest = 0;
    for (const auto& s : segments_) longest = longest < s.end_position() ? s.end_position() : longest;
    return longest;
  }

  /// The row of position `position` on the path through segment `s`; position < end of s.
  [[nodiscard]] index_t row_at(index_t s, index_t position) const noexcept {
    while ((*this)[s].position > position) s = (*this)[s].parent;
    return (*this)[s].first + position - (*this)[s].position;
  }

  /// Appends the predictions of the tokens of segment `s` from its token `from` on. The first token of a child is
  /// predicted by the last token of its path, which several children may share; the first token of a root by nothing,
  /// so it is left out.
  void predictions(index_t s, std::vector<prediction>& out, index_t from = 0) const;

  /// Writes the integer arrays that the model needs; keeps the capacity of `out`.
  void lay_out(batch_layout& out) const;

 private:
  index_t append(segment s, std::span<const token_id> tokens);

  static constexpr index_t limit = std::numeric_limits<std::int32_t>::max();
  std::vector<token_id> tokens_;
  std::vector<segment> segments_;
  index_t path_total_ = 0;
};

}  // namespace plumb::inline v0

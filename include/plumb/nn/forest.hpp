// SPDX-License-Identifier: BSL-1.0
// A batch is a forest: segments of tokens, each of which may continue another. There is no padding, and what several
// segments share is stored and computed once.
#pragma once

#include <limits>
#include <span>
#include <vector>

#include <plumb/backend/plan.hpp>
#include <plumb/core/error.hpp>
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
inline void append_rows(std::vector<adapter_range>& ranges, index_t count, index_t adapter) {
  if (count == 0) return;
  const index_t first = ranges.empty() ? 0 : ranges.back().first + ranges.back().count;
  if (!ranges.empty() && ranges.back().adapter == adapter)
    ranges.back().count += count;
  else
    ranges.push_back({first, count, adapter});
}

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
  index_t add(std::span<const token_id> tokens, index_t parent = root) {
    const auto count = static_cast<index_t>(segments_.size());
    if (parent < root || parent >= count)
      throw error(errc::bad_argument, "",
                  join("segment ", count, " continues segment ", parent, ", which is not there yet"));
    segment s{parent, static_cast<index_t>(tokens_.size()), static_cast<index_t>(tokens.size())};
    if (parent != root) s.position = (*this)[parent].end_position(), s.adapter = (*this)[parent].adapter;
    path_total_ += s.end_position();
    if (s.first + s.length > limit || path_total_ > limit)
      throw error(errc::bad_argument, "", "a batch holds at most 2147483647 tokens and path entries; make it smaller");
    tokens_.insert(tokens_.end(), tokens.begin(), tokens.end());
    segments_.push_back(s);
    return count;
  }
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
  void predictions(index_t s, std::vector<prediction>& out, index_t from = 0) const {
    const segment& own = (*this)[s];
    for (index_t i = from; i < own.length; ++i) {
      const index_t position = own.position + i;
      if (position == 0) continue;
      out.push_back(
          {static_cast<std::int32_t>(row_at(s, position - 1)), tokens_[static_cast<std::size_t>(own.first + i)]});
    }
  }

  /// Writes the integer arrays that the model needs; keeps the capacity of `out`.
  void lay_out(batch_layout& out) const {
    out.tokens.assign(tokens_.begin(), tokens_.end());
    out.positions.clear();
    out.segments.clear();
    out.key_rows.clear();
    out.row_segment.clear();
    out.adapters.clear();
    out.key_rows.reserve(static_cast<std::size_t>(path_total_));
    for (std::size_t s = 0; s < segments_.size(); ++s) {
      const segment& own = segments_[s];
      const auto keys = static_cast<std::int32_t>(out.key_rows.size());
      append_rows(out.adapters, own.length, own.adapter);
      if (own.length > 0) {
        out.key_rows.resize(out.key_rows.size() + static_cast<std::size_t>(own.end_position()));
        for (auto a = static_cast<index_t>(s); a != root; a = (*this)[a].parent)
          for (index_t i = 0; i < (*this)[a].length; ++i)
            out.key_rows[static_cast<std::size_t>(keys + (*this)[a].position + i)] =
                static_cast<std::int32_t>((*this)[a].first + i);
      }
      for (index_t i = 0; i < own.length; ++i) {
        out.positions.push_back(static_cast<std::int32_t>(own.position + i));
        out.row_segment.push_back(static_cast<std::int32_t>(out.segments.size()));
      }
      if (own.length > 0)
        out.segments.push_back({static_cast<std::int32_t>(own.first), static_cast<std::int32_t>(own.length),
                                static_cast<std::int32_t>(own.position), keys});
    }
  }

 private:
  static constexpr index_t limit = std::numeric_limits<std::int32_t>::max();
  std::vector<token_id> tokens_;
  std::vector<segment> segments_;
  index_t path_total_ = 0;
};

}  // namespace plumb::inline v0

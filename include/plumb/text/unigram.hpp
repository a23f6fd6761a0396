// SPDX-License-Identifier: BSL-1.0
// The unigram language model: of all ways to cut a word into pieces, the one of the highest probability.
// Kudo, 2018, https://arxiv.org/abs/1804.10959
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <numeric>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include <plumb/core/types.hpp>
#include <plumb/io/utf8.hpp>
#include <plumb/text/bpe.hpp>

namespace plumb::inline v0::detail {

/// Finds every piece that begins at a place of a text: a tree of bytes whose nodes' children lie side by side.
class piece_tree {
 public:
  /// Pieces of more than this many bytes are never found, so that the time stays proportional to the text.
  static constexpr std::size_t longest = 512;

  piece_tree() = default;
  /// Takes the pieces that are not empty; `pieces[id]`.
  template <class Pieces>
  explicit piece_tree(const Pieces& pieces) {
    std::vector<std::uint32_t> sorted;
    for (std::size_t i = 0; i < pieces.size(); ++i)
      if (!pieces[i].empty() && pieces[i].size() <= longest) sorted.push_back(static_cast<std::uint32_t>(i));
    const auto piece = [&](std::uint32_t at) { return std::string_view(pieces[at]); };
    std::sort(sorted.begin(), sorted.end(), [&](auto a, auto b) { return piece(a) < piece(b); });
    // A node stands for the pieces [begin, end) of the sorted list, which share their first `depth` bytes.
    struct range {
      std::size_t begin, end, depth;
    };
    std::vector<range> ranges{{0, sorted.size(), 0}};
    nodes_.push_back({});
    for (std::size_t n = 0; n < ranges.size(); ++n) {
      auto [begin, end, depth] = ranges[n];
      nodes_[n].first = static_cast<std::uint32_t>(nodes_.size());
      while (begin < end && piece(sorted[begin]).size() == depth) nodes_[n].id = static_cast<token_id>(sorted[begin++]);
      while (begin < end) {
        const char label = piece(sorted[begin])[depth];
        std::size_t stop = begin + 1;
        while (stop < end && piece(sorted[stop])[depth] == label) ++stop;
        ranges.push_back({begin, stop, depth + 1});
        nodes_.push_back({.label = static_cast<unsigned char>(label)});
        begin = stop;
      }
      nodes_[n].count = static_cast<std::uint16_t>(nodes_.size() - nodes_[n].first);
    }
  }

  /// Calls `found(id, size)` for every piece that `text` begins with, the shortest first.
  template <class Found>
  void match(std::string_view text, Found found) const {
    std::size_t node = 0;
    for (std::size_t i = 0; i < text.size() && !nodes_.empty(); ++i) {
      const auto label = static_cast<unsigned char>(text[i]);
      const auto begin = nodes_.begin() + nodes_[node].first, end = begin + nodes_[node].count;
      const auto at = std::lower_bound(begin, end, label, [](const entry& e, unsigned char b) { return e.label < b; });
      if (at == end || at->label != label) return;
      node = static_cast<std::size_t>(at - nodes_.begin());
      if (at->id >= 0) found(at->id, i + 1);
    }
  }

 private:
  struct entry {
    std::uint32_t first = 0;  // its first child
    std::uint16_t count = 0;
    unsigned char label = 0;
    token_id id = -1;
  };
  std::vector<entry> nodes_;
};

/// The unigram model of a tokenizer.
struct unigram_model {
  std::vector<double> scores;  // [tokens] natural logarithms of probabilities
  piece_tree tree;
  token_id unknown = -1;  // stands for characters that no piece covers; neighbours become one
  bool byte_fallback = false;
  std::array<token_id, 256> byte_ids{};  // of <0x00> … <0xFF>, or -1
  double unknown_score = 0;              // 10 below the worst piece

  /// Appends the tokens of `word`: the path of the largest sum of scores (Viterbi), in time proportional to its length.
  void encode(std::string_view word, std::vector<token_id>& out) const {
    struct step {
      double score = -std::numeric_limits<double>::infinity();
      std::size_t from = 0;
      token_id id = -1;
      bool reached = false;
    };
    std::vector<step> best(word.size() + 1);  // best way to end at each byte
    best[0] = {0, 0, -1, true};
    for (std::size_t at = 0; at < word.size();) {
      const std::size_t size = utf8_at(word, at).size;
      bool single = false;
      const auto offer = [&](token_id id, std::size_t length, double score) {
        step& end = best[at + length];
        const double total = best[at].score + score;
        if (!end.reached || total > end.score) end = {total, at, id, true};
      };
      tree.match(word.substr(at), [&](token_id id, std::size_t length) {
        single = single || length == size;
        offer(id, length, scores[static_cast<std::size_t>(id)]);
      });
      if (!single) offer(unknown, size, unknown_score);
      at += size;
    }
    const std::size_t begin = out.size();
    for (std::size_t at = word.size(); at > 0; at = best[at].from) {
      const step& s = best[at];
      if (s.id != unknown) {
        out.push_back(s.id);
        continue;
      }
      const std::string_view lost = word.substr(s.from, at - s.from);
      const bool bytes = byte_fallback && std::all_of(lost.begin(), lost.end(), [&](char b) {
                           return byte_ids[static_cast<unsigned char>(b)] >= 0;
                         });
      if (bytes) {
        for (std::size_t i = lost.size(); i > 0; --i) out.push_back(byte_ids[static_cast<unsigned char>(lost[i - 1])]);
      } else if (unknown >= 0 && (out.size() == begin || out.back() != unknown)) {
        out.push_back(unknown);
      }
    }
    std::reverse(out.begin() + static_cast<std::ptrdiff_t>(begin), out.end());
  }
};

}  // namespace plumb::inline v0::detail

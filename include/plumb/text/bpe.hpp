// SPDX-License-Identifier: BSL-1.0
// Byte-pair encoding: a word starts as single characters, and the earliest learned pair is merged until none is left.
// Sennrich et al., 2016, https://arxiv.org/abs/1508.07909
#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include <plumb/core/error.hpp>
#include <plumb/core/types.hpp>
#include <plumb/io/utf8.hpp>
#include <plumb/text/byte_alphabet.hpp>

namespace plumb::inline v0::detail {

/// Tokens by number and numbers by token.
struct vocabulary {
  std::vector<std::string> tokens;                     // by id; an empty string where there is no token
  std::unordered_map<std::string_view, token_id> ids;  // the keys point into `tokens`, which no longer changes

  vocabulary() = default;
  vocabulary(const vocabulary&) = delete;
  vocabulary& operator=(const vocabulary&) = delete;

  [[nodiscard]] std::optional<token_id> find(std::string_view token) const {
    const auto at = ids.find(token);
    return at == ids.end() ? std::nullopt : std::optional(at->second);
  }
};

/// A learned pair: lower ranks merge first.
struct merge_rule {
  std::uint32_t rank = 0;
  token_id result = -1;  // -1: no such pair
};

/// Pairs of tokens to their merge: an open-addressing hash table, built once.
class merge_table {
 public:
  explicit merge_table(std::size_t count = 0) : slots_(std::bit_ceil(2 * count + 2)) {}

  /// Adds a pair; of two equal pairs the later one counts, as in the reference implementation.
  void set(token_id left, token_id right, merge_rule rule) { slots_[place(left, right)] = {key(left, right), rule}; }

  [[nodiscard]] merge_rule find(token_id left, token_id right) const noexcept {
    return slots_[place(left, right)].rule;
  }

 private:
  struct slot {
    std::uint64_t pair = 0;
    merge_rule rule;  // rule.result < 0 marks a free slot
  };

  static std::uint64_t key(token_id left, token_id right) noexcept {
    return (static_cast<std::uint64_t>(static_cast<std::uint32_t>(left)) << 32) | static_cast<std::uint32_t>(right);
  }
  [[nodiscard]] std::size_t place(token_id left, token_id right) const noexcept {
    const std::uint64_t pair = key(left, right);
    const std::size_t mask = slots_.size() - 1;
    std::size_t at = static_cast<std::size_t>((pair * 0x9E3779B97F4A7C15u) >> 24) & mask;
    while (slots_[at].rule.result >= 0 && slots_[at].pair != pair) at = (at + 1) & mask;
    return at;
  }

  std::vector<slot> slots_;
};

/// Merges `symbols` in place: always the pair of lowest rank, leftmost first; O(n log n) by a heap over a linked list.
inline void merge_symbols(std::vector<token_id>& symbols, const merge_table& merges) {
  struct candidate {
    std::uint32_t rank;
    std::uint32_t at;
    token_id result;
  };
  constexpr std::uint32_t none = 0xFFFFFFFFu;
  struct link {
    std::uint32_t previous, next;
  };
  const auto later = [](const candidate& a, const candidate& b) {
    return a.rank != b.rank ? a.rank > b.rank : a.at > b.at;
  };
  const auto size = static_cast<std::uint32_t>(symbols.size());
  std::vector<candidate> heap;
  for (std::uint32_t i = 0; i + 1 < size; ++i) {
    const merge_rule rule = merges.find(symbols[i], symbols[i + 1]);
    if (rule.result >= 0) heap.push_back({rule.rank, i, rule.result});
  }
  if (heap.empty()) return;
  std::vector<link> links(size);
  for (std::uint32_t i = 0; i < size; ++i) links[i] = {i == 0 ? none : i - 1, i + 1 == size ? none : i + 1};
  std::make_heap(heap.begin(), heap.end(), later);
  const auto offer = [&](std::uint32_t left, std::uint32_t right) {
    const merge_rule rule = merges.find(symbols[left], symbols[right]);
    if (rule.result < 0) return;
    heap.push_back({rule.rank, left, rule.result});
    std::push_heap(heap.begin(), heap.end(), later);
  };
  while (!heap.empty()) {
    std::pop_heap(heap.begin(), heap.end(), later);
    const candidate best = heap.back();
    heap.pop_back();
    const std::uint32_t right = symbols[best.at] < 0 ? none : links[best.at].next;
    if (right == none) continue;
    const merge_rule now = merges.find(symbols[best.at], symbols[right]);
    if (now.result != best.result || now.rank != best.rank) continue;  // a neighbour was merged meanwhile
    symbols[best.at] = best.result;
    symbols[right] = -1;  // gone
    links[best.at].next = links[right].next;
    if (links[right].next != none) links[links[right].next].previous = best.at;
    if (links[best.at].previous != none) offer(links[best.at].previous, best.at);
    if (links[best.at].next != none) offer(best.at, links[best.at].next);
  }
  std::erase(symbols, token_id{-1});
}

/// The BPE model of a tokenizer: from a word (a piece of text that no merge leaves) to tokens.
struct bpe_model {
  merge_table merges;
  std::optional<token_id> unknown;       // stands for characters that the vocabulary lacks; without it they vanish
  bool fuse_unknown = false;             // neighbouring unknown characters give one token
  bool byte_fallback = false;            // unknown characters become tokens <0x00> … <0xFF>, one a byte
  bool ignore_merges = false;            // a word that is a token stays whole, whatever the merges say
  bool byte_level = false;               // words are bytes, written in the byte alphabet
  std::array<token_id, 256> byte_ids{};  // byte-level: the token of each byte, or -1; else the fallback tokens

  /// Finds the tokens of single bytes in the vocabulary; call once, after the flags are set.
  void find_bytes(const vocabulary& words) {
    constexpr std::string_view hex = "0123456789ABCDEF";
    for (std::size_t b = 0; b < 256; ++b) {
      std::string token;
      if (byte_level)
        append_utf8(token, byte_characters[b]);
      else
        token = join("<0x", hex[b >> 4], hex[b & 15], ">");
      byte_ids[b] = words.find(token).value_or(-1);
    }
  }

  /// Appends the tokens of `word` to `out`.
  void encode(std::string_view word, const vocabulary& words, std::vector<token_id>& out) const {
    if (ignore_merges) {
      if (const auto whole = byte_level ? words.find(to_byte_alphabet(word)) : words.find(word)) {
        out.push_back(*whole);
        return;
      }
    }
    std::vector<token_id> symbols;
    symbols.reserve(word.size());
    bool pending = false;  // an unknown token that the next unknown character may join
    const auto add = [&](token_id id) {
      if (pending) symbols.push_back(*unknown);
      pending = false;
      symbols.push_back(id);
    };
    const auto add_unknown = [&] {
      if (!unknown) return;
      if (pending && !fuse_unknown) symbols.push_back(*unknown);
      pending = true;
    };
    if (byte_level) {
      for (const char b : word) {
        const token_id id = byte_ids[static_cast<unsigned char>(b)];
        if (id >= 0)
          add(id);
        else
          add_unknown();
      }
    } else {
      for (std::size_t at = 0; at < word.size();) {
        const std::string_view one = word.substr(at, utf8_at(word, at).size);
        at += one.size();
        if (const auto id = words.find(one)) {
          add(*id);
        } else if (byte_fallback && std::all_of(one.begin(), one.end(),
                                                [&](char b) { return byte_ids[static_cast<unsigned char>(b)] >= 0; })) {
          for (const char b : one) symbols.push_back(byte_ids[static_cast<unsigned char>(b)]);
        } else {
          add_unknown();
        }
      }
    }
    if (pending) symbols.push_back(*unknown);
    if (symbols.size() > 1) merge_symbols(symbols, merges);
    out.insert(out.end(), symbols.begin(), symbols.end());
  }
};

}  // namespace plumb::inline v0::detail

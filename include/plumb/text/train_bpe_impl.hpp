// SPDX-License-Identifier: BSL-1.0
// The bodies of text/train_bpe.hpp. Collected by plumb/impl.hpp, which one .cpp of a program includes.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include <plumb/core/error.hpp>
#include <plumb/core/types.hpp>
#include <plumb/io/json.hpp>
#include <plumb/text/added_tokens.hpp>
#include <plumb/text/byte_alphabet.hpp>
#include <plumb/text/patterns.hpp>
#include <plumb/text/train_bpe.hpp>

namespace plumb::inline v0 {

namespace detail {

/// The state of training: distinct words as token lists with their counts, and the pairs that occur in them.
class bpe_trainer {
 public:
  explicit bpe_trainer(std::vector<std::string> special_tokens) : tokens_(std::move(special_tokens)) {
    // The bytes follow the special tokens, in the order of their characters.
    std::array<std::size_t, 256> order{};
    for (std::size_t b = 0; b < 256; ++b) order[b] = b;
    std::sort(order.begin(), order.end(),
              [](std::size_t a, std::size_t b) { return byte_characters[a] < byte_characters[b]; });
    for (const std::size_t b : order) {
      byte_ids_[b] = static_cast<token_id>(tokens_.size());
      append_utf8(tokens_.emplace_back(), byte_characters[b]);
    }
    for (std::size_t i = 0; i < tokens_.size(); ++i) ids_.emplace(tokens_[i], static_cast<token_id>(i));
  }

  void count_word(std::string_view word) {
    const auto [at, fresh] = word_index_.emplace(word, words_.size());
    if (fresh) {
      entry& added = words_.emplace_back();
      for (const char b : word) added.symbols.push_back(byte_ids_[static_cast<unsigned char>(b)]);
    }
    ++words_[at->second].count;
  }

  /// Learns merges until there are `size` tokens or no pair occurs `least` times.
  void learn(std::size_t size, std::int64_t least) {
    for (std::uint32_t w = 0; w < words_.size(); ++w) {
      const auto& symbols = words_[w].symbols;
      for (std::size_t i = 0; i + 1 < symbols.size(); ++i) change(symbols[i], symbols[i + 1], words_[w].count, w);
    }
    for (const auto& [pair, uses] : pairs_) heap_.push_back({uses.count, pair});
    std::make_heap(heap_.begin(), heap_.end());
    while (tokens_.size() < size && !heap_.empty()) {
      std::pop_heap(heap_.begin(), heap_.end());
      const candidate best = heap_.back();
      heap_.pop_back();
      const auto uses = pairs_.find(best.pair);
      if (uses == pairs_.end() || uses->second.count <= 0) continue;
      if (uses->second.count != best.count) {  // merges took some of its places since it was queued
        push({uses->second.count, best.pair});
        continue;
      }
      if (best.count < least) return;
      merge(best.pair, std::move(uses->second.where));
    }
  }

  [[nodiscard]] const std::vector<std::string>& tokens() const noexcept { return tokens_; }
  [[nodiscard]] const std::vector<std::pair<token_id, token_id>>& merges() const noexcept { return merges_; }

 private:
  using pair_key = std::uint64_t;
  struct entry {
    std::vector<token_id> symbols;
    std::int64_t count = 0;
  };
  struct pair_uses {
    std::int64_t count = 0;
    std::vector<std::uint32_t> where;  // words in which it was seen; may repeat, may be out of date
  };
  /// The heap's order: most frequent first; among equals the pair of smaller numbers.
  struct candidate {
    std::int64_t count;
    pair_key pair;
    friend bool operator<(const candidate& a, const candidate& b) noexcept {
      return a.count != b.count ? a.count < b.count : a.pair > b.pair;
    }
  };

  static pair_key key(token_id left, token_id right) noexcept {
    return (static_cast<pair_key>(left) << 32) | static_cast<pair_key>(right);
  }

  void push(const candidate& item) {
    heap_.push_back(item);
    std::push_heap(heap_.begin(), heap_.end());
  }

  void change(token_id left, token_id right, std::int64_t by, std::uint32_t word) {
    pair_uses& uses = pairs_[key(left, right)];
    uses.count += by;
    if (by > 0 && (uses.where.empty() || uses.where.back() != word)) uses.where.push_back(word);
  }

  void merge(pair_key pair, std::vector<std::uint32_t> where) {
    const auto left = static_cast<token_id>(pair >> 32), right = static_cast<token_id>(pair & 0xFFFFFFFFu);
    const std::string text = tokens_[static_cast<std::size_t>(left)] + tokens_[static_cast<std::size_t>(right)];
    // Two different pairs can spell the same token; then both lead to the one that exists.
    const auto [at, fresh] = ids_.emplace(text, static_cast<token_id>(tokens_.size()));
    if (fresh) tokens_.push_back(text);
    const token_id merged = at->second;
    merges_.emplace_back(left, right);

    std::sort(where.begin(), where.end());
    where.erase(std::unique(where.begin(), where.end()), where.end());
    std::vector<pair_key> born;
    for (const std::uint32_t w : where) {
      auto& symbols = words_[w].symbols;
      const std::int64_t count = words_[w].count;
      std::size_t kept = 0;
      for (std::size_t i = 0; i < symbols.size(); ++i) {
        if (i + 1 == symbols.size() || symbols[i] != left || symbols[i + 1] != right) {
          symbols[kept++] = symbols[i];
          continue;
        }
        if (kept > 0) {
          change(symbols[kept - 1], left, -count, w);
          change(symbols[kept - 1], merged, count, w);
          born.push_back(key(symbols[kept - 1], merged));
        }
        if (i + 2 < symbols.size()) {
          change(right, symbols[i + 2], -count, w);
          change(merged, symbols[i + 2], count, w);
          born.push_back(key(merged, symbols[i + 2]));
        }
        symbols[kept++] = merged;
        ++i;
      }
      symbols.resize(kept);
    }
    pairs_.erase(pair);
    std::sort(born.begin(), born.end());
    born.erase(std::unique(born.begin(), born.end()), born.end());
    for (const pair_key key : born) {
      const auto uses = pairs_.find(key);
      if (uses != pairs_.end() && uses->second.count > 0) push({uses->second.count, key});
    }
  }

  std::vector<std::string> tokens_;
  std::unordered_map<std::string, token_id> ids_;
  std::array<token_id, 256> byte_ids_{};
  std::unordered_map<std::string, std::size_t> word_index_;
  std::vector<entry> words_;
  std::unordered_map<pair_key, pair_uses> pairs_;
  std::vector<candidate> heap_;
  std::vector<std::pair<token_id, token_id>> merges_;
};

/// The trained tokenizer as the text of a tokenizer.json.
inline std::string trained_json(const bpe_trainer& trainer, std::size_t special_count) {
  const auto text = [](const std::string& s) { return json::value(boost::json::string_view(s.data(), s.size())); };
  const json::object byte_level{
      {"type", "ByteLevel"}, {"add_prefix_space", false}, {"trim_offsets", true}, {"use_regex", true}};
  json::array added, merges;
  json::object vocab;
  for (std::size_t i = 0; i < trainer.tokens().size(); ++i) {
    vocab[boost::json::string_view(trainer.tokens()[i].data(), trainer.tokens()[i].size())] = i;
    if (i >= special_count) continue;
    added.push_back(json::object{{"id", i},
                                 {"content", text(trainer.tokens()[i])},
                                 {"single_word", false},
                                 {"lstrip", false},
                                 {"rstrip", false},
                                 {"normalized", false},
                                 {"special", true}});
  }
  for (const auto& [left, right] : trainer.merges()) {
    merges.push_back(text(trainer.tokens()[static_cast<std::size_t>(left)] + " " +
                          trainer.tokens()[static_cast<std::size_t>(right)]));
  }
  json::object model{{"type", "BPE"},
                     {"dropout", nullptr},
                     {"unk_token", nullptr},
                     {"continuing_subword_prefix", nullptr},
                     {"end_of_word_suffix", nullptr},
                     {"fuse_unk", false},
                     {"byte_fallback", false},
                     {"ignore_merges", false},
                     {"vocab", std::move(vocab)},
                     {"merges", std::move(merges)}};
  const json::object whole{{"version", "1.0"},
                           {"truncation", nullptr},
                           {"padding", nullptr},
                           {"added_tokens", std::move(added)},
                           {"normalizer", nullptr},
                           {"pre_tokenizer", byte_level},
                           {"post_processor", byte_level},
                           {"decoder", byte_level},
                           {"model", std::move(model)}};
  return json::dump(whole, 1) + "\n";
}

}  // namespace detail

tokenizer train_bpe(std::span<const std::string> texts, index_t vocabulary_size,
                    const std::vector<std::string>& special_tokens, index_t least_count) {
  const std::size_t special_count = special_tokens.size();
  if (vocabulary_size < static_cast<index_t>(256 + special_count)) {
    throw error(errc::bad_argument, "train_bpe",
                join("expected a vocabulary of at least ", 256 + special_count, " tokens (256 bytes, ", special_count,
                     " special), found ", vocabulary_size));
  }
  std::vector<detail::added_token> specials(special_count);
  detail::token_finder finder;
  for (std::size_t i = 0; i < special_count; ++i) {
    const std::string& content = special_tokens[i];
    const auto bytes = from_byte_alphabet(content);
    const bool repeated = std::find(special_tokens.begin(), special_tokens.begin() + static_cast<std::ptrdiff_t>(i),
                                    content) != special_tokens.begin() + static_cast<std::ptrdiff_t>(i);
    if (content.empty() || repeated || (bytes && bytes->size() == 1) || first_invalid_utf8(content) != content.size()) {
      throw error(
          errc::bad_argument, "train_bpe",
          join("special token ", i, " must be UTF-8 of at least two characters and not repeated: \"", content, "\""));
    }
    specials[i].content = content;
    finder.add(special_tokens[i], specials[i]);
  }
  detail::bpe_trainer trainer(special_tokens);
  for (const std::string& text : texts) {
    const std::string valid = to_valid_utf8(text);
    finder.split(
        valid,
        [&](std::string_view gap) {
          for_each_word(gap, word_pattern{}, [&](std::string_view w) { trainer.count_word(w); });
        },
        [](const detail::added_token&) {});
  }
  trainer.learn(static_cast<std::size_t>(vocabulary_size), least_count);
  return tokenizer::from_json(detail::trained_json(trainer, special_count), "train_bpe");
}

}  // namespace plumb::inline v0

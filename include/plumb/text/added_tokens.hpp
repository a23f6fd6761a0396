// SPDX-License-Identifier: BSL-1.0
// Tokens that are found in a text before anything else looks at it, such as <|im_start|>.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include <plumb/core/types.hpp>
#include <plumb/text/unicode.hpp>

namespace plumb::inline v0::detail {

/// One entry of "added_tokens" in a tokenizer.json.
struct added_token {
  token_id id = 0;
  std::string content;
  bool special = false;      // a control token: `decode` can leave it out
  bool single_word = false;  // only where no letter or digit touches it
  bool lstrip = false;       // takes the white space before it along
  bool rstrip = false;       // takes the white space behind it along
  bool normalized = false;   // is looked for in the normalised text, as its own content normalised
};

/// Finds the longest of many texts at each position, left to right.
class token_finder {
 public:
  /// `key` is what to look for; it and `token` must outlive the finder.
  void add(std::string_view key, const added_token& token) {
    if (key.empty()) return;
    auto& sizes = sizes_[static_cast<unsigned char>(key.front())];
    const auto at =
        std::lower_bound(sizes.begin(), sizes.end(), key.size(), [](std::size_t a, std::size_t b) { return a > b; });
    if (at == sizes.end() || *at != key.size()) sizes.insert(at, key.size());
    tokens_.insert_or_assign(key, &token);
  }

  [[nodiscard]] bool empty() const noexcept { return tokens_.empty(); }

  /// Calls `gap(text)` and `hit(token)` for the parts of `text`, in order.
  template <class Gap, class Hit>
  void split(std::string_view text, Gap gap, Hit hit) const {
    std::size_t done = 0;
    for (std::size_t at = 0; at < text.size() && !tokens_.empty();) {
      const auto [token, size] = match(text, at);
      if (token == nullptr) {
        ++at;
        continue;
      }
      std::size_t begin = at, end = at + size;
      at = end;
      if (token->single_word && touches_word(text, begin, end)) continue;
      while (token->lstrip && begin > done && is_space(character_at(text, before(text, begin)).kind))
        begin = before(text, begin);
      for (character c = character_at(text, end); token->rstrip && c && is_space(c.kind); c = character_at(text, end)) {
        end += c.size;
      }
      if (begin > done) gap(text.substr(done, begin - done));
      hit(*token);
      done = end;
      at = std::max(at, done);
    }
    if (done < text.size()) gap(text.substr(done));
  }

 private:
  struct found {
    const added_token* token;
    std::size_t size;
  };

  [[nodiscard]] found match(std::string_view text, std::size_t at) const {
    for (const std::size_t size : sizes_[static_cast<unsigned char>(text[at])]) {
      if (size > text.size() - at) continue;
      const auto hit = tokens_.find(text.substr(at, size));
      if (hit != tokens_.end()) return {hit->second, size};
    }
    return {nullptr, 0};
  }

  static bool touches_word(std::string_view text, std::size_t begin, std::size_t end) noexcept {
    return (begin > 0 && is_word(character_at(text, before(text, begin)).code)) ||
           (end < text.size() && is_word(character_at(text, end).code));
  }

  std::array<std::vector<std::size_t>, 256> sizes_;  // by first byte: lengths that occur, longest first
  std::unordered_map<std::string_view, const added_token*> tokens_;
};

}  // namespace plumb::inline v0::detail

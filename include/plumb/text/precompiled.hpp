// SPDX-License-Identifier: BSL-1.0
// The compiled rewriting table of a SentencePiece model (NFKC and the like): characters to their replacements.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <string>
#include <string_view>

#include <plumb/core/error.hpp>
#include <plumb/io/utf8.hpp>

namespace plumb::inline v0::detail {

/// A normalizer step: at every place the longest key of the table is replaced, other characters stay.
///
/// The table: u32 size of a double-array trie, the trie, then replacements, each ended by a zero byte. Every step through
/// the trie is checked against its size, so a damaged table cannot lead out of it. (The Python package `tokenizers`
/// takes the shortest key of a whole grapheme instead; SentencePiece, which defines the table, takes the longest.)
class precompiled_step {
 public:
  explicit precompiled_step(std::string table, const std::string& place) {
    std::uint32_t size = 0;
    if (table.size() >= 4) std::memcpy(&size, table.data(), 4);
    if (table.size() < 4 || size % 4 != 0 || size == 0 || size > table.size() - 4)
      throw error(errc::bad_file, place, "the compiled table of the normalizer is cut off or damaged");
    units_ = size / 4;
    table_ = std::make_shared<const std::string>(std::move(table));
  }

  void apply(std::string& text) const {
    std::string out;
    out.reserve(text.size());
    for (std::size_t at = 0; at < text.size();) {
      const auto [value, size] = longest(std::string_view(text).substr(at));
      if (size > 0) {
        out += replacement(value);
        at += size;
      } else {
        const std::size_t one = utf8_at(text, at).size;
        out.append(text, at, one);
        at += one;
      }
    }
    text = std::move(out);
  }

 private:
  struct hit {
    std::uint32_t value = 0;
    std::size_t size = 0;
  };

  [[nodiscard]] std::uint32_t unit(std::size_t i) const noexcept {
    std::uint32_t out = 0;
    std::memcpy(&out, table_->data() + 4 + 4 * i, 4);
    return out;
  }

  /// The longest key that `text` begins with. A unit holds: 8 bits of label, "has a leaf", and the offset to children.
  [[nodiscard]] hit longest(std::string_view text) const noexcept {
    const auto children = [](std::uint32_t u) -> std::size_t { return (u >> 10) << ((u & (1u << 9)) >> 6); };
    hit out;
    std::size_t node = children(unit(0));
    for (std::size_t i = 0; i < text.size() && i < 256; ++i) {  // no real key is nearly that long
      const auto label = static_cast<unsigned char>(text[i]);
      node ^= label;
      if (node >= units_) return out;
      const std::uint32_t u = unit(node);
      if ((u & 0x800000FFu) != label) return out;
      node ^= children(u);
      if (((u >> 8) & 1u) != 0) {
        if (node >= units_) return out;
        out = {unit(node) & 0x7FFFFFFFu, i + 1};
      }
    }
    return out;
  }

  [[nodiscard]] std::string_view replacement(std::uint32_t at) const noexcept {
    const std::string_view all = std::string_view(*table_).substr(4 + 4 * units_);
    if (at >= all.size()) return {};
    return all.substr(at, std::min(all.find('\0', at), all.size()) - at);
  }

  std::shared_ptr<const std::string> table_;
  std::size_t units_ = 0;
};

}  // namespace plumb::inline v0::detail

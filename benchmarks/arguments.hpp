// SPDX-License-Identifier: BSL-1.0
// The command line of a benchmark: "--name" and "--name value", nothing else.
#pragma once

#include <charconv>
#include <string>
#include <string_view>
#include <vector>

#include <plumb/core/error.hpp>

namespace bench {

/// Options are taken one by one; what is left when all are taken is an error.
class arguments {
 public:
  arguments(int count, char** words) : words_(words + 1, words + count) {}

  /// Was "--name" given?
  bool flag(std::string_view name) {
    for (std::size_t i = 0; i < words_.size(); ++i)
      if (words_[i] == name) return words_.erase(words_.begin() + static_cast<std::ptrdiff_t>(i)), true;
    return false;
  }
  /// The word after "--name", or `otherwise`.
  std::string text(std::string_view name, std::string otherwise) {
    for (std::size_t i = 0; i + 1 < words_.size(); ++i) {
      if (words_[i] != name) continue;
      std::string value = words_[i + 1];
      const auto at = words_.begin() + static_cast<std::ptrdiff_t>(i);
      words_.erase(at, at + 2);
      return value;
    }
    return otherwise;
  }
  /// The number after "--name", at least `least`.
  int number(std::string_view name, int otherwise, int least) {
    const std::string word = text(name, plumb::join(otherwise));
    int value = 0;
    const auto end = word.data() + word.size();
    if (const auto [stop, code] = std::from_chars(word.data(), end, value);
        stop != end || code != std::errc{} || value < least)
      throw plumb::error(plumb::errc::bad_argument, std::string(name),
                         plumb::join("expected a whole number from ", least, ", found \"", word, "\""));
    return value;
  }
  /// Throws errc::bad_argument for a word that nobody took, with the benchmark's usage.
  void done(std::string_view usage) const {
    if (!words_.empty())
      throw plumb::error(plumb::errc::bad_argument, words_.front(), plumb::join("unknown option; usage: ", usage));
  }

 private:
  std::vector<std::string> words_;
};

/// "a,b,c" as its parts.
inline std::vector<std::string> parts_of(std::string_view list) {
  std::vector<std::string> out;
  while (!list.empty()) {
    const std::size_t end = list.find(',');
    out.emplace_back(list.substr(0, end));
    list.remove_prefix(end == std::string_view::npos ? list.size() : end + 1);
  }
  return out;
}

}  // namespace bench

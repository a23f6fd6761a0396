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
    return read(name, otherwise, plumb::join("a whole number from ", least), [&](int found) { return found >= least; });
  }
  /// The number after "--name" from 0 to 1, without 1.
  double share(std::string_view name, double otherwise) {
    return read(name, otherwise, "a number from 0 to 1, without 1",
                [](double found) { return found >= 0 && found < 1; });
  }
  /// Throws errc::bad_argument for a word that nobody took, with the benchmark's usage.
  void done(std::string_view usage) const {
    if (!words_.empty())
      throw plumb::error(plumb::errc::bad_argument, words_.front(), plumb::join("unknown option; usage: ", usage));
  }

 private:
  template <class T, class Fits>
  T read(std::string_view name, T otherwise, const std::string& expected, Fits fits) {
    const std::string word = text(name, plumb::join(otherwise));
    T value{};
    const auto end = word.data() + word.size();
    if (const auto [stop, code] = std::from_chars(word.data(), end, value);
        stop != end || code != std::errc{} || !fits(value))
      throw plumb::error(plumb::errc::bad_argument, std::string(name),
                         plumb::join("expected ", expected, ", found \"", word, "\""));
    return value;
  }

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

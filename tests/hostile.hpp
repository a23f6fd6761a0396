// SPDX-License-Identifier: BSL-1.0
// What the tests of files from strangers share: every prefix and thousands of random changes of a file end in plumb::error or
// in a valid load, soon and in little memory. The numbers here are what a quick run affords; PLUMB_MUTATIONS=10000 asks
// for more, with every prefix, and is meant for a build with -fsanitize=address,undefined.
#pragma once

#include <plumb/backend/cpu.hpp>
#include <plumb/models/language_model.hpp>
#include <plumb/rollout/score.hpp>
#include <plumb/train/environment.hpp>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <ctime>

#include "catch.hpp"
#include "support.hpp"

namespace plumb_test {

using namespace plumb;

inline const std::filesystem::path golden = repository() / "tests" / "golden";

/// How many random changes of each file; the environment may ask for more.
inline index_t mutations() {
  const char* const asked = std::getenv("PLUMB_MUTATIONS");
  return asked != nullptr ? std::atol(asked) : 1000;
}

/// A random change of some bytes; a function of the seed.
class mutator {
 public:
  explicit mutator(std::uint64_t seed) : key_(derive_key(seed, 77)) {}

  std::string operator()(std::string s) {
    for (std::uint64_t count = below(2) == 0 ? 1 : 1 + below(4); count > 0; --count) change(s);
    return s;
  }

 private:
  std::uint64_t word() {
    const std::uint64_t high = philox_word(key_, at_), low = philox_word(key_, at_ + 1);
    at_ += 2;
    return high << 32 | low;
  }
  std::uint64_t below(std::uint64_t n) { return n > 0 ? word() % n : 0; }
  std::size_t place(const std::string& s) { return static_cast<std::size_t>(below(s.size())); }
  std::size_t length(const std::string& s, std::size_t from) {
    return std::min(static_cast<std::size_t>(1 + below(std::uint64_t{1} << below(8))), s.size() - from);
  }

  void change(std::string& s) {
    if (s.empty()) return s.push_back(static_cast<char>(below(256))), void();
    const std::size_t at = place(s);
    switch (below(11)) {
      case 0: s[at] = static_cast<char>(s[at] ^ (1 << below(8))); break;
      case 1: s[at] = static_cast<char>(below(256)); break;
      case 2: s.insert(at, 1 + below(8), static_cast<char>(below(256))); break;
      case 3: s.erase(at, length(s, at)); break;
      case 4: s.insert(place(s), s.substr(at, length(s, at))); break;  // a stretch twice
      case 5: edit_decimal(s, at); break;
      case 6: edit_binary(s, at); break;
      case 7:
      case 8: edit_word(s, at); break;
      case 9: edit_decimal(s, at); break;
      default: s[at] = "\"{}[]:,\\%-.0aenu \n"[below(18)]; break;
    }
  }
  /// One of the words of a list.
  std::string one_of(std::string_view list) {
    std::uint64_t which = below(1 + static_cast<std::uint64_t>(std::count(list.begin(), list.end(), ' ')));
    for (; which > 0; --which) list.remove_prefix(list.find(' ') + 1);
    return std::string(list.substr(0, list.find(' ')));
  }
  /// The next number in digits becomes one that somebody may have forgotten.
  void edit_decimal(std::string& s, std::size_t at) {
    constexpr std::string_view numbers =
        "0 -1 1 2 3 7 255 65536 2147483647 2147483648 4294967295 4294967296 9223372036854775807 9223372036854775808 "
        "18446744073709551615 -9223372036854775808 1e308 -1e308 1e400 1e-320 0.5 null true [] {} "
        "\"\" 1152921504606846976 100000 1000000000";
    const auto digit = [](char c) { return c >= '0' && c <= '9'; };
    const auto from = std::find_if(s.begin() + static_cast<std::ptrdiff_t>(at), s.end(), digit);
    if (from == s.end()) return edit_binary(s, at);
    s.replace(from, std::find_if_not(from, s.end(), digit), one_of(numbers));
  }
  /// A word in quotation marks becomes another one of the file, or no word.
  void edit_word(std::string& s, std::size_t at) {
    const auto next = [&](std::size_t from) {
      const std::size_t begin = s.find('"', from), end = begin < s.size() ? s.find('"', begin + 1) : begin;
      return end < s.size() ? std::pair(begin, end + 1 - begin) : std::pair(std::string::npos, std::size_t{0});
    };
    const auto [begin, size] = next(at);
    if (begin == std::string::npos) return edit_binary(s, at);
    const auto [other, length_of_other] = next(place(s));
    const bool none = other == std::string::npos || below(3) == 0;
    s.replace(begin, size, none ? one_of("null [] {} 17 -1 true \"\" [[]]") : s.substr(other, length_of_other));
  }
  /// One, two, four or eight bytes become an extreme number, little-endian.
  void edit_binary(std::string& s, std::size_t at) {
    static constexpr std::uint64_t numbers[] = {0,
                                                1,
                                                2,
                                                0x7f,
                                                0x80,
                                                0xff,
                                                0xffff,
                                                0x7fffffff,
                                                0x80000000,
                                                0xffffffff,
                                                0x100000000,
                                                0x7fffffffffffffff,
                                                0x8000000000000000,
                                                0xffffffffffffffff,
                                                0x1000000000000000};
    const std::uint64_t number = below(4) == 0 ? word() : numbers[below(std::size(numbers))];
    const std::size_t width = std::min(std::size_t{1} << below(4), s.size() - at);
    std::memcpy(s.data() + at, &number, width);
  }

  std::uint64_t key_, at_ = 0;
};

/// Keeps what made a test fail, where PLUMB_MUTATIONS_KEEP names a file.
inline void keep(const std::string& changed) {
  if (const char* const path = std::getenv("PLUMB_MUTATIONS_KEEP")) write_file(path, changed);
}

/// What happened to the changed files.
struct tally {
  index_t loaded = 0, refused = 0;
  double slowest = 0;
};

/// Loads prefixes and mutations of a file. Anything but a load or a plumb::error fails, with what made it.
inline tally attack(const std::string& what, const std::string& file, function_ref<void(const std::string&)> load) {
  tally out;
  const auto before = peak_memory_bytes();
  const auto attempt = [&](const std::string& changed, std::string_view how, std::uint64_t which) {
    const std::clock_t start = std::clock();  // of the processor: the machine may be busy
    try {
      load(changed);
      ++out.loaded;
    } catch (const error&) {
      ++out.refused;
    } catch (const std::exception& problem) {
      keep(changed);
      FAIL_CHECK(what << ", " << how << " " << which << ": not plumb::error: " << problem.what());
    }
    const double seconds = static_cast<double>(std::clock() - start) / CLOCKS_PER_SEC;
    if (seconds > 2) {
      keep(changed);
      FAIL_CHECK(what << ", " << how << " " << which << ": took " << seconds << " s");
    }
    out.slowest = std::max(out.slowest, seconds);
  };
  load(file);  // unchanged, it is good
  const index_t count = mutations();
  const std::size_t stride =
      count >= 10'000 ? 1 : std::max<std::size_t>(1, file.size() / static_cast<std::size_t>(count));
  for (std::size_t size = 0; size < file.size(); size += stride) attempt(file.substr(0, size), "prefix", size);
  for (index_t i = 0; i < count; ++i)
    attempt(mutator(static_cast<std::uint64_t>(i))(file), "mutation", static_cast<std::uint64_t>(i));
  CHECK(peak_memory_bytes() - before < (index_t{512} << 20));
  CHECK(out.refused > 0);
  if (std::getenv("PLUMB_MUTATIONS"))
    WARN(what << ": " << out.loaded << " loaded, " << out.refused << " refused, slowest " << out.slowest << " s");
  return out;
}

/// The same for files that are read from a folder.
inline tally attack_file(const std::string& what, const std::filesystem::path& path, function_ref<void()> load) {
  const std::string file = read_file(path);
  const tally out = attack(what, file, [&](const std::string& changed) {
    write_file(path, changed);
    load();
  });
  write_file(path, file);
  return out;
}

inline void use(const tokenizer& words) {
  const auto ids = words.encode("Hello, wörld! <s> 123\n\t\xF0\x9F\x98\x80 \xFF</s>");
  (void)words.decode(ids);
  (void)words.hash();
  for (token_id id = 0; id < std::min<index_t>(words.size(), 300); ++id) (void)words.token(id);
}

inline void use(const language_model<cpu>& model) {
  scored_tokens some{{1, 2, 3, 4, 5}};
  for (token_id& id : some.ids) id = static_cast<token_id>(id % model.config().vocabulary);
  (void)score(model, std::span(&some, 1));
}

inline std::filesystem::path copied(const temporary_folder& folder, std::string_view name) {
  std::filesystem::copy(golden / name, folder / name, std::filesystem::copy_options::recursive);
  return folder / name;
}

/// The same for the header of a safetensors file alone: its data stays, and its length is what it has become.
inline tally attack_header(const std::string& what, const std::filesystem::path& path, function_ref<void()> load) {
  const std::string file = read_file(path);
  std::uint64_t size = 0;
  std::memcpy(&size, file.data(), sizeof(size));
  const tally out = attack(what + ", its header", file.substr(8, size), [&](const std::string& changed) {
    std::string whole(8, '\0');
    const std::uint64_t length = changed.size();
    std::memcpy(whole.data(), &length, sizeof(length));
    write_file(path, whole + changed + file.substr(8 + size));
    load();
  });
  write_file(path, file);
  return out;
}

}  // namespace plumb_test

// SPDX-License-Identifier: BSL-1.0
// Rows of a file as a lazy range, for data that is filtered, mixed or cut before anything is kept. Includes range-v3; the
// umbrella header does not include this one.
#pragma once

#include <filesystem>
#include <memory>
#include <string>
#include <string_view>

#include <range/v3/view/facade.hpp>
#include <range/v3/view/transform.hpp>

#include <plumb/core/error.hpp>
#include <plumb/data/read.hpp>
#include <plumb/io/file.hpp>
#include <plumb/io/json.hpp>

namespace plumb::inline v0 {

/// A row as it stands in the file.
struct json_row {
  json::value value;
  std::string place;  ///< "file:line"
};

/// The rows of a JSON Lines file, each parsed when it is reached: an input range of json_row. The file is mapped, not read.
/// Throws errc::bad_file at the malformed line, when it is reached.
class json_rows : public ranges::view_facade<json_rows> {
 public:
  json_rows() = default;
  explicit json_rows(const std::filesystem::path& path) : state_(std::make_shared<state>(path)) { state_->next(); }

 private:
  friend ranges::range_access;
  struct state {
    explicit state(const std::filesystem::path& path) : file(path), rest(file.text()), name(path.string()) {}
    /// Finds the next line that is not blank; it is parsed when it is read.
    void next() {
      parsed = false;
      do {
        const auto end = rest.find('\n');
        line = rest.substr(0, end);
        done = rest.empty();
        rest.remove_prefix(end == std::string_view::npos ? rest.size() : end + 1);
        ++number;
      } while (!done && line.find_first_not_of(" \t\r") == std::string_view::npos);
    }
    const json_row& read() {
      if (!parsed) row = {json::parse(line, name, {.first_line = number}), join(name, ":", number)};
      parsed = true;
      return row;
    }
    mapped_file file;
    std::string_view rest, line;
    std::string name;
    std::size_t number = 0;
    json_row row;
    bool parsed = false, done = false;
  };
  struct cursor {
    std::shared_ptr<state> at;
    const json_row& read() const { return at->read(); }
    void next() { at->next(); }
    bool equal(ranges::default_sentinel_t) const { return !at || at->done; }
  };
  cursor begin_cursor() const { return {state_}; }
  ranges::default_sentinel_t end_cursor() const { return {}; }

  std::shared_ptr<state> state_;
};

/// Preferences of a file, tokenised one by one as they are reached.
///
///   auto short_pairs = plumb::stream_pairs("pairs.jsonl", words)
///                    | ranges::views::filter([](const plumb::example& e) { return e.prompt.size() < 200; })
///                    | ranges::views::take(1000) | ranges::to<std::vector>();
///
/// `words` is copied (a tokenizer's copies share their data).
inline auto stream_pairs(const std::filesystem::path& path, tokenizer words, read_options o = {}) {
  return json_rows(path) | ranges::views::transform([words = std::move(words), o](const json_row& r) {
           return parse_pair(r.value, r.place, &words, o);
         });
}
/// Demonstrations of a file, tokenised one by one as they are reached.
inline auto stream_demonstrations(const std::filesystem::path& path, tokenizer words, read_options o = {}) {
  return json_rows(path) | ranges::views::transform([words = std::move(words), o](const json_row& r) {
           return parse_demonstration(r.value, r.place, &words, o);
         });
}

}  // namespace plumb::inline v0

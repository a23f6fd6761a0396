// SPDX-License-Identifier: BSL-1.0
// The command line: what a command takes, what the user gave, and help. A mistake throws plumb::error, bad_argument.
#pragma once

#include <plumb/backend/plan.hpp>
#include <plumb/core/error.hpp>
#include <plumb/core/types.hpp>
#include <plumb/models/weight_storage.hpp>

#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace program {

using namespace plumb;

/// An option of a command; one without `value` is a switch.
struct option {
  std::string_view name;   ///< "--in"
  std::string_view value;  ///< what help calls its value, "F"
  std::string_view meaning;
  enum { once, many, many_words } how = once;  ///< many_words: "--set a=1 b=2" gives two
};

class arguments;

/// A command of the program.
struct command {
  std::string_view name;
  std::string_view takes;    ///< positional argument as help calls it, or empty
  std::string_view summary;  ///< one line
  std::string_view details;  ///< what goes in and comes out
  std::string_view example;  ///< shell lines that work in a folder with the model that they name
  std::vector<option> options;
  int (*run)(const arguments&);
};

/// Of the commands that run a model.
inline constexpr option positions_option{
    "--positions", "N",
    "longest text in tokens (default: the model's own length, at most 32768); dynamic and longrope scaling follow it"};

/// The options that every command takes.
std::span<const option> common_option_list();

/// What stands on the command line after the command's name.
class arguments {
 public:
  /// Throws errc::bad_argument for unknown options (naming the nearest), missing values, too many words.
  arguments(const command& what, std::span<const std::string_view> words);

  [[nodiscard]] bool has(std::string_view option) const { return values_.contains(option); }
  /// The value of an option, or `otherwise`.
  [[nodiscard]] std::string text(std::string_view option, std::string_view otherwise = {}) const;
  /// The value of an option that must be there.
  [[nodiscard]] std::string required(std::string_view option) const;
  /// All values of an option that may be given several times.
  [[nodiscard]] std::vector<std::string> all(std::string_view option) const;
  /// A whole number from `least` up.
  [[nodiscard]] index_t whole(std::string_view option, index_t otherwise, index_t least) const;
  [[nodiscard]] double number(std::string_view option, double otherwise) const;
  /// The positional argument; it must be there.
  [[nodiscard]] const std::string& operand() const;
  [[nodiscard]] bool has_operand() const noexcept { return !operand_.empty(); }
  [[nodiscard]] bool wants_help() const { return has("--help"); }
  [[nodiscard]] const command& what() const noexcept { return command_; }

 private:
  const command& command_;
  std::map<std::string, std::vector<std::string>, std::less<>> values_;
  std::string operand_;
};

/// Options of every command, checked.
struct common_options {
  int threads = 0;  ///< 0: all cores
  std::uint64_t seed = 0;
  bool reference = false;                          ///< plain loops instead of the fast backend
  bool wide = false;                               ///< float64
  weight_storage storage = weight_storage::plain;  ///< of the frozen model's maps
  product_precision products = product_precision::full;
  bool quiet = false;
  index_t positions = 0;  ///< longest text; 0: the model's own
  [[nodiscard]] std::string_view backend() const noexcept { return reference ? "reference" : "cpu"; }
  [[nodiscard]] std::string_view dtype() const noexcept {
    return wide ? "f64" : storage == weight_storage::plain ? "f32" : plumb::name(storage);
  }
  [[nodiscard]] std::string_view compute() const noexcept {
    return products == product_precision::bfloat16 ? "bf16" : "f32";
  }
};
common_options read_common(const arguments& given);
/// Throws unless the backend and the numbers can be computed with products of this precision.
void check_products(const common_options& common);

/// The text of `plumb COMMAND --help`, and of `plumb --help`.
std::string help(const command& what);
std::string help(std::span<const command* const> commands);

/// A path that must name a file; returned. Throws errc::not_found or bad_argument; `what` is the option.
std::string existing_file(const std::string& path, std::string_view what);

/// Reads a number of the user's, all of it; false when it is none.
bool read_number(std::string_view text, double& out);
bool read_number(std::string_view text, index_t& out);
bool read_number(std::string_view text, std::uint64_t& out);

/// "a,b," is "a", "b" and "".
std::vector<std::string_view> parts_between_commas(std::string_view text);

}  // namespace program

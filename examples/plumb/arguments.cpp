// SPDX-License-Identifier: BSL-1.0
// Reading the command line, and help.
#include "arguments.hpp"

#include <plumb/core/nearest.hpp>

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <filesystem>

namespace program {

namespace {

template <class Number>
bool read_all(std::string_view text, Number& out) {
  const auto [end, status] = std::from_chars(text.data(), text.data() + text.size(), out);
  return status == std::errc() && end == text.data() + text.size();
}

constexpr std::array common_list{
    option{"--threads", "N", "processor threads; 0, the default, takes all"},
    option{"--seed", "N", "of everything random (default 0)"},
    option{"--backend", "NAME", "cpu (default) or reference (plain loops, slow, to compare with)"},
    option{"--dtype", "TYPE",
           "f32 (default) or f64: the numbers to compute with; bf16, f16, int8, nf4, q8_0, q4_0 or stored (as the "
           "file has it): how the maps of the frozen model are kept"},
    option{"--compute", "TYPE",
           "f32 (default), or bf16: products may round to bfloat16 where the machine is faster at it (Intel's AMX, "
           "AMD's AVX-512 BF16)"},
    option{"--quiet", "", "no progress, notes or warnings"},
    option{"--help", "", "this text"},
};

const option* find_option(const command& what, std::string_view name) {
  for (const option& o : what.options)
    if (o.name == name) return &o;
  for (const option& o : common_list)
    if (o.name == name) return &o;
  return nullptr;
}

std::string usage(const command& what) {
  std::string out = join("plumb ", what.name);
  if (!what.takes.empty()) out += join(" ", what.takes);
  return out;
}

[[noreturn]] void wrong(std::string_view place, std::string_view message) {
  throw error(errc::bad_argument, std::string(place), message);
}

}  // namespace

bool read_number(std::string_view text, double& out) { return read_all(text, out) && std::isfinite(out); }
bool read_number(std::string_view text, index_t& out) { return read_all(text, out); }
bool read_number(std::string_view text, std::uint64_t& out) { return read_all(text, out); }

std::vector<std::string_view> parts_between_commas(std::string_view text) {
  std::vector<std::string_view> out;
  for (std::size_t at = 0; at <= text.size();) {
    const std::size_t end = std::min(text.find(',', at), text.size());
    out.push_back(text.substr(at, end - at));
    at = end + 1;
  }
  return out;
}

std::span<const option> common_option_list() { return common_list; }

arguments::arguments(const command& what, std::span<const std::string_view> words) : command_(what) {
  const auto is_option = [](std::string_view word) { return word.size() > 1 && word[0] == '-' && word != "-"; };
  for (std::size_t i = 0; i < words.size(); ++i) {
    std::string_view word = words[i];
    if (word == "-h") word = "--help";
    if (!is_option(word)) {
      if (what.takes.empty())
        wrong(word, join("`plumb ", what.name, "` takes options only; see plumb ", what.name, " --help"));
      if (!operand_.empty())
        wrong(word, join("expected one ", what.takes, " and options, found a second word after \"", operand_,
                         "\"; see plumb ", what.name, " --help"));
      operand_ = word;
      continue;
    }
    const std::size_t equals = word.find('=');
    const std::string name(word.substr(0, equals));
    const option* const o = find_option(what, name);
    if (o == nullptr) {
      std::vector<std::string_view> known;
      for (const option& each : what.options) known.push_back(each.name);
      for (const option& each : common_list) known.push_back(each.name);
      wrong("", join(unknown_name("option", name, known), "; see plumb ", what.name, " --help"));
    }
    auto& values = values_[name];
    if (!values.empty() && o->how == option::once) wrong(name, "given twice; leave one away");
    if (o->value.empty()) {
      if (equals != std::string_view::npos)
        wrong(name, join("takes no value, found \"", word.substr(equals + 1), "\""));
      values.emplace_back();
      continue;
    }
    if (equals != std::string_view::npos) {
      values.emplace_back(word.substr(equals + 1));
    } else {
      const bool missing = i + 1 == words.size() || (is_option(words[i + 1]) &&
                                                     find_option(what, words[i + 1].substr(0, words[i + 1].find('='))));
      if (missing)
        wrong(name, join("expected a value, ", name, " ", o->value, ", found ",
                         i + 1 == words.size() ? "the end" : words[i + 1],
                         "; a value that begins with a dash is written ", name, "=", o->value));
      values.emplace_back(words[++i]);
    }
    if (values.back().empty()) wrong(name, join("expected a value, ", name, " ", o->value, ", found an empty one"));
    while (o->how == option::many_words && i + 1 < words.size() && !is_option(words[i + 1]) &&
           words[i + 1].find('=') != std::string_view::npos)
      values.emplace_back(words[++i]);
  }
}

std::string arguments::text(std::string_view option, std::string_view otherwise) const {
  const auto found = values_.find(option);
  return found == values_.end() ? std::string(otherwise) : found->second.back();
}

std::string arguments::required(std::string_view option) const {
  if (has(option)) return text(option);
  const auto* const o = find_option(command_, option);
  wrong(option, join("is missing: give ", option, " ", o ? o->value : "", ", ", o ? o->meaning : "", "; see plumb ",
                     command_.name, " --help"));
}

std::vector<std::string> arguments::all(std::string_view option) const {
  const auto found = values_.find(option);
  return found == values_.end() ? std::vector<std::string>() : found->second;
}

index_t arguments::whole(std::string_view option, index_t otherwise, index_t least) const {
  if (!has(option)) return otherwise;
  index_t out = 0;
  if (!read_number(text(option), out) || out < least || out > (index_t{1} << 40))
    wrong(option, join("expected a whole number from ", least, ", found \"", text(option), "\""));
  return out;
}

double arguments::number(std::string_view option, double otherwise) const {
  double out = otherwise;
  if (has(option) && !read_number(text(option), out))
    wrong(option, join("expected a finite number, found \"", text(option), "\""));
  return out;
}

const std::string& arguments::operand() const {
  if (operand_.empty())
    wrong("", join("expected ", command_.takes, " after `plumb ", command_.name, "`, found none; see plumb ",
                   command_.name, " --help"));
  return operand_;
}

common_options read_common(const arguments& given) {
  common_options out;
  out.threads = static_cast<int>(given.whole("--threads", 0, 0));
  if (given.whole("--threads", 0, 0) > 4096)
    wrong("--threads", join("expected at most 4096, found ", given.whole("--threads", 0, 0)));
  if (given.has("--seed") && !read_number(given.text("--seed"), out.seed))
    wrong("--seed", join("expected a whole number from 0, found \"", given.text("--seed"), "\""));
  out.quiet = given.has("--quiet");
  out.positions = given.whole("--positions", 0, 1);
  if (constexpr index_t most = index_t{1} << 20; out.positions > most)  // tables of angles grow with it
    wrong("--positions", join("expected at most ", most, ", found ", out.positions));

  constexpr std::string_view backends[] = {"cpu", "reference", "cuda"};
  const std::string backend = given.text("--backend", "cpu");
  if (backend == "cuda")
    throw error(errc::unsupported, "--backend",
                "this plumb program was built for processors alone; for a GPU, build your own program with plumb::cuda "
                "as its backend "
                "(CMake target plumb::cuda, header plumb/backend/cuda.hpp), or use --backend cpu");
  if (std::ranges::find(backends, backend) == std::end(backends))
    wrong("--backend", unknown_name("backend", backend, backends));
  out.reference = backend == "reference";

  constexpr std::string_view types[] = {"f32", "f64", "stored", "bf16", "f16", "int8", "nf4", "q8_0", "q4_0"};
  const std::string dtype = given.text("--dtype", "f32");
  if (std::ranges::find(types, dtype) == std::end(types)) wrong("--dtype", unknown_name("dtype", dtype, types));
  out.wide = dtype == "f64";
  if (dtype != "f32" && dtype != "f64") out.storage = weight_storage_of(dtype);

  constexpr std::string_view products[] = {"f32", "bf16"};
  const std::string compute = given.text("--compute", "f32");
  if (std::ranges::find(products, compute) == std::end(products))
    wrong("--compute", unknown_name("type to compute with", compute, products));
  if (compute == "bf16") out.products = product_precision::bfloat16;
  check_products(out);
  return out;
}

void check_products(const common_options& common) {
  if (common.products == product_precision::bfloat16 && (common.wide || common.reference))
    wrong("--compute", join("bf16 is for products of f32 on the cpu backend; found ",
                            common.wide ? "--dtype f64" : "--backend reference", "; leave one of them out"));
}

namespace {

/// Breaks a text into lines of at most 80 columns; a blank line stays one. Lines after the first are indented.
std::string wrap(std::string_view text, std::size_t indent = 0) {
  constexpr std::size_t columns = 80;
  std::string out;
  for (std::size_t at = 0, column = indent; at < text.size();) {
    if (text[at] == '\n' && at + 1 < text.size() && text[at + 1] == '\n') {
      out += "\n\n";
      column = 0;
      at += 2;
    } else if (text[at] == ' ' || text[at] == '\n') {
      ++at;
    } else {
      const std::size_t end = std::min(text.find_first_of(" \n", at), text.size());
      const bool first = out.empty() || out.back() == '\n';
      if (!first && column + 1 + (end - at) > columns) {
        out += "\n" + std::string(indent, ' ');
        column = indent;
      } else if (!first) {
        out += ' ';
        ++column;
      }
      out += text.substr(at, end - at);
      column += end - at;
      at = end;
    }
  }
  return out;
}

void list_options(std::string& out, std::span<const option> options) {
  std::size_t width = 0;
  for (const option& o : options) width = std::max(width, o.name.size() + (o.value.empty() ? 0 : 1 + o.value.size()));
  for (const option& o : options) {
    std::string left = o.value.empty() ? std::string(o.name) : join(o.name, " ", o.value);
    left.resize(width, ' ');
    out += join("  ", left, "  ", wrap(o.meaning, width + 4), "\n");
  }
}

}  // namespace

std::string help(const command& what) {
  std::string out = join(usage(what), what.options.empty() ? "" : " [option ...]", "\n\n", what.summary, "\n");
  if (!what.details.empty()) out += join("\n", wrap(what.details), "\n");
  if (!what.options.empty()) out += "\nOptions:\n";
  list_options(out, what.options);
  out += "\nOptions of every command:\n";
  list_options(out, common_list);
  return out + join("\nExample:\n", what.example, "\n");
}

std::string help(std::span<const command* const> commands) {
  std::string out =
      "plumb COMMAND [option ...]\n\nAligns language models: trains, samples and scores them, and lets you look "
      "inside.\n\nCommands:\n";
  std::size_t width = 0;
  for (const command* c : commands) width = std::max(width, c->name.size());
  for (const command* c : commands) {
    std::string name(c->name);
    name.resize(width, ' ');
    out += join("  ", name, "  ", c->summary, "\n");
  }
  return out +
         "\nplumb COMMAND --help explains a command and shows an example. plumb --version prints the version.\n"
         "Rows are JSON Lines; --in - reads them from standard input, and without --out results go to standard "
         "output.\n"
         "Exit codes: 0 done, 2 the input is wrong, 1 anything else, 130 interrupted.\n"
         "\nExample:\n  echo '{\"chosen\":{\"logp\":-1,\"ref\":-2},\"rejected\":{\"logp\":-3,\"ref\":-2}}' | plumb "
         "loss dpo --in -\n";
}

std::string existing_file(const std::string& path, std::string_view what) {
  std::error_code failed;
  const auto kind = std::filesystem::status(path, failed).type();
  if (kind == std::filesystem::file_type::not_found || kind == std::filesystem::file_type::none)
    throw error(errc::not_found, std::string(what), join("there is no file \"", path, "\""));
  if (kind == std::filesystem::file_type::directory)
    wrong(what, join("expected a file, found the folder \"", path, "\""));
  return path;
}

}  // namespace program

// SPDX-License-Identifier: BSL-1.0
// plumb: aligns language models from the command line. This file finds the command and turns errors into exit codes.
#include "commands.hpp"
#include "output.hpp"

#include <plumb/core/nearest.hpp>
#include <plumb/version.hpp>

#include <array>
#include <cstdio>
#include <exception>
#include <new>

namespace {

using namespace program;

constexpr std::array commands{&info_command,     &tokenize_command,   &render_command, &score_command,
                              &generate_command, &objectives_command, &loss_command,   &grad_command,
                              &train_command,    &merge_command,      &convert_command};

enum exit_code { done = 0, failed = 1, wrong_input = 2, interrupted = 130 };

void complain(std::string_view message) {
  const std::string line = plumb::join("plumb: ", message, "\n");
  std::fwrite(line.data(), 1, line.size(), stderr);
}

int print(const std::string& text) {
  const bool written = std::fwrite(text.data(), 1, text.size(), stdout) == text.size() && std::fflush(stdout) == 0;
  return written ? done : failed;
}

const command& find_command(std::string_view name) {
  std::vector<std::string_view> names;
  for (const command* c : commands) {
    if (c->name == name) return *c;
    names.push_back(c->name);
  }
  for (const std::string_view later : {"eval"})
    if (name == later)
      throw plumb::error(
          plumb::errc::unsupported, "",
          plumb::join("the command '", name, "' is not in this version; see plumb --help for those that are"));
  throw plumb::error(plumb::errc::bad_argument, "", plumb::unknown_name("command", name, names) + "; see plumb --help");
}

int run(std::span<const std::string_view> words) {
  if (words.empty()) {
    complain("expected a command, found none");
    const std::string text = help(commands);
    std::fwrite(text.data(), 1, text.size(), stderr);
    return wrong_input;
  }
  const std::string_view first = words[0];
  if (first == "--version") return print(plumb::join("plumb ", plumb::version, "\n"));
  if (first == "--help" || first == "-h" || first == "help")
    return print(words.size() > 1 && first == "help" ? help(find_command(words[1])) : help(commands));
  if (first.starts_with("-"))
    throw plumb::error(plumb::errc::bad_argument, std::string(first),
                       "expected a command first, options after it; see plumb --help");
  const command& what = find_command(first);
  const arguments given(what, words.subspan(1));
  return given.wants_help() ? print(help(what)) : what.run(given);
}

/// Wrong input is the user's to mend; a full disk or a failing device is not.
int code_of(plumb::errc code) {
  switch (code) {
    case plumb::errc::io:
    case plumb::errc::out_of_memory:
    case plumb::errc::device: return failed;
    case plumb::errc::cancelled: return interrupted;
    default: return wrong_input;
  }
}

}  // namespace

int main(int count, char** words) {
  try {
    prepare_process();
    return run(std::vector<std::string_view>(words + (count > 0 ? 1 : 0), words + count));
  } catch (const output_closed&) {
    return failed;  // whoever closed the pipe knows
  } catch (const interruption&) {
    complain("interrupted");
    return interrupted;
  } catch (const plumb::error& problem) {
    complain(problem.what());
    return code_of(problem.code());
  } catch (const std::bad_alloc&) {
    complain("not enough memory; use a smaller batch or fewer tokens at once");
    return failed;
  } catch (const std::exception& problem) {
    complain(problem.what());
    return failed;
  }
}

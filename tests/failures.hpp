// SPDX-License-Identifier: BSL-1.0
// What a call throws, for tests of bad input.
#pragma once

#include <optional>
#include <string>

#include <plumb/core/error.hpp>
#include "catch.hpp"

namespace plumb_test {

/// The plumb::error that f throws, or nothing.
template <class F>
std::optional<plumb::error> thrown(F&& f) {
  try {
    f();
  } catch (const plumb::error& e) {
    return e;
  }
  return std::nullopt;
}
/// Its message.
template <class F>
std::string message_of(F&& f) {
  const auto e = thrown(f);
  return e ? e->what() : "no error";
}
/// Its message, when its code is the expected one.
template <class F>
std::string message_of(plumb::errc expected, F&& f) {
  const auto e = thrown(f);
  if (!e) return "nothing was thrown";
  CHECK(e->code() == expected);
  return e->what();
}
/// Its code and its message.
template <class F>
std::string failure(F&& f) {
  const auto e = thrown(f);
  return e ? plumb::join(plumb::name(e->code()), " ", e->what()) : "nothing";
}

}  // namespace plumb_test

/// The expression throws an error of this code, whose message holds the text.
#define CHECK_MESSAGE(code, expression, text)                                           \
  do {                                                                                  \
    const std::string said = plumb_test::message_of(code, [&] { (void)(expression); }); \
    INFO(said);                                                                         \
    CHECK(said.find(text) != std::string::npos);                                        \
  } while (false)

/// The same, with the code by its name.
#define CHECK_FAILS(code_name, words, ...)                                   \
  do {                                                                       \
    const auto thrown_ = plumb_test::thrown([&] { (void)(__VA_ARGS__); });   \
    const std::string message_ = thrown_ ? thrown_->what() : "";             \
    INFO(message_);                                                          \
    CHECK((thrown_ ? plumb::name(thrown_->code()) : "none") == (code_name)); \
    CHECK(message_.find(words) != std::string::npos);                        \
  } while (false)

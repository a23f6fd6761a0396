// SPDX-License-Identifier: BSL-1.0
// A parsed chat template: tokens and the tree that the evaluator walks. Used by the *_impl headers only.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <plumb/text/template_value.hpp>

namespace plumb::inline v0::detail::jinja {

/// What the lexer cuts a template into.
struct token {
  enum class type : std::uint8_t {
    data,         ///< text between tags, white space already cut
    begin_print,  ///< {{
    end_print,    ///< }}
    begin_block,  ///< {%
    end_block,    ///< %}
    name,
    text,
    integer,
    number,
    sign,  ///< an operator or bracket, in `text`
    end
  };
  type kind = type::end;
  std::string text;
  std::size_t line = 1;
};

/// One node of the tree; which members count depends on its kind.
struct node {
  enum class type : std::uint8_t {
    // expressions
    constant,   ///< value
    name,       ///< text
    list,       ///< parts
    tuple,      ///< parts
    dict,       ///< parts: key, value, key, value …
    attribute,  ///< parts[0].text
    item,       ///< parts[0][parts[1]]
    slice,      ///< parts[0 .. 2], an empty one has type none
    none,       ///< nothing written
    call,       ///< parts[0] (parts[1..], named)
    filter,     ///< parts[0] | text(parts[1..], named)
    test,       ///< parts[0] is text(parts[1..], named)
    spread,     ///< *parts[0] in a call
    spread_dict,
    choose,   ///< parts[1] if parts[0] else parts[2]
    both,     ///< and
    either,   ///< or
    negate,   ///< not
    compare,  ///< parts[0] text parts[1] …; operators in words
    concat,   ///< ~
    binary,   ///< arithmetic; text is the operator
    minus,
    plus,
    // statements
    data,           ///< text
    print,          ///< parts[0]
    loop,           ///< for parts[0] in parts[1] if parts[2]; body, otherwise
    branch,         ///< if parts[0]: body, else otherwise
    set,            ///< parts[0] = parts[1]
    set_block,      ///< parts[0] = body, through the filter parts[1]
    with,           ///< parts: target, value, …; body
    macro,          ///< text(named with defaults): body
    call_block,     ///< parts[0] a call, body the caller
    filter_block,   ///< parts[0] a filter, of the body
    generation,     ///< body is the assistant's
    stop,           ///< break
    next,           ///< continue
    own_namespace,  ///< target words[0].text of a set
  };
  type kind = type::none;
  std::uint32_t line = 0;
  std::int32_t depth = 1;
  std::string text{};
  value constant{};
  std::vector<node> parts{};
  std::vector<std::pair<std::string, node>> named{};
  std::vector<std::string> words{};
  std::vector<node> body{}, otherwise{};
};

/// A template in memory.
struct syntax {
  std::string place;  ///< names the template in errors
  std::vector<node> body;
  bool has_generation = false;  ///< does it mark the assistant's text?
};

std::vector<token> lex_template(std::string_view source, const std::string& place);
syntax parse_template(std::string_view source, const std::string& place);

}  // namespace plumb::inline v0::detail::jinja

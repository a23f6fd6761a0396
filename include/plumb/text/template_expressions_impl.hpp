// SPDX-License-Identifier: BSL-1.0
// The body of the template parser's first half: Jinja's expressions. Compiled once per program.
#pragma once

#include <algorithm>
#include <charconv>
#include <initializer_list>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <plumb/text/template_syntax.hpp>

namespace plumb::inline v0::detail::jinja {

/// Recursive descent over the tokens. Trees are at most `most_depth` deep, so walking one never exhausts the stack.
class expression_parser {
 public:
  using type = node::type;

  expression_parser(std::vector<token> tokens, const std::string& place) : tokens_(std::move(tokens)), place_(place) {}

 protected:
  // --- tokens

  [[nodiscard]] const token& now() const { return tokens_[at_]; }
  [[nodiscard]] const token& after() const { return tokens_[at_ + 1 < tokens_.size() ? at_ + 1 : at_]; }
  token take() { return at_ + 1 < tokens_.size() ? tokens_[at_++] : tokens_[at_]; }
  [[nodiscard]] bool is_sign(std::string_view s) const { return now().kind == token::type::sign && now().text == s; }
  [[nodiscard]] bool is_word(std::string_view s) const { return now().kind == token::type::name && now().text == s; }
  bool skip_sign(std::string_view s) { return is_sign(s) && (take(), true); }
  bool skip_word(std::string_view s) { return is_word(s) && (take(), true); }
  void expect_sign(std::string_view s) {
    if (!skip_sign(s)) unexpected(join("\"", s, "\""));
  }
  std::string expect_name() {
    if (now().kind != token::type::name) unexpected("a name");
    return take().text;
  }
  [[noreturn]] void fail(std::string_view message) const {
    throw error(errc::bad_file, join(place_, ":", now().line), message);
  }
  [[noreturn]] void unexpected(std::string_view wanted) const {
    constexpr std::string_view ends[] = {"text", "{{", "}}", "{%", "%}"};
    const auto kind = static_cast<std::size_t>(now().kind);
    fail(join("expected ", wanted, ", found ",
              now().kind == token::type::end ? std::string("the end of the template")
              : kind < 5                     ? std::string(ends[kind])
                                             : join("\"", now().text, "\"")));
  }

  // --- nodes

  [[nodiscard]] node make(type kind) const {
    node n;
    n.kind = kind;
    n.line = static_cast<std::uint32_t>(now().line);
    return n;
  }
  /// Adds a child and minds the depth.
  void add(node& to, node child) {
    grow(to, child);
    to.parts.push_back(std::move(child));
  }
  void grow(node& to, const node& child) const {
    to.depth = std::max(to.depth, child.depth + 1);
    if (to.depth > most_depth) fail(join("expressions are nested more than ", most_depth, " deep"));
  }
  node wrap(type kind, std::string text, node a) {
    node n = make(kind);
    n.line = a.line;
    n.text = std::move(text);
    add(n, std::move(a));
    return n;
  }
  node constant(value v) const {
    node n = make(type::constant);
    n.constant = std::move(v);
    return n;
  }
  /// Counts how deep the parser itself is.
  struct level {
    explicit level(expression_parser& p) : owner(p) {
      if (++owner.depth_ > most_depth) owner.fail(join("expressions are nested more than ", most_depth, " deep"));
    }
    ~level() { --owner.depth_; }
    level(const level&) = delete;
    level& operator=(const level&) = delete;
    expression_parser& owner;
  };

  // --- expressions

  node expression() {
    const level guard(*this);
    node out = either();
    while (skip_word("if")) {
      node n = make(type::choose);
      node condition = either();
      add(n, std::move(condition));
      add(n, std::move(out));
      if (skip_word("else"))
        add(n, expression());
      else
        add(n, make(type::none));
      out = std::move(n);
    }
    return out;
  }
  node either() {
    node left = both();
    while (is_word("or")) {
      take();
      left = wrap(type::either, "", std::move(left));
      add(left, both());
    }
    return left;
  }
  node both() {
    node left = negation();
    while (is_word("and")) {
      take();
      left = wrap(type::both, "", std::move(left));
      add(left, negation());
    }
    return left;
  }
  node negation() {
    if (!is_word("not")) return comparison();
    const level guard(*this);
    take();
    return wrap(type::negate, "", negation());
  }
  node comparison() {
    node left = sum();
    node chain = make(type::compare);
    for (;;) {
      std::string op;
      if (now().kind == token::type::sign) {
        for (const std::string_view s : {"==", "!=", "<", ">", "<=", ">="})
          if (now().text == s) op = s;
        if (op.empty()) break;
        take();
      } else if (is_word("in")) {
        take();
        op = "in";
      } else if (is_word("not") && after().kind == token::type::name && after().text == "in") {
        take(), take();
        op = "not in";
      } else {
        break;
      }
      if (chain.parts.empty()) add(chain, std::move(left));
      chain.words.push_back(std::move(op));
      add(chain, sum());
    }
    return chain.parts.empty() ? std::move(left) : std::move(chain);
  }
  template <class Next>
  node left_binary(std::initializer_list<std::string_view> signs, Next&& next) {
    node left = next();
    for (;;) {
      std::string_view found;
      for (const std::string_view s : signs)
        if (is_sign(s)) found = s;
      if (found.empty()) return left;
      take();
      left = wrap(type::binary, std::string(found), std::move(left));
      add(left, next());
    }
  }
  node sum() {
    return left_binary({"+", "-"}, [&] { return concatenation(); });
  }
  node concatenation() {
    node first = product();
    if (!is_sign("~")) return first;
    node n = wrap(type::concat, "", std::move(first));
    while (skip_sign("~")) add(n, product());
    return n;
  }
  node product() {
    return left_binary({"*", "/", "//", "%"}, [&] { return power(); });
  }
  node power() {
    return left_binary({"**"}, [&] { return unary(true); });
  }
  node unary(bool with_filter) {
    const level guard(*this);
    node n = is_sign("-")   ? (take(), wrap(type::minus, "", unary(false)))
             : is_sign("+") ? (take(), wrap(type::plus, "", unary(false)))
                            : primary();
    n = postfix(std::move(n));
    return with_filter ? filtered(std::move(n)) : n;
  }
  node primary() {
    const token t = now();
    if (t.kind == token::type::name) {
      if (t.text == "true" || t.text == "True") return take(), constant(value::boolean(true));
      if (t.text == "false" || t.text == "False") return take(), constant(value::boolean(false));
      if (t.text == "none" || t.text == "None") return take(), constant(value::none());
      node n = make(type::name);
      n.text = take().text;
      return n;
    }
    if (t.kind == token::type::text) {
      std::string all;
      while (now().kind == token::type::text) all += take().text;
      return constant(value(std::move(all)));
    }
    if (t.kind == token::type::integer) {
      std::int64_t i = 0;
      if (std::from_chars(t.text.data(), t.text.data() + t.text.size(), i).ec != std::errc{})
        fail(join("the number ", t.text, " does not fit 64 bits"));
      return take(), constant(value::integer(i));
    }
    if (t.kind == token::type::number) {
      double d = 0;
      std::from_chars(t.text.data(), t.text.data() + t.text.size(), d);
      return take(), constant(value::number(d));
    }
    if (skip_sign("(")) {
      node n = tuple_or_one(true);
      expect_sign(")");
      return n;
    }
    if (skip_sign("[")) {
      node n = make(type::list);
      while (!is_sign("]")) {
        if (!n.parts.empty()) expect_sign(",");
        if (is_sign("]")) break;
        add(n, expression());
      }
      expect_sign("]");
      return n;
    }
    if (skip_sign("{")) {
      node n = make(type::dict);
      while (!is_sign("}")) {
        if (!n.parts.empty()) expect_sign(",");
        if (is_sign("}")) break;
        add(n, expression());
        expect_sign(":");
        add(n, expression());
      }
      expect_sign("}");
      return n;
    }
    unexpected("an expression");
  }
  [[nodiscard]] bool tuple_ends(std::string_view end_word) const {
    return now().kind == token::type::end_print || now().kind == token::type::end_block || is_sign(")") ||
           (!end_word.empty() && is_word(end_word));
  }
  /// One expression, or a tuple where commas follow; `end_word` ends it, too.
  node tuple_or_one(bool parentheses = false, bool conditional = true, std::string_view end_word = "") {
    node n = make(type::tuple);
    bool commas = false;
    for (;;) {
      if (!n.parts.empty()) expect_sign(",");
      if (tuple_ends(end_word)) break;
      add(n, conditional ? expression() : either());
      if (!is_sign(",")) break;
      commas = true;
    }
    if (commas) return n;
    if (!n.parts.empty()) {
      node one = std::move(n.parts[0]);
      return one;
    }
    if (!parentheses) unexpected("an expression");
    return n;
  }
  node postfix(node n) {
    for (;;) {
      if (is_sign(".") || is_sign("["))
        n = subscript(std::move(n));
      else if (is_sign("("))
        n = call(std::move(n));
      else
        return n;
    }
  }
  node filtered(node n) {
    for (;;) {
      if (skip_sign("|"))
        n = filter(std::move(n));
      else if (is_word("is"))
        n = test(std::move(n));
      else if (is_sign("("))
        n = call(std::move(n));
      else
        return n;
    }
  }
  node subscript(node of) {
    if (skip_sign(".")) {
      if (now().kind == token::type::name) {
        node n = wrap(type::attribute, now().text, std::move(of));
        take();
        return n;
      }
      if (now().kind != token::type::integer) unexpected("a name or a number after \".\"");
      node n = wrap(type::item, "", std::move(of));
      add(n, primary());
      return n;
    }
    expect_sign("[");
    node n = wrap(type::item, "", std::move(of));
    add(n, index());
    if (is_sign(",")) fail("expected one index, found several");
    expect_sign("]");
    return n;
  }
  node index() {
    node slice = make(type::slice);
    const auto part = [&](bool present) { add(slice, present ? expression() : make(type::none)); };
    const auto ends = [&] { return is_sign("]") || is_sign(","); };
    if (is_sign(":")) {
      part(false);
    } else {
      node first = expression();
      if (!is_sign(":")) return first;
      add(slice, std::move(first));
    }
    expect_sign(":");
    part(!is_sign(":") && !ends());
    if (skip_sign(":"))
      part(!ends());
    else
      part(false);
    return slice;
  }
  void arguments(node& to) {
    expect_sign("(");
    bool first = true;
    while (!is_sign(")")) {
      if (!first) expect_sign(",");
      first = false;
      if (is_sign(")")) break;
      if (skip_sign("**")) {
        add(to, wrap(type::spread_dict, "", expression()));
      } else if (skip_sign("*")) {
        add(to, wrap(type::spread, "", expression()));
      } else if (now().kind == token::type::name && after().kind == token::type::sign && after().text == "=") {
        std::string name = take().text;
        take();
        node v = expression();
        grow(to, v);
        to.named.emplace_back(std::move(name), std::move(v));
      } else {
        if (!to.named.empty()) fail("an argument without a name after one with a name");
        add(to, expression());
      }
    }
    expect_sign(")");
  }
  node call(node of) {
    node n = wrap(type::call, "", std::move(of));
    arguments(n);
    return n;
  }
  node filter(node of) {
    node n = wrap(type::filter, "", std::move(of));
    n.line = static_cast<std::uint32_t>(now().line);
    n.text = expect_name();
    if (is_sign("(")) arguments(n);
    return n;
  }
  node test(node of) {
    take();  // is
    const bool negated = skip_word("not");
    node n = wrap(type::test, "", std::move(of));
    n.text = expect_name();
    const auto kind = now().kind;
    const bool value_follows = kind == token::type::text || kind == token::type::integer ||
                               kind == token::type::number || is_sign("[") || is_sign("{") ||
                               (kind == token::type::name && !is_word("else") && !is_word("or") && !is_word("and"));
    if (is_sign("(")) {
      arguments(n);
    } else if (value_follows) {
      if (is_word("is")) fail("tests cannot be chained with \"is\"; use \"and\"");
      add(n, postfix(primary()));
    }
    return negated ? wrap(type::negate, "", std::move(n)) : std::move(n);
  }

  std::vector<token> tokens_;
  const std::string& place_;
  std::size_t at_ = 0;
  int depth_ = 0;
};

}  // namespace plumb::inline v0::detail::jinja

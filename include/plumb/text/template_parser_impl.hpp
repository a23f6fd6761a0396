// SPDX-License-Identifier: BSL-1.0
// The body of the template parser: the statements that chat templates use. Compiled once per program.
#pragma once

#include <initializer_list>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <plumb/text/template_expressions_impl.hpp>

namespace plumb::inline v0::detail::jinja {

/// The statements, on top of the expressions.
class parser : expression_parser {
 public:
  using expression_parser::expression_parser;

  syntax run() {
    syntax out;
    out.place = place_;
    out.body = statements({}, "");
    out.has_generation = has_generation_;
    return out;
  }

 private:
  // --- statements

  /// Statements up to a tag whose first word is among `ends`, which is left to be read; `opened` names the open tag.
  std::vector<node> statements(std::initializer_list<std::string_view> ends, std::string_view opened) {
    const level guard(*this);
    std::vector<node> out;
    const std::size_t line = now().line;
    for (;;) {
      if (now().kind == token::type::end) {
        if (ends.size() == 0) return out;
        throw error(errc::bad_file, join(place_, ":", line),
                    join("{% ", opened, " %} is never closed; close it with {% ", *(ends.end() - 1), " %}"));
      }
      if (now().kind == token::type::data) {
        node n = make(type::data);
        n.text = take().text;
        out.push_back(std::move(n));
      } else if (now().kind == token::type::begin_print) {
        take();
        node n = make(type::print);
        add(n, tuple_or_one());
        end_tag(token::type::end_print, "}}");
        out.push_back(std::move(n));
      } else {
        take();  // {%
        for (const std::string_view end : ends)
          if (is_word(end)) return out;
        statement(out);
        end_tag(token::type::end_block, "%}");
      }
    }
  }
  void end_tag(token::type kind, std::string_view mark) {
    if (now().kind != kind) unexpected(mark);
    take();
  }
  void end_block() { end_tag(token::type::end_block, "%}"); }
  void adopt(node& to, std::vector<node>& where, std::vector<node> children) {
    for (const node& child : children) grow(to, child);
    where = std::move(children);
  }
  /// The body of a statement up to its end tag, whose name is read.
  void body_until(node& n, std::string_view end, std::string_view opened) {
    end_block();
    adopt(n, n.body, statements({end}, opened));
    take();
  }

  void statement(std::vector<node>& out) {
    if (now().kind != token::type::name) unexpected("the name of a tag");
    const std::string word = now().text;
    if (word == "print") {
      do {
        take();  // print, and commas
        node n = make(type::print);
        add(n, expression());
        out.push_back(std::move(n));
      } while (is_sign(","));
    } else if (word == "if") {
      out.push_back(branch());
    } else if (word == "for") {
      out.push_back(loop());
    } else if (word == "set") {
      out.push_back(set());
    } else if (word == "with") {
      node n = make(type::with);
      take();
      while (now().kind != token::type::end_block) {
        if (!n.parts.empty()) expect_sign(",");
        add(n, target(false));
        expect_sign("=");
        add(n, expression());
      }
      body_until(n, "endwith", "with");
      out.push_back(std::move(n));
    } else if (word == "macro") {
      node n = make(type::macro);
      take();
      n.text = expect_name();
      parameters(n);
      in_loop_body(n, "endmacro", "macro");
      out.push_back(std::move(n));
    } else if (word == "call") {
      node n = make(type::call_block);
      take();
      if (is_sign("(")) parameters(n);
      add(n, expression());
      if (n.parts[0].kind != type::call) fail("expected the call of a macro after {% call");
      in_loop_body(n, "endcall", "call");
      out.push_back(std::move(n));
    } else if (word == "filter") {
      node n = make(type::filter_block);
      take();
      node f = filter(make(type::none));
      while (skip_sign("|")) f = filter(std::move(f));
      add(n, std::move(f));
      body_until(n, "endfilter", "filter");
      out.push_back(std::move(n));
    } else if (word == "generation") {
      node n = make(type::generation);
      take();
      has_generation_ = true;
      in_loop_body(n, "endgeneration", "generation");
      out.push_back(std::move(n));
    } else if (word == "break" || word == "continue") {
      if (loops_ == 0) fail(join("{% ", word, " %} outside of a for loop"));
      node n = make(word == "break" ? type::stop : type::next);
      take();
      out.push_back(std::move(n));
    } else {
      fail(join("the tag {% ", word,
                " %} is unknown here, or closes nothing; chat templates have if, for, set, with, macro, call, filter, "
                "generation, break, continue, raw"));
    }
  }
  /// A body in which break and continue of a loop outside mean nothing.
  void in_loop_body(node& n, std::string_view end, std::string_view opened) {
    const int outside = std::exchange(loops_, 0);
    body_until(n, end, opened);
    loops_ = outside;
  }
  node branch() {
    node n = make(type::branch);
    take();  // if, elif
    add(n, tuple_or_one(false, false));
    end_block();
    adopt(n, n.body, statements({"elif", "else", "endif"}, "if"));
    if (is_word("elif")) {
      const level guard(*this);
      std::vector<node> rest;
      rest.push_back(branch());
      adopt(n, n.otherwise, std::move(rest));
    } else if (skip_word("else")) {
      end_block();
      adopt(n, n.otherwise, statements({"endif"}, "if"));
      take();
    } else {
      take();
    }
    return n;
  }
  node loop() {
    node n = make(type::loop);
    take();
    add(n, target(false));
    if (!skip_word("in")) unexpected("\"in\"");
    add(n, tuple_or_one(false, false, "recursive"));
    add(n, skip_word("if") ? expression() : make(type::none));
    if (is_word("recursive")) fail("recursive loops are not supported; write a macro that calls itself");
    end_block();
    ++loops_;
    adopt(n, n.body, statements({"else", "endfor"}, "for"));
    --loops_;
    if (skip_word("else")) {
      end_block();
      adopt(n, n.otherwise, statements({"endfor"}, "for"));
    }
    take();
    return n;
  }
  node set() {
    node n = make(type::set);
    take();
    add(n, target(true));
    if (skip_sign("=")) {
      add(n, tuple_or_one());
      return n;
    }
    n.kind = type::set_block;
    node f = make(type::none);
    while (skip_sign("|")) f = filter(std::move(f));
    add(n, std::move(f));
    in_loop_body(n, "endset", "set");
    return n;
  }
  node one_target(bool namespaces) {
    if (skip_sign("(")) {
      node n = target(namespaces);
      expect_sign(")");
      return n;
    }
    node n = make(type::name);
    n.text = expect_name();
    if (n.text == "true" || n.text == "false" || n.text == "none" || n.text == "True" || n.text == "False" ||
        n.text == "None")
      fail(join("cannot assign to ", n.text));
    if (is_sign(".")) {
      if (!namespaces) fail("expected a name to assign to, found an attribute");
      take();
      n.kind = type::own_namespace;
      n.words.push_back(n.text);
      n.text = expect_name();
    }
    return n;
  }
  /// What may stand left of "=", or after "for": a name, several, or (in set) an attribute of a namespace.
  node target(bool namespaces) {
    const level guard(*this);
    node first = one_target(namespaces);
    if (!is_sign(",")) return first;
    node n = wrap(type::tuple, "", std::move(first));
    while (skip_sign(",")) {
      if (is_word("in") || is_sign("=") || is_sign(")")) break;
      add(n, one_target(namespaces));
    }
    return n;
  }
  void parameters(node& n) {
    expect_sign("(");
    bool defaults = false;
    while (!is_sign(")")) {
      if (!n.named.empty()) expect_sign(",");
      std::string name = expect_name();
      node otherwise = make(type::none);
      if (skip_sign("=")) {
        defaults = true;
        otherwise = expression();
        grow(n, otherwise);
      } else if (defaults) {
        fail("a parameter without a default after one with a default");
      }
      n.named.emplace_back(std::move(name), std::move(otherwise));
    }
    expect_sign(")");
  }

  int loops_ = 0;
  bool has_generation_ = false;
};

syntax parse_template(std::string_view source, const std::string& place) {
  return parser(lex_template(source, place), place).run();
}

}  // namespace plumb::inline v0::detail::jinja

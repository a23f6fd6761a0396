// SPDX-License-Identifier: BSL-1.0
// The body of the template evaluator: scopes, statements, expressions. Compiled once per program.
#pragma once

#include <algorithm>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <plumb/text/template_operators_impl.hpp>
#include <plumb/text/template_syntax.hpp>

namespace plumb::inline v0::detail::jinja {

/// What a function, filter, test or macro is called with.
struct call_arguments {
  std::vector<value> list;
  std::vector<std::pair<std::string, value>> named;
};

/// Walks a tree once, with variables, into a text. Depth, steps and sizes are bounded: see template_limits.
class evaluator {
 public:
  evaluator(const syntax& tree, const template_options& options)
      : tree_(tree), options_(options), cx_{tree.place, options.limits} {}

  rendered_chat run(std::vector<std::pair<std::string, value>> variables) {
    scopes_.push_back({std::move(variables), 0, ++marks_});
    execute(tree_.body);
    return std::move(result_);
  }

 private:
  enum class flow : std::uint8_t { on, stop, next };
  struct scope {
    std::vector<std::pair<std::string, value>> names;
    std::size_t parent = 0;  ///< the root is its own parent
    std::uint64_t mark = 0;
  };
  struct running_loop {
    const std::vector<value>* items = nullptr;
    std::size_t index = 0;
    std::vector<value> changed;  ///< what loop.changed saw last
    bool has_changed = false;
  };

  // --- bookkeeping

  /// Puts things back when a scope, loop or capture is left, also by an error.
  template <class Undo>
  struct at_exit {
    Undo undo;
    explicit at_exit(Undo u) : undo(std::move(u)) {}
    ~at_exit() { undo(); }
    at_exit(const at_exit&) = delete;
    at_exit& operator=(const at_exit&) = delete;
  };
  auto enter_scope(std::size_t parent) {
    const std::size_t outside = current_;
    scopes_.push_back({{}, parent, ++marks_});
    current_ = scopes_.size() - 1;
    return at_exit([this, outside] {
      scopes_.pop_back();
      current_ = outside;
    });
  }
  auto enter_depth() {
    if (--cx_.left.depth < 0) cx_.fail("calls and expressions are nested too deep; does a macro call itself for ever?");
    return at_exit([this, line = cx_.line] {
      ++cx_.left.depth;
      cx_.line = line;
    });
  }
  [[nodiscard]] std::string describe(const node& n) const {
    if (n.kind == node::type::name) return join("\"", n.text, "\"");
    if (n.kind == node::type::attribute) return join(describe(n.parts[0]), ".", n.text);
    return "the value";
  }

  const value* look_up(const std::string& name) {
    for (std::size_t s = current_;; s = scopes_[s].parent) {
      cx_.step();
      for (const auto& [key, v] : scopes_[s].names)
        if (key == name) return &v;
      if (s == scopes_[s].parent) return nullptr;
    }
  }
  void define(const std::string& name, value v) {
    auto& names = scopes_[current_].names;
    for (auto& [key, old] : names) {
      if (key != name) continue;
      old = std::move(v);
      return;
    }
    cx_.step(names.size() + 1);
    names.emplace_back(name, std::move(v));
  }
  void emit(std::string_view text) {
    cx_.make(text.size());
    if (out_->size() + text.size() > context::most_text) cx_.fail("the template makes too much text");
    *out_ += text;
  }
  /// The text that a body writes.
  std::string captured(const std::vector<node>& body) {
    std::string text;
    std::string* const outside = std::exchange(out_, &text);
    const at_exit back([this, outside] { out_ = outside; });
    execute(body);
    return text;
  }

  // --- statements

  flow execute(const std::vector<node>& body) {
    for (const node& n : body) {
      cx_.step();
      cx_.line = n.line;
      const flow f = statement(n);
      if (f != flow::on) return f;
    }
    return flow::on;
  }
  flow statement(const node& n) {
    switch (n.kind) {
      case node::type::data: emit(n.text); return flow::on;
      case node::type::print: print(n); return flow::on;
      case node::type::branch: return branch(n);
      case node::type::loop: loop(n); return flow::on;
      case node::type::set: assign(n.parts[0], evaluate(n.parts[1])); return flow::on;
      case node::type::set_block: set_block(n); return flow::on;
      case node::type::with: return with(n);
      case node::type::macro: define(n.text, value(value::data(macro{&n, current_, scopes_[current_].mark}))); break;
      case node::type::call_block: call_block(n); break;
      case node::type::filter_block: filter_block(n); break;
      case node::type::generation: generation(n); break;
      case node::type::stop: return flow::stop;
      case node::type::next: return flow::next;
      default: cx_.fail("an expression stands where a statement belongs");
    }
    return flow::on;
  }
  void print(const node& n) {
    const value v = evaluate(n.parts[0]);
    if (const auto* const s = v.text()) return emit(*s);
    std::string text;
    append_text(cx_, text, v);
    emit(text);
  }
  flow branch(const node& n) {
    const auto deep = enter_depth();
    return execute(truth(evaluate(n.parts[0])) ? n.body : n.otherwise);
  }
  void set_block(const node& n) {
    std::string text;
    {
      const auto inside = enter_scope(current_);
      text = captured(n.body);
    }
    value v(std::move(text));
    if (n.parts[1].kind != node::type::none) v = filter_chain(n.parts[1], std::move(v));
    assign(n.parts[0], std::move(v));
  }
  flow with(const node& n) {
    const auto deep = enter_depth();
    std::vector<value> values;
    for (std::size_t i = 1; i < n.parts.size(); i += 2) values.push_back(evaluate(n.parts[i]));
    const auto inside = enter_scope(current_);
    for (std::size_t i = 0; i < values.size(); ++i) assign(n.parts[2 * i], std::move(values[i]));
    return execute(n.body);
  }
  void filter_block(const node& n) {
    std::string text;
    {
      const auto inside = enter_scope(current_);
      text = captured(n.body);
    }
    const value v = filter_chain(n.parts[0], value(std::move(text)));
    text.clear();
    append_text(cx_, text, v);
    emit(text);
  }
  /// A chain of filters around nothing, applied to a value.
  value filter_chain(const node& f, value inner) {
    if (f.kind == node::type::none) return inner;
    const auto deep = enter_depth();
    value of = filter_chain(f.parts[0], std::move(inner));
    call_arguments given = arguments(f, 1);
    return filter(f.text, of, given);
  }
  void call_block(const node& n) {
    const auto deep = enter_depth();
    const node& call = n.parts[0];
    value callee = evaluate(call.parts[0]);
    call_arguments given = arguments(call, 1);
    const value result = invoke(callee, given, call, value(value::data(macro{&n, current_, scopes_[current_].mark})));
    std::string text;
    append_text(cx_, text, result);
    emit(text);
  }
  void generation(const node& n) {
    const auto deep = enter_depth();
    const auto inside = enter_scope(current_);
    const std::size_t begin = out_->size();
    execute(n.body);
    // Inside a macro, call, filter or set block nobody knows yet where the text will stand.
    if (out_ == &result_.text) result_.assistant.push_back({begin, out_->size()});
  }
  void assign(const node& target, value v) {
    if (target.kind == node::type::name) {
      define(target.text, std::move(v));
    } else if (target.kind == node::type::own_namespace) {
      const value* const owner = look_up(target.words[0]);
      const auto* const space = owner != nullptr ? owner->as<name_space>() : nullptr;
      if (space == nullptr)
        cx_.fail(join("cannot set ", target.words[0], ".", target.text, ": ", target.words[0],
                      " is no namespace; make one with {% set ", target.words[0], " = namespace() %}"));
      auto& names = spaces_[space->number];
      for (auto& [key, old] : names) {
        cx_.step();
        if (key != target.text) continue;
        old = std::move(v);
        return;
      }
      names.emplace_back(target.text, std::move(v));
    } else {
      std::vector<value> hold;
      const auto& items = items_of(cx_, v, hold);
      if (items.size() != target.parts.size())
        cx_.fail(join("expected ", target.parts.size(), " values to assign, found ", items.size()));
      for (std::size_t i = 0; i < items.size(); ++i) assign(target.parts[i], items[i]);
    }
  }
  void loop(const node& n) {
    const auto deep = enter_depth();
    const value over = evaluate(n.parts[1]);
    std::vector<value> hold, kept;
    const std::vector<value>* items = &items_of(cx_, over, hold);
    if (n.parts[2].kind != node::type::none) {
      for (const value& item : *items) {
        const auto inside = enter_scope(current_);
        assign(n.parts[0], item);
        if (truth(evaluate(n.parts[2]))) kept.push_back(item);
      }
      items = &kept;
    }
    if (items->empty()) {
      const auto inside = enter_scope(current_);
      execute(n.otherwise);
      return;
    }
    loops_.push_back({items, 0, {}, false});
    const std::size_t number = loops_.size() - 1;
    const at_exit leave([this] { loops_.pop_back(); });
    for (std::size_t i = 0; i < items->size(); ++i) {
      cx_.step();
      loops_[number].index = i;
      const auto inside = enter_scope(current_);
      scopes_[current_].names.emplace_back("loop", value(value::data(loop_state{number})));
      assign(n.parts[0], (*items)[i]);
      if (execute(n.body) == flow::stop) break;
    }
  }

  // --- expressions

  value evaluate(const node& n) {
    cx_.step();
    const auto deep = enter_depth();
    cx_.line = n.line;
    switch (n.kind) {
      case node::type::constant: return n.constant;
      case node::type::name: return name(n);
      case node::type::list: return value::list(all(n));
      case node::type::tuple: return value::list(all(n), true);
      case node::type::dict: return dict(n);
      case node::type::attribute: return attribute(evaluate(n.parts[0]), n.text, &n.parts[0]);
      case node::type::item: return item(n);
      case node::type::call: return call(n);
      case node::type::filter: return filter_node(n);
      case node::type::test: return test_node(n);
      case node::type::choose: return choose(n);
      case node::type::both: {
        value left = evaluate(n.parts[0]);
        return truth(left) ? evaluate(n.parts[1]) : left;
      }
      case node::type::either: {
        value left = evaluate(n.parts[0]);
        return truth(left) ? left : evaluate(n.parts[1]);
      }
      case node::type::negate: return value::boolean(!truth(evaluate(n.parts[0])));
      case node::type::compare: return compare(n);
      case node::type::concat: return concatenate(n);
      case node::type::binary: return binary(n);
      case node::type::minus: return arithmetic(cx_, "-", value::integer(std::int64_t{0}), evaluate(n.parts[0]));
      case node::type::plus: return arithmetic(cx_, "+", value::integer(std::int64_t{0}), evaluate(n.parts[0]));
      default: cx_.fail("expected an expression");
    }
  }
  std::vector<value> all(const node& n) {
    std::vector<value> out;
    out.reserve(n.parts.size());
    for (const node& part : n.parts) out.push_back(evaluate(part));
    return out;
  }
  value name(const node& n) {
    if (const value* const v = look_up(n.text)) return *v;
    for (const std::string_view known : {"raise_exception", "strftime_now", "namespace", "range", "dict"})
      if (n.text == known) return value::call_of(known);
    return value::missing(join("\"", n.text, "\""));
  }
  value dict(const node& n);
  void put(std::vector<pair_of_values>& items, value key, value v);
  value choose(const node& n);
  value compare(const node& n);
  value concatenate(const node& n);
  value binary(const node& n);
  value item(const node& n);
  /// of[key]; `from` describes `of` in errors.
  value get_item(const value& of, const value& key, const node* from = nullptr);
  /// of.name: a method before a key, as in Python.
  value attribute(const value& of, const std::string& name, const node* from = nullptr);
  value member(const value& of, const std::string& name, const node* from);

  // --- calls: template_calls_impl.hpp, template_functions_impl.hpp and those after

  call_arguments arguments(const node& n, std::size_t first);
  value call(const node& n);
  value invoke(const value& callee, call_arguments& given, const node& n, const value& caller);
  value call_macro(const macro& m, call_arguments& given, const value& caller);
  value filter_node(const node& n);
  value test_node(const node& n);
  value global(const std::string& name, call_arguments& given);
  value method(const value& self, const std::string& name, call_arguments& given);
  value text_method(const std::string& self, const std::string& name, call_arguments& given);
  value filter(const std::string& name, const value& of, call_arguments& given);
  bool test(const std::string& name, const value& of, call_arguments& given);

  // Parts of the above, by subject.
  bool text_filter(const std::string& name, const value& of, call_arguments& given, value& out);
  bool number_filter(const std::string& name, const value& of, call_arguments& given, value& out);
  bool list_filter(const std::string& name, const value& of, call_arguments& given, value& out);
  bool choosing_filter(const std::string& name, const value& of, call_arguments& given, value& out);
  value json_filter(const value& of, call_arguments& given);
  value path(const value& of, const value& attribute);
  value sort_key(const value& of, const value* attribute, bool case_sensitive);
  std::string text_of(const value& v) {
    std::string out;
    append_text(cx_, out, v);
    return out;
  }
  std::string clock(const std::string& format) const;

  const syntax& tree_;
  const template_options& options_;
  context cx_;
  rendered_chat result_;
  std::string* out_ = &result_.text;
  std::vector<scope> scopes_;
  std::size_t current_ = 0;
  std::uint64_t marks_ = 0;
  std::vector<running_loop> loops_;
  std::vector<std::vector<std::pair<std::string, value>>> spaces_;
};

}  // namespace plumb::inline v0::detail::jinja

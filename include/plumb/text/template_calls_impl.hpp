// SPDX-License-Identifier: BSL-1.0
// How templates call: arguments, functions, macros, filters and tests. Compiled once per program.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include <plumb/text/template_evaluator_impl.hpp>

namespace plumb::inline v0::detail::jinja {

inline call_arguments evaluator::arguments(const node& n, std::size_t first) {
  call_arguments out;
  for (std::size_t i = first; i < n.parts.size(); ++i) {
    const node& part = n.parts[i];
    if (part.kind == node::type::spread) {
      const value v = evaluate(part.parts[0]);
      std::vector<value> hold;
      for (const value& each : items_of(cx_, v, hold)) out.list.push_back(each);
    } else if (part.kind == node::type::spread_dict) {
      const value v = evaluate(part.parts[0]);
      if (v.dict() == nullptr) cx_.fail(join("\"**\" needs a dict, found a value of the type ", v.type_name()));
      for (const auto& [key, each] : v.dict()->items) {
        if (key.text() == nullptr) cx_.fail("\"**\" needs keys that are texts");
        out.named.emplace_back(*key.text(), each);
      }
    } else {
      out.list.push_back(evaluate(part));
    }
  }
  for (const auto& [key, part] : n.named) out.named.emplace_back(key, evaluate(part));
  cx_.step(out.list.size());
  cx_.line = n.line;
  return out;
}

inline value evaluator::call(const node& n) {
  const value callee = evaluate(n.parts[0]);
  call_arguments given = arguments(n, 1);
  return invoke(callee, given, n, value());
}

inline value evaluator::invoke(const value& callee, call_arguments& given, const node& n, const value& caller) {
  if (const auto* const m = callee.as<macro>()) return call_macro(*m, given, caller);
  if (const auto* const f = callee.as<function>())
    return f->self ? method(*f->self, *f->name, given) : global(*f->name, given);
  check_defined(cx_, callee);
  cx_.fail(join(describe(n.parts[0]), " is a value of the type ", callee.type_name(), ", which cannot be called"));
}

inline value evaluator::call_macro(const macro& m, call_arguments& given, const value& caller) {
  const node& definition = *m.definition;
  const std::string what =
      definition.kind == node::type::macro ? join("macro ", definition.text) : std::string("caller");
  if (m.scope >= scopes_.size() || scopes_[m.scope].mark != m.scope_mark)
    cx_.fail(join(what, " is called outside of the block that defines it"));
  const auto inside = enter_scope(m.scope);
  const auto& parameters = definition.named;
  if (given.list.size() > parameters.size())
    cx_.fail(join(what, " takes ", parameters.size(), " arguments, found ", given.list.size()));
  std::vector<bool> used(given.named.size(), false);
  for (std::size_t i = 0; i < parameters.size(); ++i) {
    const auto& [name, otherwise] = parameters[i];
    if (i < given.list.size()) {
      define(name, given.list[i]);
      continue;
    }
    std::size_t k = 0;
    while (k < given.named.size() && given.named[k].first != name) ++k;
    if (k < given.named.size()) {
      used[k] = true;
      define(name, given.named[k].second);
    } else {
      define(name, otherwise.kind == node::type::none ? value::missing(join("parameter \"", name, "\""))
                                                      : evaluate(otherwise));
    }
  }
  for (std::size_t k = 0; k < used.size(); ++k)
    if (!used[k]) cx_.fail(join(what, " has no parameter \"", given.named[k].first, "\", or it was given twice"));
  if (!caller.is_undefined()) define("caller", caller);
  return value(captured(definition.body));
}

inline value evaluator::filter_node(const node& n) {
  const value of = evaluate(n.parts[0]);
  call_arguments given = arguments(n, 1);
  return filter(n.text, of, given);
}

inline value evaluator::test_node(const node& n) {
  const value of = evaluate(n.parts[0]);
  call_arguments given = arguments(n, 1);
  return value::boolean(test(n.text, of, given));
}

}  // namespace plumb::inline v0::detail::jinja

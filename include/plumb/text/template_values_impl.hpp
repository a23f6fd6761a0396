// SPDX-License-Identifier: BSL-1.0
// Expressions of chat templates that make values or look into them. Compiled once per program.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include <plumb/text/template_evaluator_impl.hpp>

namespace plumb::inline v0::detail::jinja {

inline value evaluator::dict(const node& n) {
  std::vector<pair_of_values> items;
  for (std::size_t i = 0; i + 1 < n.parts.size(); i += 2) {
    value key = evaluate(n.parts[i]);
    put(items, std::move(key), evaluate(n.parts[i + 1]));
  }
  return value::dict(std::move(items));
}

inline void evaluator::put(std::vector<pair_of_values>& items, value key, value v) {
  if (key.dict() != nullptr || (key.list() != nullptr && !key.list()->tuple))
    cx_.fail(join("a key of a dict cannot be a ", key.type_name()));
  for (auto& [name, old] : items) {
    if (!equal(cx_, name, key)) continue;
    old = std::move(v);
    return;
  }
  items.emplace_back(std::move(key), std::move(v));
}

inline value evaluator::choose(const node& n) {
  if (truth(evaluate(n.parts[0]))) return evaluate(n.parts[1]);
  if (n.parts[2].kind != node::type::none) return evaluate(n.parts[2]);
  return value::missing("the value of an \"if\" without \"else\"");
}

inline value evaluator::compare(const node& n) {
  value left = evaluate(n.parts[0]);
  for (std::size_t i = 0; i < n.words.size(); ++i) {
    value right = evaluate(n.parts[i + 1]);
    cx_.line = n.line;
    const std::string& op = n.words[i];
    bool holds = false;
    if (op == "==" || op == "!=") {
      holds = equal(cx_, left, right) == (op == "==");
    } else if (op == "in" || op == "not in") {
      holds = contains(cx_, right, left) == (op == "in");
    } else {
      check_defined(cx_, left);
      check_defined(cx_, right);
      const bool swapped = op == ">" || op == "<=";
      holds = (swapped ? less(cx_, right, left) : less(cx_, left, right)) == (op == "<" || op == ">");
    }
    if (!holds) return value::boolean(false);
    left = std::move(right);
  }
  return value::boolean(true);
}

inline value evaluator::concatenate(const node& n) {
  std::string text;
  for (const node& part : n.parts) {
    append_text(cx_, text, evaluate(part));
    cx_.make(text.size() / n.parts.size());
  }
  return value(std::move(text));
}

inline value evaluator::binary(const node& n) {
  const value left = evaluate(n.parts[0]);
  const value right = evaluate(n.parts[1]);
  cx_.line = n.line;
  return arithmetic(cx_, n.text, left, right);
}

inline value evaluator::item(const node& n) {
  const value of = evaluate(n.parts[0]);
  const node& index = n.parts[1];
  if (index.kind != node::type::slice) return get_item(of, evaluate(index), &n.parts[0]);
  value bounds[3];
  for (std::size_t i = 0; i < 3; ++i)
    bounds[i] = index.parts[i].kind == node::type::none ? value::none() : evaluate(index.parts[i]);
  cx_.line = n.line;
  return sliced(cx_, of, bounds[0], bounds[1], bounds[2]);
}

inline value evaluator::get_item(const value& of, const value& key, const node* from) {
  check_defined(cx_, of);
  if (const auto* const m = of.dict()) {
    if (const value* const found = find(cx_, *m, key)) return *found;
  } else if (const auto* const i = key.integer(); i != nullptr && (of.list() != nullptr || of.text() != nullptr)) {
    const std::string* const s = of.text();
    if (s != nullptr) cx_.step(s->size() / 64);
    const auto n = static_cast<std::int64_t>(s != nullptr ? count_characters(*s) : of.list()->items.size());
    const std::int64_t at = *i < 0 ? *i + n : *i;
    if (at >= 0 && at < n && s == nullptr) return of.list()->items[static_cast<std::size_t>(at)];
    if (at >= 0 && at < n) {
      const std::size_t byte = byte_of(*s, at);
      return value(std::string_view(*s).substr(byte, utf8_at(*s, byte).size));
    }
  }
  if (const auto* const s = key.text()) return member(of, *s, from);
  std::string text;
  append_text(cx_, text, key, true);
  return value::missing(join(from != nullptr ? describe(*from) : "the value", "[", text, "]"));
}

inline value evaluator::attribute(const value& of, const std::string& name, const node* from) {
  check_defined(cx_, of);
  const value found = member(of, name, from);
  if (found.is_undefined() && of.dict() != nullptr)
    if (const value* const v = find(cx_, *of.dict(), value(name))) return *v;
  return found;
}

}  // namespace plumb::inline v0::detail::jinja

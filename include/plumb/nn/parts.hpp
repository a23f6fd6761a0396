// SPDX-License-Identifier: BSL-1.0
// A network is a tree of named parts. A part says what it is made of with one function; walking, loading, saving,
// counting and attaching adapters all follow from it.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include <plumb/autograd/tape.hpp>

namespace plumb::inline v0 {

/// A weight, shared when two parts use the same one (a head tied to its embedding).
template <class B, class T>
using weight_ptr = std::shared_ptr<weight_tensor<B, T>>;

namespace detail {

inline std::string dotted(std::string_view prefix, std::string_view name) {
  return prefix.empty() ? std::string(name) : name.empty() ? std::string(prefix) : join(prefix, ".", name);
}
template <class Part>
struct is_weight : std::false_type {};
template <class B, class T>
struct is_weight<weight_ptr<B, T>> : std::true_type {};
template <class Part>
struct is_list : std::false_type {};
template <class Part>
struct is_list<std::vector<Part>> : std::true_type {};

}  // namespace detail

/// Calls visit(name, part) for `part` and everything below it, parents first. A part lists what it is made of:
///
///   template <class Self, class F> static void parts(Self& self, F&& f) { f("gate", self.gate); f("up", self.up); }
///
/// Lists of parts are numbered ("layers.0", "layers.1"); weights (`weight_ptr`) are the leaves, absent ones skipped.
template <class Part, class Visit>
void walk(Part& part, std::string_view name, Visit&& visit) {
  using plain = std::remove_const_t<Part>;
  if constexpr (detail::is_list<plain>::value) {
    for (std::size_t i = 0; i < part.size(); ++i) walk(part[i], detail::dotted(name, join(i)), visit);
  } else if constexpr (detail::is_weight<plain>::value) {
    if (part) visit(std::string(name), part);
  } else {
    visit(std::string(name), part);
    plain::parts(part, [&](std::string_view own, auto& child) { walk(child, detail::dotted(name, own), visit); });
  }
}

}  // namespace plumb::inline v0

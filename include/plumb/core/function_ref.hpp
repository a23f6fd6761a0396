// SPDX-License-Identifier: BSL-1.0
// A reference to something callable, for virtual functions that take visitors; two pointers, owns nothing.
#pragma once

#include <memory>
#include <type_traits>
#include <utility>

namespace plumb::inline v0 {

template <class Signature>
class function_ref;

/// Refers to a callable for the duration of a call. The callable must outlive the reference.
template <class R, class... Args>
class function_ref<R(Args...)> {
 public:
  template <class F>
    requires(!std::is_same_v<std::remove_cvref_t<F>, function_ref> && std::is_invocable_r_v<R, F&, Args...>)
  function_ref(F&& f) noexcept  // NOLINT: conversion is the purpose
      : object_(const_cast<void*>(static_cast<const void*>(std::addressof(f)))),
        call_([](void* object, Args... args) -> R {
          return (*static_cast<std::remove_reference_t<F>*>(object))(std::forward<Args>(args)...);
        }) {}
  R operator()(Args... args) const { return call_(object_, std::forward<Args>(args)...); }

 private:
  void* object_;
  R (*call_)(void*, Args...);
};

}  // namespace plumb::inline v0

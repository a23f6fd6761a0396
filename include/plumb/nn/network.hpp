// SPDX-License-Identifier: BSL-1.0
// A network whose composition is known at run time only: what training, sampling and files need of any of them.
#pragma once

#include <string>
#include <utility>

#include <plumb/core/function_ref.hpp>
#include <plumb/nn/embedding.hpp>
#include <plumb/nn/linear.hpp>

namespace plumb::inline v0 {

/// The sizes that a cache and a head need.
struct network_sizes {
  index_t vocabulary = 0;
  index_t width = 0;
  index_t layers = 0;
  index_t kv_width = 0;   ///< kv_heads · head_width
  index_t positions = 0;  ///< longest path that the network can take
};

/// Any decoder. One virtual call per pass: the composition inside is fixed at compile time.
template <class B, class T>
class network {
 public:
  virtual ~network() = default;
  /// The states that the head reads, [tokens, width].
  virtual variable<B, T> hidden(pass<B, T>& p) const = 0;
  /// Scores of the next token, [rows, vocabulary].
  virtual variable<B, T> logits(pass<B, T>& p, variable<B, T> rows) const = 0;
  /// Would training change the head?
  [[nodiscard]] virtual bool head_learns(const pass<B, T>& p) const = 0;
  /// Every weight of the network itself (not of adapters) with its name; a shared one once for each place it is used.
  virtual void for_each_weight(function_ref<void(const std::string&, weight_ptr<B, T>&)> visit) = 0;
  /// Every linear map with its name; where adapters go.
  virtual void for_each_linear(function_ref<void(const std::string&, linear<B, T>&)> visit) = 0;

  /// Every table of token ids with its name.
  virtual void for_each_table(function_ref<void(const std::string&, embedding<B, T>&)> visit) = 0;

  [[nodiscard]] const network_sizes& sizes() const noexcept { return sizes_; }
  [[nodiscard]] index_t vocabulary() const noexcept { return sizes_.vocabulary; }

 protected:
  explicit network(network_sizes sizes) : sizes_(sizes) {}

 private:
  network_sizes sizes_;
};

/// A composition as a network.
template <class Transformer>
class network_of final : public network<typename Transformer::backend_type, typename Transformer::number_type> {
  using B = typename Transformer::backend_type;
  using T = typename Transformer::number_type;

 public:
  network_of(Transformer parts, network_sizes sizes) : network<B, T>(sizes), parts_(std::move(parts)) {}

  variable<B, T> hidden(pass<B, T>& p) const override { return parts_.hidden(p); }
  variable<B, T> logits(pass<B, T>& p, variable<B, T> rows) const override { return parts_.logits(p, rows); }
  bool head_learns(const pass<B, T>& p) const override { return parts_.lm_head.learns(p); }
  void for_each_weight(function_ref<void(const std::string&, weight_ptr<B, T>&)> visit) override {
    for_each<weight_ptr<B, T>>(visit);
  }
  void for_each_linear(function_ref<void(const std::string&, linear<B, T>&)> visit) override {
    for_each<linear<B, T>>(visit);
  }
  void for_each_table(function_ref<void(const std::string&, embedding<B, T>&)> visit) override {
    for_each<embedding<B, T>>(visit);
  }

 private:
  template <class Part, class Visit>
  void for_each(const Visit& visit) {
    walk(parts_, "", [&](const std::string& name, auto& part) {
      if constexpr (std::is_same_v<std::remove_cvref_t<decltype(part)>, Part>) visit(name, part);
    });
  }
  Transformer parts_;
};

}  // namespace plumb::inline v0

// SPDX-License-Identifier: BSL-1.0
// A network whose composition is known at run time only: what training, sampling and files need of any of them.
#pragma once

#include <string>
#include <utility>

#include <plumb/core/function_ref.hpp>
#include <plumb/nn/embedding.hpp>
#include <plumb/nn/linear.hpp>

namespace plumb::inline v0 {

namespace detail {
inline constexpr const char* no_next_token =
    "the model is an encoder: its tokens see their whole text, so it predicts no next token and gives no "
    "log-probabilities of words; take its states (embed) or its scores (reward, reward_regression)";
}  // namespace detail

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
  /// The states that the head reads, [tokens, width]. With virtual tokens the batch's host layout must still be there.
  variable<B, T> hidden(pass<B, T>& p) const {
    if (!ahead_ || !p.adapters) return states(p);
    const auto count = static_cast<std::int32_t>(ahead_->count);
    const bool fresh = !p.cache || !p.cache->ahead;
    const auto extended = with_virtual_tokens(
        *p.batch.host, count, fresh, p.cache ? static_cast<std::int32_t>(p.cache->capacity) : 0, p.cache ? 0 : count);
    const device_layout own = std::exchange(p.batch, upload(p.tape, extended));
    p.ahead = ahead_.get();
    const auto all = states(p);  // [virtual tokens + tokens, width]
    p.batch = own;
    p.ahead = nullptr;
    if (p.cache) p.cache->ahead = true;
    return fresh ? rows_from(p.tape, all, ahead_->count) : all;
  }
  /// Scores of the next token, [rows, vocabulary]. `first`: the number of the first row among all that the head reads.
  /// Throws errc::unsupported for an encoder, which has none.
  variable<B, T> logits(pass<B, T>& p, variable<B, T> rows, index_t first = 0) const {
    p.head_row = first;
    const auto z = head(p, rows);
    p.head_row = -1;
    return z;
  }
  /// What a score head reads of these states, [rows, width]: an encoder's pooled ones, of a decoder the states themselves.
  virtual variable<B, T> summary(pass<B, T>& p, variable<B, T> rows) const = 0;
  /// Would training change the head?
  [[nodiscard]] virtual bool head_learns(const pass<B, T>& p) const = 0;
  /// Every weight of the network itself (not of adapters) with its name; a shared one once for each place it is used.
  virtual void for_each_weight(function_ref<void(const std::string&, weight_ptr<B, T>&)> visit) = 0;
  /// Every linear map with its name; where adapters go.
  virtual void for_each_linear(function_ref<void(const std::string&, linear<B, T>&)> visit) = 0;

  /// Every table of token ids with its name.
  virtual void for_each_table(function_ref<void(const std::string&, embedding<B, T>&)> visit) = 0;

  /// Puts virtual tokens ahead of every sequence, or takes them away (null). They use up positions.
  void set_virtual_tokens(std::shared_ptr<const virtual_tokens<B, T>> tokens) {
    sizes_.positions += (ahead_ ? ahead_->count : 0) - (tokens ? tokens->count : 0);
    ahead_ = std::move(tokens);
  }
  [[nodiscard]] const std::shared_ptr<const virtual_tokens<B, T>>& ahead() const noexcept { return ahead_; }
  [[nodiscard]] const network_sizes& sizes() const noexcept { return sizes_; }
  [[nodiscard]] index_t vocabulary() const noexcept { return sizes_.vocabulary; }

 protected:
  explicit network(network_sizes sizes) : sizes_(sizes) {}
  /// `hidden` for the batch as it is.
  virtual variable<B, T> states(pass<B, T>& p) const = 0;
  virtual variable<B, T> head(pass<B, T>& p, variable<B, T> rows) const = 0;

 private:
  network_sizes sizes_;
  std::shared_ptr<const virtual_tokens<B, T>> ahead_;
};

/// A composition as a network.
template <class Transformer>
class network_of final : public network<typename Transformer::backend_type, typename Transformer::number_type> {
  using B = typename Transformer::backend_type;
  using T = typename Transformer::number_type;

 public:
  network_of(Transformer parts, network_sizes sizes) : network<B, T>(sizes), parts_(std::move(parts)) {}

  variable<B, T> summary(pass<B, T>& p, variable<B, T> rows) const override {
    if constexpr (requires { parts_.summary(p, rows); })
      return parts_.summary(p, rows);
    else
      return rows;
  }
  bool head_learns(const pass<B, T>& p) const override {
    if constexpr (requires { parts_.lm_head.learns(p); })
      return parts_.lm_head.learns(p);
    else
      return false;
  }
  void for_each_weight(function_ref<void(const std::string&, weight_ptr<B, T>&)> visit) override {
    for_each<weight_ptr<B, T>>(visit);
  }
  void for_each_linear(function_ref<void(const std::string&, linear<B, T>&)> visit) override {
    for_each<linear<B, T>>(visit);
  }
  void for_each_table(function_ref<void(const std::string&, embedding<B, T>&)> visit) override {
    for_each<embedding<B, T>>(visit);
  }

 protected:
  variable<B, T> states(pass<B, T>& p) const override { return parts_.hidden(p); }
  variable<B, T> head(pass<B, T>& p, variable<B, T> rows) const override {
    if constexpr (requires { parts_.logits(p, rows); })
      return parts_.logits(p, rows);
    else
      throw error(errc::unsupported, "model", detail::no_next_token);
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

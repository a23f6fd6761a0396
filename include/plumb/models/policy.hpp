// SPDX-License-Identifier: BSL-1.0
// A policy: a language model together with what training may change of it.
#pragma once

#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include <plumb/models/adapter_options.hpp>
#include <plumb/models/language_model.hpp>
#include <plumb/models/prompt_options.hpp>
#include <plumb/nn/embedding.hpp>
#include <plumb/nn/score_head.hpp>

namespace plumb::inline v0 {

/// A parameter that an optimiser changes, with a name that is stable over runs.
template <class B, class T>
struct named_parameter {
  std::string name;
  weight_ptr<B, T> parameter;
};

/// A model and its trainable parameters. The reference of a policy with an adapter is the same model, adapter off.
template <class B, class T = float>
class policy {
 public:
  policy(language_model<B, T> model, std::vector<named_parameter<B, T>> trainable, std::optional<lora_options> lora)
      : model_(std::move(model)), trainable_(std::move(trainable)), lora_(std::move(lora)) {}
  policy(language_model<B, T> model, std::vector<named_parameter<B, T>> trainable, prompt_options prompt)
      : model_(std::move(model)), trainable_(std::move(trainable)), prompt_(std::move(prompt)) {}

  [[nodiscard]] const language_model<B, T>& model() const noexcept { return model_; }
  [[nodiscard]] plumb::network<B, T>& network() const noexcept { return model_.network(); }
  [[nodiscard]] const std::vector<named_parameter<B, T>>& trainable() const noexcept { return trainable_; }
  /// Is something beside the model trained, so that the model without it is the reference?
  [[nodiscard]] bool has_adapter() const noexcept { return lora_ || prompt_; }
  /// The options of virtual tokens; empty without them.
  [[nodiscard]] const std::optional<prompt_options>& prompt() const noexcept { return prompt_; }
  /// The options of a low-rank adapter; empty without one.
  [[nodiscard]] const std::optional<lora_options>& lora() const noexcept { return lora_; }
  /// The head that says one number, of reward models and critics; empty unless attached (models/score_head.hpp).
  [[nodiscard]] const std::optional<plumb::score_head<B, T>>& score_head() const noexcept { return score_; }
  /// Puts a head on, in place of an earlier one, or takes it off; its numbers are the last of `trainable`.
  void set_score_head(std::optional<plumb::score_head<B, T>> head) {
    const auto its = [&](const auto& p) { return p.parameter == score_->weight || p.parameter == score_->bias; };
    if (score_) std::erase_if(trainable_, its);
    score_ = std::move(head);
    if (score_) trainable_.push_back({score_->name + ".weight", score_->weight});
    if (score_ && score_->bias) trainable_.push_back({score_->name + ".bias", score_->bias});
  }
  [[nodiscard]] index_t trainable_count() const noexcept {
    index_t total = 0;
    for (const auto& p : trainable_) total += p.parameter->value.size();
    return total;
  }

  /// While it lives, the policy computes as if the adapter were not there: it is its own reference.
  class adapter_off {
   public:
    explicit adapter_off(policy& p) : policy_(p), before_(std::exchange(p.adapters_, false)) {}
    adapter_off(const adapter_off&) = delete;
    adapter_off& operator=(const adapter_off&) = delete;
    ~adapter_off() { policy_.adapters_ = before_; }

   private:
    policy& policy_;
    bool before_;
  };
  [[nodiscard]] bool adapters_on() const noexcept { return adapters_; }

 private:
  language_model<B, T> model_;
  std::vector<named_parameter<B, T>> trainable_;
  std::optional<lora_options> lora_;
  std::optional<prompt_options> prompt_;
  std::optional<plumb::score_head<B, T>> score_;
  bool adapters_ = true;
};

namespace detail {

/// Freezes the model and takes off all that adapters put on it: the ground that a new one is put on.
template <class B, class T>
void bare(const language_model<B, T>& model) {
  auto& net = model.network();
  net.set_virtual_tokens(nullptr);
  net.for_each_weight([](const std::string&, weight_ptr<B, T>& w) {
    w->set_trainable(false);
    w->stand_in.reset();
  });
  net.for_each_linear([](const std::string&, linear<B, T>& map) {
    map.adapter.reset();
    map.learnt.reset();
  });
  net.for_each_table([](const std::string&, embedding<B, T>& table) {
    table.stand_in.reset();
    table.learnt.reset();
    table.low_rank.reset();
  });
}

}  // namespace detail

/// Makes every weight of the model trainable: full fine-tuning. Adapters are taken off.
template <class B, class T>
policy<B, T> train_all(const language_model<B, T>& model) {
  std::vector<named_parameter<B, T>> trainable;
  std::set<const void*> seen;
  detail::bare(model);
  model.network().for_each_weight([&](const std::string& name, weight_ptr<B, T>& w) {
    if (w->packed)
      throw error(errc::unsupported, name,
                  join("it is kept in ", plumb::name(w->packed->get().format),
                       ", which cannot be trained; load the model with plain weights, or train an adapter"));
  });
  model.network().for_each_weight([&](const std::string& name, weight_ptr<B, T>& w) {
    if (!seen.insert(w.get()).second) return;
    w->set_trainable(true);
    trainable.push_back({name, w});
  });
  return {model, std::move(trainable), std::nullopt};
}

}  // namespace plumb::inline v0

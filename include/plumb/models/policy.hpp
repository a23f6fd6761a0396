// SPDX-License-Identifier: BSL-1.0
// A policy: a language model together with what training may change of it.
#pragma once

#include <cmath>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include <plumb/models/adapter_options.hpp>
#include <plumb/models/language_model.hpp>
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

  [[nodiscard]] const language_model<B, T>& model() const noexcept { return model_; }
  [[nodiscard]] plumb::network<B, T>& network() const noexcept { return model_.network(); }
  [[nodiscard]] const std::vector<named_parameter<B, T>>& trainable() const noexcept { return trainable_; }
  /// The adapter's options; empty when the model's own weights are trained.
  [[nodiscard]] const std::optional<lora_options>& lora() const noexcept { return lora_; }
  /// The head that says one number, of reward models and critics; empty unless attached (models/score_head.hpp).
  [[nodiscard]] const std::optional<plumb::score_head<B, T>>& score_head() const noexcept { return score_; }
  /// Puts a head on, in place of an earlier one, or takes it off; its weight is the last of `trainable`.
  void set_score_head(std::optional<plumb::score_head<B, T>> head) {
    if (score_) std::erase_if(trainable_, [&](const auto& p) { return p.parameter == score_->weight; });
    score_ = std::move(head);
    if (score_) trainable_.push_back({"score.weight", score_->weight});
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
  std::optional<plumb::score_head<B, T>> score_;
  bool adapters_ = true;
};

namespace detail {

/// Freezes the model and takes its adapters off: the ground that an adapter is put on.
template <class B, class T>
void bare(const language_model<B, T>& model) {
  model.network().for_each_weight([](const std::string&, weight_ptr<B, T>& w) { w->set_trainable(false); });
  model.network().for_each_linear([](const std::string&, linear<B, T>& map) { map.adapter.reset(); });
}

/// Puts A [rank, in] and B [out, rank] on one linear map, trainable, with the strength that the plan gives it.
template <class B, class T>
void put_adapter(linear<B, T>& map, const std::string& name, const lora_plan& plan, tensor<B, T> a, tensor<B, T> b,
                 std::vector<named_parameter<B, T>>& trainable) {
  lora<B, T> adapter;
  adapter.a = std::make_shared<weight_tensor<B, T>>();
  adapter.a->value = std::move(a);
  adapter.b = std::make_shared<weight_tensor<B, T>>();
  adapter.b->value = std::move(b);
  adapter.a->set_trainable(true);
  adapter.b->set_trainable(true);
  adapter.alpha = plan.alpha(name);
  adapter.scale = plan.scale(name);
  adapter.dropout = plan.options().dropout;
  trainable.push_back({name + ".lora_A.weight", adapter.a});
  trainable.push_back({name + ".lora_B.weight", adapter.b});
  map.adapter = std::move(adapter);
}

/// The kinds of linear maps there are ("q_proj, k_proj"), for messages.
template <class B, class T>
std::string linear_kinds(const language_model<B, T>& model) {
  std::set<std::string> kinds;
  model.network().for_each_linear(
      [&](const std::string& name, linear<B, T>&) { kinds.insert(name.substr(name.rfind('.') + 1)); });
  std::string out;
  for (const auto& kind : kinds) out += join(out.empty() ? "" : ", ", kind);
  return out;
}

}  // namespace detail

/// Puts a new LoRA adapter on the targeted linear maps and freezes everything else. A is uniform in ±1/√inputs, B zero:
/// the policy starts as the model. Throws errc::bad_argument when nothing matches, naming the maps there are.
template <class B, class T>
policy<B, T> attach_lora(const language_model<B, T>& model, lora_options options = {}) {
  const detail::lora_plan plan(std::move(options));
  bool any = false;
  model.network().for_each_linear([&](const std::string& name, linear<B, T>&) { any = any || plan.takes(name); });
  if (!any)
    throw error(errc::bad_argument, "targets",
                join("no linear map of the model matches; it has: ", detail::linear_kinds(model)));

  detail::bare(model);
  std::vector<named_parameter<B, T>> trainable;
  std::uint64_t which = 0;
  model.network().for_each_linear([&](const std::string& name, linear<B, T>& map) {
    if (!plan.takes(name)) return;
    const index_t rank = plan.rank(name);
    const std::uint64_t key = derive_key(plan.options().seed, which++);
    const double bound = 1 / std::sqrt(static_cast<double>(map.inputs()));
    std::vector<T> a(static_cast<std::size_t>(rank * map.inputs()));
    for (std::size_t i = 0; i < a.size(); ++i)
      a[i] = static_cast<T>(bound * (2 * static_cast<double>(uniform_float(philox_word(key, i))) - 1));
    detail::put_adapter(map, name, plan, tensor<B, T>(model.device(), {rank, map.inputs()}, std::span<const T>(a)),
                        tensor<B, T>(model.device(), {map.outputs(), rank}, T(0)), trainable);
  });
  return {model, std::move(trainable), plan.options()};
}

/// Makes every weight of the model trainable: full fine-tuning. Adapters are taken off.
template <class B, class T>
policy<B, T> train_all(const language_model<B, T>& model) {
  std::vector<named_parameter<B, T>> trainable;
  std::set<const void*> seen;
  model.network().for_each_linear([](const std::string&, linear<B, T>& map) { map.adapter.reset(); });
  model.network().for_each_weight([&](const std::string& name, weight_ptr<B, T>& w) {
    if (!seen.insert(w.get()).second) return;
    w->set_trainable(true);
    trainable.push_back({name, w});
  });
  return {model, std::move(trainable), std::nullopt};
}

}  // namespace plumb::inline v0

// SPDX-License-Identifier: BSL-1.0
// A policy: a language model together with what training may change of it.
#pragma once

#include <cmath>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include <plumb/core/pattern.hpp>
#include <plumb/models/language_model.hpp>

namespace plumb::inline v0 {

/// Where LoRA goes and how strong it is.
struct lora_options {
  index_t rank = 16;          ///< inner width r
  double alpha = 0;           ///< s = alpha / rank; 0 takes alpha = 2 · rank
  double dropout = 0;         ///< share of the adapter's inputs dropped in training, [0, 1)
  /// Names of linear maps ("q_proj"; a module matches when its name ends so), or "all-linear": all but the head.
  std::vector<std::string> targets = {"all-linear"};
  std::string pattern{};      ///< instead of `targets`: a regular expression for the whole module name
  std::uint64_t seed = 0;     ///< of A's first values
};

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
  bool adapters_ = true;
};

namespace detail {

/// PEFT's rule: a name matches a target that equals it or ends it after a dot.
inline bool is_target(std::string_view module, const lora_options& o, const pattern* regex) {
  if (regex) return regex->matches(module);
  for (const std::string& target : o.targets) {
    if (target == "all-linear" ? module != "lm_head" : module == target || (module.ends_with(target) && module.size() > target.size() &&
                                                                        module[module.size() - target.size() - 1] == '.'))
      return true;
  }
  return false;
}

inline void check(const lora_options& o) {
  if (o.rank < 1 || o.rank > 65536) throw error(errc::bad_argument, "rank", join("expected 1 to 65536, found ", o.rank));
  if (!(o.alpha >= 0) || std::isinf(o.alpha)) throw error(errc::bad_argument, "alpha", join("expected a positive number, found ", o.alpha));
  if (!(o.dropout >= 0 && o.dropout < 1)) throw error(errc::bad_argument, "dropout", join("expected 0 up to below 1, found ", o.dropout));
}

}  // namespace detail

/// Puts a new LoRA adapter on the targeted linear maps and freezes everything else. A is uniform in ±1/√inputs, B zero:
/// the policy starts as the model. Throws errc::bad_argument when nothing matches, naming the maps there are.
template <class B, class T>
policy<B, T> attach_lora(const language_model<B, T>& model, lora_options options = {}) {
  detail::check(options);
  if (options.alpha == 0) options.alpha = 2 * static_cast<double>(options.rank);
  std::optional<pattern> regex;
  if (!options.pattern.empty()) regex.emplace(options.pattern);

  model.network().for_each_weight([](const std::string&, weight_ptr<B, T>& w) { w->set_trainable(false); });
  std::vector<named_parameter<B, T>> trainable;
  std::set<std::string> kinds;
  std::uint64_t which = 0;
  model.network().for_each_linear([&](const std::string& name, linear<B, T>& map) {
    map.adapter.reset();
    kinds.insert(name.substr(name.rfind('.') + 1));
    if (!detail::is_target(name, options, regex ? &*regex : nullptr)) return;
    const std::uint64_t key = derive_key(options.seed, which++);
    const double bound = 1 / std::sqrt(static_cast<double>(map.inputs()));
    std::vector<T> a(static_cast<std::size_t>(options.rank * map.inputs()));
    for (std::size_t i = 0; i < a.size(); ++i)
      a[i] = static_cast<T>(bound * (2 * static_cast<double>(uniform_float(philox_word(key, i))) - 1));
    lora<B, T> adapter;
    adapter.a = std::make_shared<weight_tensor<B, T>>();
    adapter.a->value = tensor<B, T>(model.device(), {options.rank, map.inputs()}, std::span<const T>(a));
    adapter.b = std::make_shared<weight_tensor<B, T>>();
    adapter.b->value = tensor<B, T>(model.device(), {map.outputs(), options.rank}, T(0));
    adapter.a->set_trainable(true);
    adapter.b->set_trainable(true);
    adapter.alpha = options.alpha;
    adapter.scale = options.alpha / static_cast<double>(options.rank);
    adapter.dropout = options.dropout;
    trainable.push_back({name + ".lora_A.weight", adapter.a});
    trainable.push_back({name + ".lora_B.weight", adapter.b});
    map.adapter = std::move(adapter);
  });
  if (trainable.empty()) {
    std::string there;
    for (const auto& k : kinds) there += join(there.empty() ? "" : ", ", k);
    throw error(errc::bad_argument, "targets", join("no linear map of the model matches; it has: ", there));
  }
  return {model, std::move(trainable), std::move(options)};
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

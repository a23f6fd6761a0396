// SPDX-License-Identifier: BSL-1.0
// Several adapters on one model, side by side: sequences of one batch say by name which they run with.
#pragma once

#include <algorithm>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <plumb/core/nearest.hpp>
#include <plumb/models/policy.hpp>
#include <plumb/nn/adapter_mixture.hpp>

namespace plumb::inline v0 {

/// Named adapters of one model, which is loaded and computed once for all of them.
///
///     plumb::adapter_set adapters(model);
///     adapters.add("french", plumb::load_adapter(model, "french"));
///     adapters.add("polite", plumb::load_adapter(model, "polite"));
///     plumb::generate(adapters, prompts, names);   // names {"french", "polite", ""}: the last with the bare model
///
/// An adapter may be LoRA, rank-stabilised or not, DoRA, PiSSA or OLoRA, with ranks and targets of its own. A sequence gets
/// the same bits as with its adapter alone on the model. Maps are multiplied once for each run of neighbours with one
/// adapter, so callers keep such sequences together; `generate` and `score` do.
template <class B, class T>
class adapter_set {
 public:
  explicit adapter_set(language_model<B, T> model) : model_(std::move(model)) {}

  [[nodiscard]] const language_model<B, T>& model() const noexcept { return model_; }
  [[nodiscard]] const adapter_table<B, T>& table() const noexcept { return table_; }
  [[nodiscard]] std::vector<std::string> names() const {
    std::vector<std::string> out;
    for (const auto& each : adapters_) out.push_back(each.name);
    return out;
  }

  /// Takes in the adapter of a policy of the model: its weights are frozen, and the model is left bare.
  /// Throws errc::bad_argument for an empty name or one that is taken, another model's policy, or an adapter that is no
  /// longer on the model; errc::unsupported for what is not a low-rank change of linear maps, naming it.
  void add(std::string name, const policy<B, T>& p) {
    const auto fail = [&](errc code, std::string_view why) { throw error(code, join("adapter \"", name, "\""), why); };
    if (name.empty()) fail(errc::bad_argument, "expected a name; the empty one stands for the bare model");
    if (std::any_of(adapters_.begin(), adapters_.end(), [&](const auto& each) { return each.name == name; }))
      fail(errc::bad_argument, "there is one of this name already");
    if (&p.network() != &model_.network()) fail(errc::bad_argument, "it is a policy of another model than the set's");
    if (!p.lora() || p.score_head())
      fail(errc::unsupported, "expected a low-rank adapter without a score head; only those can share a batch");
    const lora_options& o = *p.lora();
    if (!o.modules_to_save.empty() || o.biases != trained_biases::none || !o.trainable_tokens.empty())
      fail(errc::unsupported,
           "it trains modules, biases or tokens beside linear maps (modules_to_save, bias, trainable_token_indices), "
           "which rows of one batch cannot have apart; use it alone");
    bool tables = false;
    p.network().for_each_table([&](const std::string&, embedding<B, T>& table) { tables = tables || table.low_rank; });
    if (tables)
      fail(errc::unsupported,
           "it changes the table of tokens, which rows of one batch cannot have apart; use it alone");
    entry out{std::move(name), o, p.trainable(), {}};
    std::size_t found = 0;
    p.network().for_each_linear([&](const std::string&, linear<B, T>& map) {
      if (!map.adapter) return;
      out.changes.emplace_back(&map, *map.adapter);
      for (const auto* each : {&map.adapter->a, &map.adapter->b, &map.adapter->magnitude})
        found += std::any_of(out.trainable.begin(), out.trainable.end(),
                             [&](const auto& named) { return named.parameter == *each; });
    });
    if (found != out.trainable.size())
      throw error(errc::bad_argument, join("adapter \"", out.name, "\""),
                  "it is no longer on the model: another policy was made of the same model since; add each adapter "
                  "before the next is loaded");
    for (const auto& each : out.trainable) each.parameter->set_trainable(false);
    const auto number = static_cast<index_t>(adapters_.size());
    for (const auto& [map, change] : out.changes) table_.put(map, number, change);
    adapters_.push_back(std::move(out));
    detail::bare(model_);
  }

  /// The adapter's number in the table; no_adapter for "". Throws errc::bad_argument, listing the names there are.
  [[nodiscard]] index_t number(std::string_view name) const {
    if (name.empty()) return no_adapter;
    for (std::size_t i = 0; i < adapters_.size(); ++i)
      if (adapters_[i].name == name) return static_cast<index_t>(i);
    std::string known;
    for (const auto& each : adapters_) known += join(known.empty() ? "" : ", ", each.name);
    throw error(errc::bad_argument, "adapter",
                join("there is none called \"", name, "\"; expected ",
                     known.empty() ? "\"\" (the bare model), for the set is empty"
                                   : join("one of ", known, ", or \"\" for the bare model")));
  }
  [[nodiscard]] std::vector<index_t> numbers(std::span<const std::string> names) const {
    std::vector<index_t> out;
    for (const std::string& name : names) out.push_back(number(name));
    return out;
  }

  /// The adapter on the model again, alone and trainable, while the set's others stay frozen. What it learns the set's
  /// copy learns, too: they share their weights.
  [[nodiscard]] policy<B, T> policy_of(std::string_view name) const {
    const index_t which = number(name);
    if (which == no_adapter) throw error(errc::bad_argument, "adapter", "the bare model has nothing to train");
    detail::bare(model_);
    for (std::size_t i = 0; i < adapters_.size(); ++i)
      for (const auto& each : adapters_[i].trainable) each.parameter->set_trainable(static_cast<index_t>(i) == which);
    const entry& own = adapters_[static_cast<std::size_t>(which)];
    for (const auto& [map, change] : own.changes) map->adapter = change;
    return {model_, own.trainable, own.options};
  }

  /// Throws errc::bad_argument when something on the model would change every sequence, whatever it runs with.
  void check_bare() const {
    auto& net = model_.network();
    bool changed = net.ahead() != nullptr;
    net.for_each_weight([&](const std::string&, weight_ptr<B, T>& w) { changed = changed || w->stand_in; });
    net.for_each_table([&](const std::string&, embedding<B, T>& table) {
      changed = changed || table.stand_in || table.learnt || table.low_rank;
    });
    if (changed)
      throw error(errc::bad_argument, "adapters",
                  "an adapter on the model has virtual tokens, modules saved whole, biases or tokens of its own, which "
                  "every sequence would get; take it off first");
  }

 private:
  struct entry {
    std::string name;
    lora_options options;
    std::vector<named_parameter<B, T>> trainable;
    std::vector<std::pair<linear<B, T>*, lora<B, T>>> changes;
  };
  language_model<B, T> model_;
  adapter_table<B, T> table_;
  std::vector<entry> adapters_;
};

namespace detail {

/// The order in which sequences with one adapter are neighbours, and otherwise stay as they are.
std::vector<std::size_t> grouped_by_adapter(std::span<const index_t> adapters);

/// Throws errc::bad_argument unless there is a name for each.
void check_names(std::size_t sequences, std::size_t names);

}  // namespace detail

}  // namespace plumb::inline v0

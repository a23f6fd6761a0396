// SPDX-License-Identifier: BSL-1.0
// The engine for one backend and number type: the library's templates behind virtual functions.
#pragma once

#include "engine.hpp"

#include <plumb/models/adapter.hpp>

#include <chrono>
#include <utility>

namespace program {

/// Calls f(objective) for the levels that models can be trained on; another level is errc::unsupported.
template <class F>
auto at_trained_level(const method& m, F&& f) {
  return std::visit(
      [&](const auto& objective) -> decltype(f(std::get<any_objective<level::pair>>(m))) {
        constexpr auto own = std::remove_cvref_t<decltype(objective)>::level;
        if constexpr (own == level::token || own == level::pair)
          return f(objective);
        else
          throw error(errc::unsupported, objective.name(),
                      join("training on ", name(own), " records is not in this version"));
      },
      m);
}

/// The callbacks of `fit` as virtual functions, so that `fit` is compiled once per level.
struct listening {
  listener& told;
  bool on_step(const step_info& info) const { return told.on_step(info); }
  void on_log(const log_entry& entry) const { told.on_log(entry); }
  void on_save(const std::filesystem::path& folder) const { told.on_save(folder); }
};

template <class B, class T>
class engine_of final : public engine {
 public:
  explicit engine_of(language_model<B, T> model) : model_(std::move(model)) {}

  const model_config& config() const override { return model_.config(); }
  bool has_tokenizer() const override { return model_.has_tokenizer(); }
  const plumb::tokenizer& tokenizer() const override { return model_.tokenizer(); }
  bool ends(token_id token) const override { return model_.ends(token); }
  index_t positions() const override { return model_.network().sizes().positions; }
  index_t parameter_count() const override { return model_.parameter_count(); }
  std::size_t number_size() const override { return sizeof(T); }

  void load_adapter(const std::filesystem::path& folder) override {
    policy_.emplace(plumb::load_adapter(model_, folder));
  }
  void attach_lora(const lora_options& options) override { policy_.emplace(plumb::attach_lora(model_, options)); }
  void train_all() override { policy_.emplace(plumb::train_all(model_)); }
  void load_teacher(const std::filesystem::path& folder, const load_options& options) override {
    teacher_.emplace(plumb::teacher<B, T>{load_model<B, T>(folder, options)});
  }
  index_t trainable_count() const override { return policy_ ? policy_->trainable_count() : 0; }
  const lora_options* lora() const override { return policy_ && policy_->lora() ? &*policy_->lora() : nullptr; }
  json::object describe_adapter() const override {
    return policy_ ? plumb::describe_adapter(*policy_) : json::object();
  }

  std::vector<token_scores> score(std::span<const scored_tokens> sequences, bool entropy) override {
    return plumb::score(model_, sequences, entropy);
  }
  std::vector<std::vector<generated>> generate(std::span<const std::vector<token_id>> prompts,
                                               const generate_options& options) override {
    return plumb::generate(model_, prompts, options);
  }

  gradient differentiate(const method& m, std::vector<example> data, index_t batch) override {
    return at_trained_level(m, [&](const auto& objective) {
      policy<B, T>& p = trained();
      p.network().for_each_linear([](const std::string&, linear<B, T>& map) {
        if (map.adapter) map.adapter->dropout = 0;
      });
      for (const auto& each : p.trainable()) each.parameter->set_trainable(true);  // gradients are zero
      scorer<B, T> scores(model_);
      const auto extra = sums_of(objective);
      const auto asked = request_of(objective, extra);
      if (has(objective.needs(), need::reference))
        score_references(scores, std::span(data), {}, 2048, has(objective.needs(), need::tail));
      std::vector<const example*> all;
      for (const example& e : data) all.push_back(&e);
      training_batch scratch;
      const auto windows = count_window(objective, std::span<const example* const>(all), scratch);
      gradient out;
      const auto add = [&](std::size_t first, std::size_t count) {
        scratch.assign(std::span<const example>(data).subspan(first, count));
        take(scores, objective, scratch, windows, asked, out);
      };
      if (batch < 1) for_each_run(std::span<const example>(data), 2048, add);
      for (std::size_t at = 0; batch > 0 && at < data.size(); at += static_cast<std::size_t>(batch))
        add(at, std::min(static_cast<std::size_t>(batch), data.size() - at));
      for (const auto& each : p.trainable()) {
        const auto host = each.parameter->gradient.host();
        const auto extent = each.parameter->value.extent();
        const bool is_vector = each.name.ends_with("norm.weight") || each.name.ends_with(".bias");
        out.parts.push_back({each.name,
                             is_vector ? std::vector{extent.columns} : std::vector{extent.rows, extent.columns},
                             {host.begin(), host.end()},
                             sizeof(T) == 8});
      }
      return out;
    });
  }

  trial try_step(const method& m, std::vector<example> data) override {
    return at_trained_level(m, [&](const auto& objective) {
      for (const auto& each : trained().trainable()) each.parameter->set_trainable(true);
      scorer<B, T> scores(model_);
      const auto extra = sums_of(objective);
      const auto asked = request_of(objective, extra);
      trial out;
      using clock = std::chrono::steady_clock;
      const auto seconds_since = [](clock::time_point start) {
        return std::chrono::duration<double>(clock::now() - start).count();
      };
      std::vector<const example*> all;
      for (const example& e : data) all.push_back(&e);
      training_batch batch;
      for (int round = 0; round < 2; ++round) {  // the first one also fills caches and makes the buffers
        for (example& e : data)
          for (reply& r : e.replies) r.reference = missing;
        auto start = clock::now();
        score_references(scores, std::span(data), {}, 2048, has(objective.needs(), need::tail));
        out.score_seconds = seconds_since(start);
        const auto windows = count_window(objective, std::span<const example* const>(all), batch);
        batch.assign(std::span<const example>(data));
        gradient result;
        start = clock::now();
        take(scores, objective, batch, windows, asked, result);
        out.seconds = seconds_since(start);
        out.loss = result.loss;
      }
      out.tokens = static_cast<index_t>(batch.layout.tokens.size());
      out.buffers = scores.memory();
      return out;
    });
  }

  fit_result fit(const method& m, std::vector<example> data, const fit_options& options, listener& told) override {
    return at_trained_level(m, [&](const auto& objective) {
      return plumb::fit(trained(), objective, std::move(data), options, listening{told}, teacher_);
    });
  }

  void save_adapter(const std::filesystem::path& folder) const override { plumb::save_adapter(*policy_, folder); }
  void save_merged(const std::filesystem::path& folder) const override { plumb::save_merged(*policy_, folder); }
  void save_model(const std::filesystem::path& folder) const override { plumb::save_model(model_, folder); }

 private:
  policy<B, T>& trained() {
    if (!policy_) throw error(errc::bad_argument, "--adapter", "nothing of the model is trainable; give an adapter");
    return *policy_;
  }

  template <class Objective>
  objective_sums<B, T, Objective> sums_of(const Objective& objective) const {
    return {objective, objective.needs(), model_.network().vocabulary()};
  }
  /// What a pass that learns is asked for; checks that there is a teacher where one is needed.
  template <class Objective>
  typename scorer<B, T>::request request_of(const Objective& objective,
                                            const objective_sums<B, T, Objective>& extra) const {
    typename scorer<B, T>::request asked{.learn = true, .head = extra.options({.entropy = true}), .sums = extra.sums()};
    asked.other = teacher_ ? &teacher_->model : nullptr;
    check_comparison(objective.name(), asked.sums, asked.other, policy_ && policy_->lora());
    return asked;
  }

  /// One micro-batch: adds loss and metrics to `out`, gradients to the parameters.
  template <class Objective>
  void take(scorer<B, T>& scores, const Objective& objective, const training_batch& batch,
            std::span<const double> windows, const typename scorer<B, T>::request& asked, gradient& out) {
    const batch_scores found = scores.run(batch, asked);
    const auto records = make_records<Objective::level>(batch, found);
    const evaluation part = evaluate_part(objective, records, windows);
    out.loss += part.total;
    collect(objective, records, found, batch, out.metrics);
    std::vector<T> slopes;
    spread_slopes<Objective::level>(batch, part.slopes, slopes, found.rows);
    scores.learn(slopes);
  }

  language_model<B, T> model_;
  std::optional<policy<B, T>> policy_;
  std::optional<plumb::teacher<B, T>> teacher_;
};

template <class B, class T>
std::unique_ptr<engine> open_engine(const std::filesystem::path& folder, const load_options& options) {
  return std::make_unique<engine_of<B, T>>(load_model<B, T>(folder, options));
}

}  // namespace program

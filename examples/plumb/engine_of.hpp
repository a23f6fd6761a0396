// SPDX-License-Identifier: BSL-1.0
// The engine for one backend and number type: the library's templates behind virtual functions.
#pragma once

#include "engine.hpp"

#include <plumb/models/adapter.hpp>
#include <plumb/models/adapter_set.hpp>
#include <plumb/models/describe_adapter.hpp>
#include <plumb/models/merge_models.hpp>
#include <plumb/train/density_ratio.hpp>

#include <chrono>
#include <utility>

namespace program {

/// Calls f(objective) with the objective itself, of whichever level: models are trained on records of all of them.
template <class F>
auto at_trained_level(const method& m, F&& f) {
  return std::visit([&](const auto& objective) { return f(objective); }, m);
}

/// The callbacks of `fit` as virtual functions, so that `fit` is compiled once per level.
struct listening {
  listener& told;
  bool on_step(const step_info& info) const { return told.on_step(info); }
  void on_log(const log_entry& entry) const { told.on_log(entry); }
  void on_save(const std::filesystem::path& folder) const { told.on_save(folder); }
  void on_warning(const std::string& text) const { told.on_warning(text); }
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
  index_t weight_bytes() const override { return model_.weight_bytes(); }
  std::size_t number_size() const override { return sizeof(T); }

  void load_adapter(const std::filesystem::path& folder) override {
    policy_.emplace(plumb::load_adapter(model_, folder));
  }
  void attach_lora(const lora_options& options) override { policy_.emplace(plumb::attach_lora(model_, options)); }
  void attach_prompt(const prompt_options& options) override { policy_.emplace(plumb::attach_prompt(model_, options)); }
  void train_all() override { policy_.emplace(plumb::train_all(model_)); }
  void attach_score_head(std::uint64_t seed, bool critic) override {
    if (!critic && holds_score_head(model_.source()))
      load_score_head(trained(), model_.source());
    else
      plumb::attach_score_head(trained(), {.critic = critic, .seed = seed});
  }
  bool has_score_head() const override { return policy_ && policy_->score_head(); }
  void load_teacher(const std::filesystem::path& folder, const load_options& options) override {
    teacher_.emplace(plumb::teacher<B, T>{load_model<B, T>(folder, options)});
  }
  index_t trainable_count() const override { return policy_ ? policy_->trainable_count() : 0; }
  const lora_options* lora() const override { return policy_ && policy_->lora() ? &*policy_->lora() : nullptr; }
  const prompt_options* prompt() const override { return policy_ && policy_->prompt() ? &*policy_->prompt() : nullptr; }
  json::object describe_adapter() const override {
    return policy_ ? plumb::describe_adapter(*policy_) : json::object();
  }

  void add_adapter(const std::string& name, const std::filesystem::path& folder) override {
    if (holds_score_head(model_.source()))
      throw error(errc::unsupported, "--adapter", "named adapters go with language models, this one has a score head");
    if (!named_) named_.emplace(model_);
    named_->add(name, plumb::load_adapter(model_, folder));
  }
  std::vector<std::string> adapter_names() const override {
    return named_ ? named_->names() : std::vector<std::string>();
  }

  std::vector<token_scores> score(std::span<const scored_tokens> sequences, std::span<const std::string> adapters,
                                  bool entropy) override {
    if (named_) return plumb::score(*named_, sequences, adapters, entropy);
    if (!policy_ && holds_score_head(model_.source())) {
      policy_.emplace(model_, std::vector<named_parameter<B, T>>(), std::nullopt);
      load_score_head(*policy_, model_.source());
    }
    return policy_ ? plumb::score(*policy_, sequences, entropy) : plumb::score(model_, sequences, entropy);
  }
  std::vector<std::vector<generated>> generate(std::span<const std::vector<token_id>> prompts,
                                               std::span<const std::string> adapters, const generate_options& options,
                                               token_listener listen) override {
    if (named_) return plumb::generate(*named_, prompts, adapters, options, listen);
    return plumb::generate(model_, prompts, options, listen);
  }
  void keep_copies() override { model_.keep_copies(); }
  std::vector<std::vector<generated>> beam_search(std::span<const std::vector<token_id>> prompts,
                                                  std::span<const std::string> adapters,
                                                  const beam_options& options) override {
    if (named_) return plumb::beam_search(*named_, prompts, adapters, options);
    return plumb::beam_search(model_, prompts, options);
  }

  void weigh_prompts(std::vector<example>& data, std::vector<example>& held_out, std::uint64_t seed) override {
    plumb::weigh_prompts(model_, data, held_out, {.seed = seed});
  }

  gradient differentiate(const method& m, std::vector<example> data, index_t batch, double router_loss) override {
    return at_trained_level(m, [&](const auto& objective) {
      policy<B, T>& p = trained();
      p.network().for_each_linear([](const std::string&, linear<B, T>& map) {
        if (map.adapter) map.adapter->dropout = 0;
      });
      for (const auto& each : p.trainable()) each.parameter->set_trainable(true);  // gradients are zero
      scorer<B, T> scores(model_);
      const auto extra = sums_of(objective);
      auto asked = request_of(objective, extra);
      asked.router_loss = router_loss;
      run_rows rows{.data = std::move(data)};
      settle(asked, objective, rows);
      step_context context = prepare_rows(scores, objective, rows);
      const auto all = pointers_to(rows.data);
      gradient out;
      const auto parts = batch < 1 ? split_by_tokens(all, 2048) : split_by_count(all, batch);
      out.loss = run_step(scores, objective, objective.needs(), all, parts, asked, context, out.metrics).loss;
      plumb::detail::stored_tensors<T> stored(config(), plumb::detail::dtype_of<T>);
      for (const auto& each : p.trainable())
        stored.add(each.name, each.parameter->value.extent(), each.parameter->gradient.host(), each.name);
      for (const auto& each : stored.entries())
        out.parts.push_back({each.name, each.extents, {each.numbers.begin(), each.numbers.end()}, sizeof(T) == 8});
      return out;
    });
  }

  trial try_step(const method& m, std::vector<example> data) override {
    return at_trained_level(m, [&](const auto& objective) {
      for (const auto& each : trained().trainable()) each.parameter->set_trainable(true);
      scorer<B, T> scores(model_);
      const auto extra = sums_of(objective);
      auto asked = request_of(objective, extra);
      trial out;
      using clock = std::chrono::steady_clock;
      const auto seconds_since = [](clock::time_point start) {
        return std::chrono::duration<double>(clock::now() - start).count();
      };
      run_rows rows{.data = std::move(data)};
      settle(asked, objective, rows);
      fit_rows(objective, rows.data, objective.needs());
      const auto all = pointers_to(rows.data);
      for (int round = 0; round < 2; ++round) {  // the first one also fills caches and makes the buffers
        for (example& e : rows.data)
          for (reply& r : e.replies) r.reference = missing, r.token_references.clear();
        auto start = clock::now();
        refer(scores, objective, rows.data);
        out.score_seconds = seconds_since(start);
        step_context context{.baseline = 0};  // a baseline costs what references cost
        metric_list metrics;
        start = clock::now();
        const auto result =
            run_step(scores, objective, objective.needs(), all, {std::span(all)}, asked, context, metrics);
        out.seconds = seconds_since(start);
        out.loss = result.loss;
        out.tokens = static_cast<index_t>(result.tokens);
      }
      out.buffers = scores.memory();
      return out;
    });
  }

  fit_result fit(const method& m, std::vector<example> data, example_stream* stream, const fit_options& options,
                 listener& told) override {
    return at_trained_level(m, [&](const auto& objective) {
      if (stream) return plumb::fit(trained(), objective, *stream, options, listening{told}, teacher_);
      return plumb::fit(trained(), objective, std::move(data), options, listening{told}, teacher_);
    });
  }

  void save_adapter(const std::filesystem::path& folder) const override { plumb::save_adapter(*policy_, folder); }
  void save_merged(const std::filesystem::path& folder) const override { plumb::save_merged(*policy_, folder); }
  void save_merged_adapters(const std::vector<weighted_adapter>& adapters, const merge_options& how,
                            const std::filesystem::path& folder) const override {
    plumb::save_model(merge_adapters(model_, adapters, how), folder);
  }
  void save_joined_adapters(const std::vector<weighted_adapter>& adapters, const merge_options& how, index_t rank,
                            const std::filesystem::path& folder) const override {
    plumb::save_adapter(rank > 0 ? compress_adapters(model_, adapters, rank, how) : join_adapters(model_, adapters),
                        folder);
  }
  void save_merged_models(const std::vector<weighted_adapter>& others, const merge_options& how, bool on_arc,
                          const load_options& options, const std::filesystem::path& folder) const override {
    std::vector<weighted_model<B, T>> loaded;
    for (const auto& each : others) loaded.push_back({load_model<B, T>(each.folder, options), each.weight});
    plumb::save_model(
        on_arc ? slerp_models(model_, loaded[0].model, loaded[0].weight) : merge_models(model_, loaded, how), folder);
  }
  void save_model(const std::filesystem::path& folder) const override {
    if (has_score_head() && !policy_->score_head()->critic)
      plumb::save_merged(*policy_, folder);
    else
      plumb::save_model(model_, folder);
  }

 private:
  policy<B, T>& trained() {
    if (!policy_) throw error(errc::bad_argument, "--adapter", "nothing of the model is trainable; give an adapter");
    return *policy_;
  }

  template <class Objective>
  objective_sums<B, T, Objective> sums_of(const Objective& objective) const {
    return {objective, objective.needs(), model_.network().vocabulary()};
  }
  /// What a pass that learns is asked for.
  template <class Objective>
  typename scorer<B, T>::request request_of(const Objective& objective,
                                            const objective_sums<B, T, Objective>& extra) const {
    typename scorer<B, T>::request asked{.learn = true, .head = extra.options({.entropy = true}), .sums = extra.sums()};
    asked.other = teacher_ ? &teacher_->model : nullptr;
    if (policy_) ask_score_head(asked, *policy_, objective.needs());
    check_comparison(objective.name(), asked.sums, asked.other, policy_ && policy_->has_adapter());
    return asked;
  }

  template <class Objective>
  void settle(typename scorer<B, T>::request& asked, const Objective& objective, run_rows& rows) const {
    if (takes_teacher(asked.sums))
      asked.teacher_words = settle_teacher(objective.name(), asked.sums.statistic->top_words(), asked.other != nullptr,
                                           rows, model_.network().vocabulary());
  }

  template <class Objective>
  void refer(scorer<B, T>& scores, const Objective& objective, std::vector<example>& rows) {
    score_references(scores, std::span(rows), {}, 2048, refers_by_token(Objective::level, objective.needs()));
  }
  /// References and baseline for all rows as one step.
  template <class Objective>
  step_context prepare_rows(scorer<B, T>& scores, const Objective& objective, run_rows& rows) {
    const need needs = objective.needs();
    fit_rows(objective, rows.data, needs);
    if (has(needs, need::divergence)) rows.mismatch(static_cast<index_t>(rows.data.size()));
    shorten(rows.mismatched.rows, positions());
    if (has(needs, need::reference)) {
      refer(scores, objective, rows.data);
      score_references(scores, std::span(rows.mismatched.rows));
    }
    step_context out;
    if (has(needs, need::divergence))
      out.baseline = measure_baseline(scores, rows.mismatched, rows.data, pointers_to(rows.data));
    return out;
  }

  language_model<B, T> model_;
  std::optional<policy<B, T>> policy_;
  std::optional<adapter_set<B, T>> named_;
  std::optional<plumb::teacher<B, T>> teacher_;
};

template <class B, class T>
std::unique_ptr<engine> open_engine(const std::filesystem::path& folder, const load_options& options) {
  return std::make_unique<engine_of<B, T>>(load_model<B, T>(folder, options));
}

}  // namespace program

// SPDX-License-Identifier: BSL-1.0
// How fast plumb trains a Llama of SmolLM2's shape on random tokens, beside what the machine can do at most.
//
//     bench_training [--shape small|135m|360m] [--small] [--360m] [--full] [--methods sft,dpo,orpo,kto,ppo] [--steps 5]
//                    [--threads 0] [--dtype f32|bf16|int8|nf4|..] [--compute f32|bf16] [--dropout 0.0] [--recompute-blocks]
//                    [--model DIR] [--export DIR] [--json FILE]
//
// One optimiser step takes: sft 4 × 256 tokens; dpo and orpo one prompt of 512 with two replies of 256; kto two prompts
// of 512 with a reply of 256; ppo one prompt of 512 with four sampled replies of 256, without a value head. LoRA of rank
// 16 on all maps of the blocks, or with --full all weights. The first step warms up; of the others the median counts, and
// a step's share of the references' scoring before the run. The floor is the time that the least number of operations
// takes at the peak of fused multiply-adds, measured before and after.
//
// --export writes model, adapter and data, so that peers/training.py trains the same weights on the same tokens;
// --model reads weights and adapter back from there.
#include <cstdio>
#include <filesystem>

#include <plumb/io/file.hpp>
#include <plumb/io/json.hpp>
#include <plumb/plumb.hpp>
#include <plumb/train/environment.hpp>

#include "arguments.hpp"
#include "measure.hpp"
#include "timed_steps.hpp"
#include "workload.hpp"

namespace {

namespace json = plumb::json;
using plumb::cpu;
using plumb::index_t;

constexpr const char* usage =
    "bench_training [--shape small|135m|360m] [--small] [--360m] [--full] [--methods sft,dpo,orpo,kto,ppo] [--steps N] "
    "[--threads N] [--dtype f32|bf16|int8|nf4|..] [--compute f32|bf16] [--dropout P] [--recompute-blocks] "
    "[--model DIR] [--export DIR] [--json FILE]";

struct settings {
  std::string shape;
  bool full = false;
  std::vector<std::string> methods;
  index_t steps = 5;   ///< that count
  double dropout = 0;  ///< of the adapter's inputs
  bool recompute_blocks = false;
  plumb::load_options load;
  std::filesystem::path model, exported, report;

  settings(int count, char** words) {
    bench::arguments a(count, words);
    shape = bench::shape_name_of(a);
    full = a.flag("--full");
    recompute_blocks = a.flag("--recompute-blocks");
    methods = bench::parts_of(a.text("--methods", "sft,dpo,orpo,kto,ppo"));
    steps = a.number("--steps", 5, 1);
    dropout = a.share("--dropout", 0);
    load = bench::load_options_of(a);
    model = a.text("--model", "");
    exported = a.text("--export", "");
    report = a.text("--json", "");
    a.done(usage);
  }
};

class benchmark {
 public:
  explicit benchmark(const settings& s)
      : set_(s), config_(bench::shape_of(s.shape)), policy_(make_policy(s, config_)), peak_(measure_peak()) {}

  void run() {
    if (!set_.exported.empty()) return write();
    std::printf("%s, %s, %s, %d threads, peak %.0f GFLOP/s\n", set_.shape.c_str(),
                set_.full ? "all weights" : "LoRA of rank 16",
                std::string(bench::precision_of(set_.load.storage)).c_str(), policy_.model().device()->threads(),
                peak_);
    std::printf("%-6s %7s %12s %10s %10s %10s %10s %10s %10s\n", "", "tokens", "ms a step", "tokens/s", "GFLOP/s",
                "floor ms", "of floor", "peak MB", "loss");
    json::array results;
    for (const std::string& method : set_.methods) results.push_back(measure(method));
    if (set_.report.empty()) return;
    const json::object all{{"program", "plumb"},
                           {"version", plumb::version},
                           {"processor", plumb::describe_environment("cpu").processor},
                           {"shape", set_.shape},
                           {"precision", bench::precision_of(set_.load.storage)},
                           {"trained", trained()},
                           {"threads", policy_.model().device()->threads()},
                           {"peak_gflops", peak_},
                           {"peak_bf16_gflops", bench::peak_bf16_gflops(*policy_.model().device())},
                           {"results", results}};
    plumb::write_file_atomically(set_.report, [&](plumb::writer& out) { out.write(json::dump(all, 1) + "\n"); });
  }

 private:
  static plumb::policy<cpu> make_policy(const settings& s, const plumb::model_config& config) {
    plumb::load_options load = s.load;
    load.positions = config.max_positions;
    // Logits about as far apart as those of a model that knows nothing: with larger embeddings a tied head finds the token
    // it has just read, so surely that log-probabilities of bfloat16 differ by nats between two right implementations.
    const auto model = s.model.empty() ? plumb::make_model<cpu>(config, std::nullopt, {.embedding = 0.02}, load)
                                       : plumb::load_model<cpu>(s.model / "model", load);
    if (s.full) return plumb::train_all(model);
    if (!s.model.empty()) return plumb::load_adapter(model, s.model / "adapter");
    auto policy = plumb::attach_lora(model, {.rank = 16, .dropout = s.dropout});
    bench::stir_adapter(policy);
    return policy;
  }

  [[nodiscard]] const char* trained() const { return set_.full ? "full" : "lora"; }
  [[nodiscard]] bench::step_shape step_of(const std::string& method) const {
    return bench::step_of(method, set_.shape == "small");
  }
  [[nodiscard]] double measure_peak() const { return bench::peak_gflops(*policy_.model().device()); }

  /// Trains with one method, from the weights as they were, and reports it.
  json::object measure(const std::string& method) {
    const auto s = step_of(method);
    const std::vector<std::vector<float>> before = weights();
    bench::reset_peak_memory();
    const bench::timed_steps timed =
        bench::time_steps(policy_, s, set_.steps, config_.vocabulary, set_.recompute_blocks);
    const double memory = static_cast<double>(plumb::peak_memory_bytes()) / 1e6;
    put_back(before);
    peak_ = std::max(peak_, measure_peak());

    const double seconds = timed.seconds();
    const double work = 1e-9 * bench::operations_of(config_, s, set_.full ? 0 : 16);
    const double tokens = static_cast<double>(s.tokens()) / seconds;
    json::array losses, norms, odds, times;
    for (const auto& entry : timed.result.log) {
      losses.push_back(entry.find("loss").value_or(0));
      norms.push_back(entry.find("grad_norm").value_or(0));
      if (const auto ratio = entry.find("log_odds_ratio")) odds.push_back(*ratio);  // TRL's orpo has another likelihood
    }
    for (const double each : timed.steps) times.push_back(1e3 * each);
    std::printf("%-6s %7lld %12.1f %10.1f %10.1f %10.1f %8.1f %% %10.0f %10.6f\n", method.c_str(),
                static_cast<long long>(s.tokens()), 1e3 * seconds, tokens, work / seconds, 1e3 * work / peak_,
                100 * work / seconds / peak_, memory, timed.result.log.front().find("loss").value_or(0));
    std::fflush(stdout);
    return {{"method", method},
            {"tokens", s.tokens()},
            {"ms", 1e3 * seconds},
            {"processor_ms", 1e3 * timed.processor_seconds()},
            {"ms_of_steps", times},
            {"ms_of_reference", 1e3 * timed.reference},
            {"tokens_per_second", tokens},
            {"gflop", work},
            {"gflops", work / seconds},
            {"floor_ms", 1e3 * work / peak_},
            {"of_floor", work / seconds / peak_},
            {"peak_mb", memory},
            {"losses", losses},
            {"log_odds_ratios", odds},
            {"gradient_norms", norms}};
  }

  [[nodiscard]] std::vector<std::vector<float>> weights() const {
    std::vector<std::vector<float>> out;
    for (const auto& each : policy_.trainable()) out.push_back(each.parameter->value.host());
    return out;
  }
  void put_back(const std::vector<std::vector<float>>& numbers) {
    for (std::size_t i = 0; i < numbers.size(); ++i) policy_.trainable()[i].parameter->value.assign(numbers[i]);
  }

  /// Model, adapter, and for each method the rows of each step in the order in which `fit` takes them.
  void write() const {
    plumb::save_model(policy_.model(), set_.exported / "model");
    if (policy_.lora()) plumb::save_adapter(policy_, set_.exported / "adapter");
    json::object methods;
    const auto ids = [](const std::vector<plumb::token_id>& tokens) {
      return json::array(tokens.begin(), tokens.end());
    };
    for (const std::string& method : set_.methods) {
      const auto s = step_of(method);
      const index_t count = set_.steps + 1;
      const auto data = bench::random_examples(s, count, config_.vocabulary);
      const auto plan = plumb::plan_run(data.size(), bench::options_of(s, count));
      const auto partners = s.mismatched ? plumb::mismatch(data) : plumb::mismatched_rows{};
      json::array steps;
      for (index_t i = 0; i < count; ++i) {
        json::array rows;
        for (const plumb::example* e : plan.examples_of(i, data)) {
          json::array replies;
          for (const auto& r : e->replies) replies.push_back(ids(r.tokens));
          json::object row{{"prompt", ids(e->prompt)}, {"replies", replies}, {"desirable", e->desirable}};
          if (s.sampled) {
            json::array old, advantages;
            for (const auto& r : e->replies) {
              old.push_back(json::array(r.old.begin(), r.old.end()));
              advantages.push_back(r.advantages[0]);
            }
            row["old"] = old, row["advantages"] = advantages;
          }
          if (s.mismatched) {
            const auto which = partners.row_of[static_cast<std::size_t>(e - data.data())];
            row["mismatched"] = ids(partners.rows[which].replies[0].tokens);
          }
          rows.push_back(std::move(row));
        }
        steps.push_back(std::move(rows));
      }
      methods[method] = {{"tokens", s.tokens()}, {"steps", steps}};
    }
    const json::object all{{"shape", set_.shape},
                           {"optimiser", {{"rate", 1e-4}, {"betas", {0.9, 0.999}}, {"epsilon", 1e-8}, {"clip", 1.0}}},
                           {"beta", 0.1},
                           {"methods", methods}};
    plumb::write_file_atomically(set_.exported / "data.json", [&](plumb::writer& out) { out.write(json::dump(all)); });
    std::printf("wrote %s\n", set_.exported.c_str());
  }

  settings set_;
  plumb::model_config config_;
  plumb::policy<cpu> policy_;
  double peak_;
};

}  // namespace

int main(int count, char** words) try {
  benchmark(settings(count, words)).run();
  return 0;
} catch (const plumb::error& e) {
  std::fprintf(stderr, "bench_training: %s\n", e.what());
  return 1;
}

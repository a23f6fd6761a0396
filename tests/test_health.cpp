// SPDX-License-Identifier: BSL-1.0
// Warnings about runs that are unwell: one per cause, none on a healthy run; how callbacks and the log get them.
#include <plumb/io/json.hpp>
#include <plumb/train/callbacks.hpp>
#include <plumb/train/health.hpp>
#include <plumb/train/metrics_log.hpp>

#include <cmath>
#include <functional>

#include "catch.hpp"

using namespace plumb;
using Catch::Matchers::Contains;

namespace {

using values = std::vector<std::pair<std::string, double>>;

/// All warnings of a run whose entry i is made by `make`.
std::vector<std::string> run(int entries, const std::function<values(int)>& make) {
  health_monitor monitor;
  std::vector<std::string> all;
  for (int i = 0; i < entries; ++i)
    for (auto& text : monitor.look({i + 1, 0, make(i)})) all.push_back(std::move(text));
  return all;
}

double noise(int i) { return std::sin(12.9898 * i) * 0.5; }

/// What a preference run that goes well looks like: noisy, from ln 2 down, margins up.
values healthy(int i) {
  const double progress = 1 - std::exp(-i / 30.0);
  return {{"loss", 0.6931 - 0.3 * progress + 0.05 * noise(i)},
          {"rewards/chosen", 0.5 * progress},
          {"rewards/margins", 2 * progress + 0.3 * noise(i) * progress},
          {"rewards/accuracies", i == 0 ? 0 : 0.5 + 0.4 * progress + 0.1 * noise(i)},
          {"logps/chosen", -80 - 10 * progress + 20 * noise(i)},
          {"logps/rejected", -90 - 30 * progress + 20 * noise(i)},
          {"kl", 3 * progress},
          {"entropy", 2 - 0.8 * progress},
          {"mean_token_accuracy", 0.5},
          {"grad_norm", 1 + noise(i)}};
}

/// The healthy run with one metric replaced.
std::vector<std::string> sick(const std::string& name, const std::function<double(int)>& f, int entries = 120,
                              const values& more = {}) {
  return run(entries, [&](int i) {
    values out = healthy(i);
    std::erase_if(out, [&](const auto& v) { return v.first == name; });
    out.emplace_back(name, f(i));
    out.insert(out.end(), more.begin(), more.end());
    return out;
  });
}

}  // namespace

TEST_CASE("a healthy run is left in peace, and so is a short one", "[health]") {
  CHECK(run(300, healthy).empty());
  CHECK(run(15, [](int) { return values{{"rewards/margins", -5}, {"kl", 1000}, {"loss", 3}}; }).empty());
  CHECK(run(100,
            [](int i) {  // likelihood on predictable text: low entropy is right there
              return values{{"loss", 2 * std::exp(-i / 10.0)},
                            {"entropy", 2 * std::exp(-i / 10.0)},
                            {"mean_token_accuracy", 1 - 0.5 * std::exp(-i / 10.0)},
                            {"grad_norm", 1}};
            })
            .empty());
  CHECK(run(60, [](int i) { return values{{"eval_loss", std::exp(-i / 20.0)}}; }).empty());
}

TEST_CASE("each trouble is said once, with its numbers and a cure", "[health]") {
  const auto one = [](const std::vector<std::string>& found, const char* word, const char* cure) {
    CAPTURE(word, found);
    REQUIRE(found.size() == 1);
    CHECK_THAT(found[0], Contains(word) && Contains(cure));
  };
  one(sick("rewards/margins", [](int) { return -0.3; }), "rewards/margins", "right way round");
  one(sick("rewards/accuracies", [](int i) { return 0.5 + 0.05 * noise(i); }), "chance", "rate");
  one(sick("kl", [](int i) { return 0.8 * i; }), "per reply", "beta");
  one(sick("entropy", [](int i) { return 2 * std::exp(-i / 8.0); }), "entropy", "Lower the rate");
  one(sick("clip_ratio/region_mean", [](int i) { return std::min(0.9, 0.02 * i); }), "clipped", "sample anew");
  one(sick("logps/chosen", [](int i) { return -80.0 - 2 * i; }), "logps/chosen", "beta");
  one(sick("loss", [](int i) { return 0.69 + 0.02 * i; }), "diverges", "warmup");
  one(sick("grad_norm", [](int i) { return i < 30 ? 1.0 : 0.0; }), "gradient", "saturated");
  one(run(30, [](int i) { return values{{"eval_loss", 1 + std::pow(i - 5, 2) * 0.01}}; }), "eval_loss", "by heart");
  // Tokens have another scale than replies, and samples are always predictable to their sampler.
  one(run(60, [](int i) { return values{{"kl", 0.05 * i}}; }), "per token", "kl_weight");
  one(run(60,
          [](int i) {
            return values{
                {"entropy", 2 * std::exp(-i / 8.0)}, {"mean_token_accuracy", 0.99}, {"clip_ratio/region_mean", 0}};
          }),
      "entropy", "bonus");
}

TEST_CASE("values that are not numbers are passed over, and several troubles are several warnings", "[health]") {
  CHECK(sick("rewards/margins", [](int i) { return i % 2 ? std::nan("") : 0.5; }).empty());
  const auto both = run(60, [](int i) { return values{{"rewards/margins", -1}, {"loss", 1.0 + i}}; });
  CHECK(both.size() == 2);
  // A trouble that goes away again before anything settles is none.
  CHECK(sick("rewards/margins", [](int i) { return i < 12 ? -1.0 : 2.0; }).empty());
}

TEST_CASE("warnings travel in the log and come back", "[health]") {
  log_entry entry{7, 0.5, {{"loss", 0.25}}};
  CHECK_THAT(to_json_line(entry), !Contains("warnings"));
  entry.warnings = {"margins are \"below\" 0"};
  const std::string line = to_json_line(entry);
  const auto back = to_log_entry(json::parse(line, "log"), "log:1");
  CHECK(back.warnings == entry.warnings);
  CHECK(back.values == entry.values);
}

// SPDX-License-Identifier: BSL-1.0
// How the time of an optimiser step grows with one thing at a time, beside the floor of its arithmetic.
//
//     bench_scaling [--axes tokens,width,pairs,prompt,threads] [--layers 8] [--steps 3] [--rounds 3] [--threads 0]
//                   [--dtype f32|bf16|int8|nf4|..] [--compute f32|bf16] [--json FILE] [--pictures DIR]
//
// A Llama as deep as --layers, of SmolLM2-135M's width (576) where that is not what grows, vocabulary 8,192, with LoRA of
// rank 16 on all maps of its blocks:
//
//     tokens    sft on one text of so many tokens
//     width     sft on 4 × 256 tokens
//     pairs     dpo on so many pairs, a prompt of 128 with two replies of 64, the reference inside
//     prompt    dpo on one pair of 768 tokens a reply, so many of them prompt, which both replies share
//     threads   sft on 4 × 256 tokens, up to --threads
//
// A point's time is the median of its rounds, in which all points take their turns. The floor is that of bench_training: the
// least number of operations at the peak of fused multiply-adds of so many threads (with --compute bf16, of products in
// bfloat16), the best of all probes. Where prompts are shared a second floor reads them once for each reply.
#include <cstdio>
#include <filesystem>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include <plumb/io/file.hpp>
#include <plumb/io/json.hpp>
#include <plumb/train/environment.hpp>
#include <plumb/train/svg_chart.hpp>

#include "arguments.hpp"
#include "measure.hpp"
#include "timed_steps.hpp"
#include "workload.hpp"

namespace {

namespace json = plumb::json;
using plumb::cpu;
using plumb::index_t;

constexpr const char* usage =
    "bench_scaling [--axes tokens,width,pairs,prompt,threads] [--layers N] [--steps N] [--rounds N] [--threads N] "
    "[--dtype f32|bf16|int8|nf4|..] [--compute f32|bf16] [--json FILE] [--pictures DIR]";

struct settings {
  std::vector<std::string> axes;
  index_t layers = 8, steps = 3, rounds = 3;
  plumb::load_options load;
  std::filesystem::path report, pictures;

  settings(int count, char** words) {
    bench::arguments a(count, words);
    axes = bench::parts_of(a.text("--axes", "tokens,width,pairs,prompt,threads"));
    layers = a.number("--layers", 8, 1);
    steps = a.number("--steps", 3, 1);
    rounds = a.number("--rounds", 3, 1);
    load = bench::load_options_of(a);
    report = a.text("--json", "");
    pictures = a.text("--pictures", "");
    a.done(usage);
  }
};

/// One thing that grows. `at(x)`: the step of a point; the width and the number of threads have their own models.
struct axis {
  std::string name, label, title;
  std::vector<index_t> points;
  std::function<bench::step_shape(index_t)> at;
};

bench::step_shape texts(index_t count, index_t tokens) { return {"sft", count, 1, 1, tokens - 1}; }
bench::step_shape pairs(index_t count, index_t prompt, index_t reply) { return {"dpo", count, 2, prompt, reply, true}; }

axis axis_of(const std::string& name, int threads) {
  if (name == "tokens")
    return {name, "tokens of the text", "sft on one text", {64, 128, 256, 512, 1024, 2048}, [](index_t x) {
              return texts(1, x);
            }};
  if (name == "width")
    return {name, "width", "sft on 4 × 256 tokens", {192, 384, 576, 768, 960}, [](index_t) { return texts(4, 256); }};
  if (name == "pairs")
    return {name, "pairs", "dpo on pairs of 128 + 2 × 64 tokens", {1, 2, 4, 8}, [](index_t x) {
              return pairs(x, 128, 64);
            }};
  if (name == "prompt")
    return {name,
            "tokens of the prompt, of 768",
            "dpo on a pair that shares its prompt",
            {64, 192, 384, 576, 704},
            [](index_t x) { return pairs(1, x, 768 - x); }};
  if (name == "threads") {
    axis out{name, "threads", "sft on 4 × 256 tokens", {}, [](index_t) { return texts(4, 256); }};
    for (index_t n = 1; n < threads; n *= 2) out.points.push_back(n);
    out.points.push_back(threads);
    return out;
  }
  throw plumb::error(plumb::errc::bad_argument, "--axes",
                     plumb::join("expected some of tokens, width, pairs, prompt, threads, found \"", name, "\""));
}

/// What was measured at one place. `unshared`: the operations of reading prompts once for each reply; 0: there are none.
struct point {
  index_t x = 0, tokens = 0;
  int threads = 1;
  double ms = 0, operations = 0, unshared = 0;
};

class benchmark {
 public:
  explicit benchmark(const settings& s) : set_(s) {
    for (const std::string& name : set_.axes) axis_of(name, 1);  // says what is wrong before anything is measured
  }

  void run() {
    std::vector<std::pair<axis, std::vector<point>>> measured;
    for (const std::string& name : set_.axes) {
      const axis a = axis_of(name, threads());
      measured.emplace_back(a, measure(a));
      print(a, measured.back().second);
    }
    json::array axes;
    for (const auto& [a, points] : measured) {  // floors by the best peak of all
      if (!set_.pictures.empty()) draw(a, points);
      json::array rows;
      for (const point& p : points) {
        json::object row{{"x", p.x}, {"tokens", p.tokens}, {"ms", p.ms}, {"floor_ms", floor(p)}};
        if (p.unshared > 0) row["unshared_floor_ms"] = p.unshared / peak(p);
        rows.push_back(row);
      }
      axes.push_back({{"axis", a.name}, {"label", a.label}, {"title", a.title}, {"points", rows}});
    }
    if (set_.report.empty()) return;
    const json::object all{{"program", "plumb"},
                           {"version", plumb::version},
                           {"processor", plumb::describe_environment("cpu").processor},
                           {"layers", set_.layers},
                           {"rounds", set_.rounds},
                           {"steps", set_.steps},
                           {"precision", precision()},
                           {"threads", threads()},
                           {"peak_gflops", 1e-6 * peaks_.rbegin()->second},
                           {"axes", axes}};
    plumb::write_file_atomically(set_.report, [&](plumb::writer& out) { out.write(json::dump(all, 1) + "\n"); });
  }

 private:
  [[nodiscard]] int threads() const { return cpu::device(set_.load.threads).threads(); }
  [[nodiscard]] std::string precision() const { return bench::precision_of(set_.load); }
  [[nodiscard]] plumb::model_config shape(index_t width) const {
    plumb::model_config c = bench::shape_of("135m");
    c.vocabulary = 8192, c.layers = set_.layers;
    c.hidden_size = width, c.heads = width / 64, c.kv_heads = width / 192, c.intermediate_size = width / 3 * 8;
    return c;
  }
  [[nodiscard]] plumb::policy<cpu> make_policy(const plumb::model_config& c, int threads) const {
    plumb::load_options load = set_.load;
    load.threads = threads, load.positions = c.max_positions;
    auto policy = plumb::attach_lora(plumb::make_model<cpu>(c, std::nullopt, {.embedding = 0.02}, load), {.rank = 16});
    bench::stir_adapter(policy);
    return policy;
  }

  /// A model that several points may share.
  struct subject {
    plumb::model_config config;
    plumb::policy<cpu> policy;
  };
  /// The best peak found so far with so many threads, in operations a millisecond.
  [[nodiscard]] double peak(const point& p) const { return peaks_.at(p.threads); }
  [[nodiscard]] double floor(const point& p) const { return p.operations / peak(p); }

  /// Goes through the points again and again, so that other work of the machine falls on all of them.
  [[nodiscard]] std::vector<point> measure(const axis& a) {
    const bool own = a.name == "width" || a.name == "threads";
    std::vector<subject> subjects;
    for (const index_t x : a.points) {
      if (!own && !subjects.empty()) break;
      const plumb::model_config c = shape(a.name == "width" ? x : 576);
      subjects.push_back({c, make_policy(c, a.name == "threads" ? static_cast<int>(x) : set_.load.threads)});
    }
    std::vector<std::vector<double>> seconds(a.points.size());
    for (index_t round = 0; round < set_.rounds; ++round)
      for (std::size_t i = 0; i < a.points.size(); ++i) {
        subject& on = subjects[own ? i : 0];
        auto& device = *on.policy.model().device();
        double& best = peaks_[device.threads()];
        best = std::max(best, 1e6 * bench::peak_gflops(device, set_.load.products));
        seconds[i].push_back(
            bench::time_steps(on.policy, a.at(a.points[i]), set_.steps, on.config.vocabulary).seconds());
      }
    std::vector<point> out;
    for (std::size_t i = 0; i < a.points.size(); ++i) {
      const subject& on = subjects[own ? i : 0];
      const bench::step_shape s = a.at(a.points[i]);
      bench::step_shape apart = s;
      apart.rows *= s.replies, apart.replies = 1;
      out.push_back({.x = a.points[i],
                     .tokens = s.tokens(),
                     .threads = on.policy.model().device()->threads(),
                     .ms = 1e3 * bench::median(seconds[i]),
                     .operations = bench::operations_of(on.config, s, 16),
                     .unshared = s.replies > 1 ? bench::operations_of(on.config, apart, 16) : 0});
    }
    return out;
  }

  void print(const axis& a, const std::vector<point>& points) const {
    std::printf("%s (%s, %lld layers)\n%-30s %10s %12s %10s %10s\n", a.title.c_str(), precision().c_str(),
                static_cast<long long>(set_.layers), a.label.c_str(), "ms", "tokens/s", "floor ms", "of floor");
    for (const point& p : points) {
      std::printf("%-30lld %10.1f %12.1f %10.1f %8.1f %%", static_cast<long long>(p.x), p.ms,
                  1e3 * static_cast<double>(p.tokens) / p.ms, floor(p), 100 * floor(p) / p.ms);
      if (p.unshared > 0) std::printf("   floor without sharing %10.1f", p.unshared / peak(p));
      std::printf("\n");
    }
    std::fflush(stdout);
  }

  void draw(const axis& a, const std::vector<point>& points) const {
    plumb::line_chart chart{
        .title = plumb::join(a.title, ": milliseconds a step"), .x_label = a.label, .low = 0, .background = "#fff"};
    chart.series = {{.name = "a step, ms"}, {.name = "its floor", .dashed = true}};
    for (const point& p : points) {
      const auto x = static_cast<double>(p.x);
      chart.series[0].points.push_back({x, p.ms});
      chart.series[1].points.push_back({x, floor(p)});
      if (p.unshared <= 0) continue;
      if (chart.series.size() < 3)
        chart.series.push_back({.name = "floor, prompt read for each reply", .dashed = true});
      chart.series[2].points.push_back({x, p.unshared / peak(p)});
    }
    std::filesystem::create_directories(set_.pictures);
    plumb::write_file_atomically(set_.pictures / (a.name + ".svg"),
                                 [&](plumb::writer& out) { out.write(plumb::render_svg(chart, a.name)); });
  }

  settings set_;
  std::map<int, double> peaks_;  ///< by threads
};

}  // namespace

int main(int count, char** words) try {
  benchmark(settings(count, words)).run();
  return 0;
} catch (const plumb::error& e) {
  std::fprintf(stderr, "bench_scaling: %s\n", e.what());
  return 1;
}

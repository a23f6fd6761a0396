// SPDX-License-Identifier: BSL-1.0
// How fast plumb generates with a Llama of SmolLM2's shape, beside what the machine can do at most.
//
//     bench_generation [--shape small|135m|360m] [--small] [--360m] [--prompt 512] [--tokens 64] [--samples 16]
//                      [--repeats 3] [--threads 0] [--dtype f32|bf16|int8|nf4|..] [--compute f32|bf16] [--model DIR] [--export DIR] [--json FILE]
//
// Three figures: the time until the first token of a reply to the prompt (prefill); the time of each further token of one
// greedy reply (decode); the time of all samples of one prompt together, prompt included (samples). Medians. The model
// keeps copies of its weights (language_model::keep_copies), made before anything is timed.
//
// Floors. Prefill: operations at the peak of fused multiply-adds. Decode: reading every weight once, and the cache, at the
// bandwidth that reading memory reaches. Samples: the prompt's operations, and for each token the larger of the two.
//
// --export writes the model for peers/generation.py; --model reads it back. The JSON holds the prompt and the greedy reply
// with its log-probabilities, which a peer must find as well.
#include <cstdio>
#include <filesystem>
#include <functional>

#include <plumb/io/file.hpp>
#include <plumb/io/json.hpp>
#include <plumb/plumb.hpp>
#include <plumb/text/train_bpe.hpp>
#include <plumb/train/environment.hpp>

#include "arguments.hpp"
#include "measure.hpp"
#include "workload.hpp"

namespace {

namespace json = plumb::json;
using plumb::cpu;
using plumb::index_t;

constexpr const char* usage =
    "bench_generation [--shape small|135m|360m] [--small] [--360m] [--prompt N] [--tokens N] [--samples N] "
    "[--repeats N] [--threads N] [--dtype TYPE] [--compute f32|bf16] [--model DIR] [--export DIR] [--json FILE]";

struct settings {
  std::string shape;
  index_t prompt = 512, tokens = 64, samples = 16, repeats = 3;
  plumb::load_options load;
  std::filesystem::path model, exported, report;

  settings(int count, char** words) {
    bench::arguments a(count, words);
    shape = bench::shape_name_of(a);
    prompt = a.number("--prompt", 512, 1);
    tokens = a.number("--tokens", 64, 2);
    samples = a.number("--samples", 16, 1);
    repeats = a.number("--repeats", 3, 1);
    load = bench::load_options_of(a);
    model = a.text("--model", "");
    exported = a.text("--export", "");
    report = a.text("--json", "");
    a.done(usage);
  }
};

/// A time by the clock, and of processors.
struct duration {
  double wall = 0, processor = 0;
};

/// A figure and what it could be at best, in milliseconds.
struct figure {
  const char* name;
  double ms, processor, floor;
};

class benchmark {
 public:
  explicit benchmark(const settings& s) : set_(s), config_(bench::shape_of(s.shape)), model_(make(s, config_)) {
    if (set_.prompt + set_.tokens > config_.max_positions)
      throw plumb::error(plumb::errc::bad_argument, "--prompt",
                         plumb::join("expected prompt and tokens to fit ", config_.max_positions, " positions"));
    prompts_ = {bench::random_tokens(set_.prompt, 99, config_.vocabulary)};
  }

  void run() {
    if (!set_.exported.empty()) {
      plumb::save_model(model_, set_.exported / "model");
      std::printf("wrote %s\n", set_.exported.c_str());
      return;
    }
    auto& device = *model_.device();
    const auto start = bench::clock::now();
    model_.keep_copies();
    const double copying = bench::seconds_since(start);
    const double peak = 1e9 * bench::peak_gflops(device);
    bench::reset_peak_memory();
    const duration first = seconds(1, 1, 0), many = seconds(set_.tokens, set_.samples, 1);
    const double memory = static_cast<double>(plumb::peak_memory_bytes()) / 1e6;
    // A shared machine's bandwidth changes from second to second: it is probed between the replies that it bounds.
    std::vector<double> bandwidths;
    const auto probe = [&] { bandwidths.push_back(1e9 * bench::read_bandwidth(device)); };
    const duration whole = seconds(set_.tokens, 1, 0, probe);
    probe();
    const double bandwidth = bench::median(bandwidths);
    const auto reply = plumb::generate(model_, std::span<const std::vector<plumb::token_id>>(prompts_), greedy());

    const auto number = [](index_t n) { return static_cast<double>(n); };
    const double steps = number(set_.tokens - 1);
    const double prefill = bench::operations_of(config_, set_.prompt - 1, 1, 1, 0).forward / peak;
    const double read = bytes_read() / bandwidth;
    const double each = number(set_.samples) * bench::operations_of(config_, 0, 1, 1, 0).forward / peak;
    const std::vector<figure> figures = {
        {"prefill", 1e3 * first.wall, 1e3 * first.processor, 1e3 * prefill},
        {"decode", 1e3 * (whole.wall - first.wall) / steps, 1e3 * (whole.processor - first.processor) / steps,
         1e3 * read},
        {"samples", 1e3 * many.wall, 1e3 * many.processor, 1e3 * (prefill + steps * std::max(read, each))},
    };
    std::printf(
        "%s, %s, %d threads, peak %.0f GFLOP/s, reads %.1f GB/s, peak memory %.0f MB, weights copied in %.0f ms\n",
        set_.shape.c_str(), std::string(bench::precision_of(set_.load.storage)).c_str(), device.threads(), 1e-9 * peak,
        1e-9 * bandwidth, memory, 1e3 * copying);
    json::array rows;
    for (const figure& f : figures) {
      std::printf("%-8s %10.2f ms   floor %10.2f ms, %5.1f %% of it\n", f.name, f.ms, f.floor, 100 * f.floor / f.ms);
      rows.push_back({{"figure", f.name}, {"ms", f.ms}, {"processor_ms", f.processor}, {"floor_ms", f.floor}});
    }
    if (set_.report.empty()) return;
    const auto& found = reply.at(0).at(0);
    const json::object all{{"program", "plumb"},
                           {"version", plumb::version},
                           {"processor", plumb::describe_environment("cpu").processor},
                           {"shape", set_.shape},
                           {"precision", bench::precision_of(set_.load.storage)},
                           {"threads", device.threads()},
                           {"peak_gflops", 1e-9 * peak},
                           {"read_gbs", 1e-9 * bandwidth},
                           {"peak_mb", memory},
                           {"copying_ms", 1e3 * copying},
                           {"tokens", set_.tokens},
                           {"samples", set_.samples},
                           {"figures", rows},
                           {"prompt", json::array(prompts_[0].begin(), prompts_[0].end())},
                           {"greedy", json::array(found.tokens.begin(), found.tokens.end())},
                           {"logp", json::array(found.logp.begin(), found.logp.end())}};
    plumb::write_file_atomically(set_.report, [&](plumb::writer& out) { out.write(json::dump(all, 1) + "\n"); });
  }

 private:
  /// Random weights, or those of --model. No token ends a reply; the tokenizer is there because llama.cpp wants one.
  static plumb::language_model<cpu> make(const settings& s, plumb::model_config& config) {
    config.eos.clear();
    plumb::load_options load = s.load;
    load.positions = config.max_positions;
    if (!s.model.empty()) return plumb::load_model<cpu>(s.model / "model", load);
    const std::vector<std::string> texts = {"the quick brown fox jumps over the lazy dog"};
    return plumb::make_model<cpu>(config, plumb::train_bpe(texts, 300), {}, load);
  }

  [[nodiscard]] plumb::generate_options greedy() const {
    return {.max_tokens = set_.tokens, .sampling = {.temperature = 0}};
  }

  /// The median time of replies of so many tokens; `before` is called before each.
  [[nodiscard]] duration seconds(
      index_t tokens, index_t samples, double temperature, const std::function<void()>& before = [] {}) const {
    const plumb::generate_options options{.max_tokens = tokens,
                                          .samples = samples,
                                          .sampling = {.temperature = temperature},
                                          .cache_memory = std::size_t{1} << 31};
    std::vector<double> times, processor;
    for (index_t i = 0; i < set_.repeats; ++i) {
      before();
      const auto start = bench::clock::now();
      const double processor_before = bench::processor_seconds();
      const auto made = plumb::generate(model_, std::span<const std::vector<plumb::token_id>>(prompts_), options);
      times.push_back(bench::seconds_since(start));
      processor.push_back(bench::processor_seconds() - processor_before);
      for (const auto& each : made.at(0))
        if (static_cast<index_t>(each.tokens.size()) != tokens)
          throw plumb::error(plumb::errc::bad_model, "reply", "it ended early; the model must not have an end token");
    }
    return {bench::median(times), bench::median(processor)};
  }

  /// Bytes that one token needs at least: each weight, and keys and values half way through the reply.
  [[nodiscard]] double bytes_read() const {
    const auto cached = static_cast<double>(set_.prompt) + static_cast<double>(set_.tokens) / 2;
    const auto row = static_cast<double>(2 * config_.layers * config_.kv_heads * config_.head_width);
    return static_cast<double>(model_.weight_bytes()) + sizeof(float) * cached * row;
  }

  settings set_;
  plumb::model_config config_;
  plumb::language_model<cpu> model_;
  std::vector<std::vector<plumb::token_id>> prompts_;
};

}  // namespace

int main(int count, char** words) try {
  benchmark(settings(count, words)).run();
  return 0;
} catch (const plumb::error& e) {
  std::fprintf(stderr, "bench_generation: %s\n", e.what());
  return 1;
}

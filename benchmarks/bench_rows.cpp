// SPDX-License-Identifier: BSL-1.0
// How fast the cpu backend goes through rows and single numbers: norms, activations, rotary positions, log-probabilities, AdamW.
//
//     bench_rows [--threads 0] [--json FILE]
//
// Each kernel twice. In memory: on more numbers than caches hold, all threads, beside the bandwidth of reading; what is written
// counts twice, since a line is read before it is written. In cache: one thread on numbers that its caches hold, beside what
// Eigen makes of the same formula on one thread, built with the same flags (it gains vectors wider than SSE only from
// -march=native, plumb chooses them at run time). Where Eigen has no such function there is no figure.
#include <cstdio>
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include <plumb/io/file.hpp>
#include <plumb/io/json.hpp>
#include <plumb/plumb.hpp>
#include <plumb/train/environment.hpp>

#include "arguments.hpp"
#include "measure.hpp"

#include <Eigen/Core>

namespace {

namespace json = plumb::json;
using plumb::cpu;
using plumb::index_t;
using plumb::number_function_kind;
using plumb::view;

using array = Eigen::Array<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
using rows_of = Eigen::Map<array>;

/// Arrays of one shape that kernels read and write, [rows, width] each.
struct workspace {
  static constexpr index_t arrays = 4;
  index_t rows, width;
  cpu::device d;
  std::vector<plumb::tensor<cpu, float>> memory;
  plumb::tensor<cpu, float> weight;              ///< [1, width]
  plumb::tensor<cpu, float> angles;              ///< cosines and sines, [rows, 32]
  std::vector<float> statistics;                 ///< four of a row
  std::vector<std::int32_t> positions, targets;  ///< of a row

  workspace(index_t the_rows, index_t the_width, int threads)
      : rows(the_rows),
        width(the_width),
        d(threads),
        weight(std::make_shared<cpu::device>(1), {1, the_width}, 1.0F),
        angles(std::make_shared<cpu::device>(1), {the_rows, 32}, 0.7F),
        statistics(static_cast<std::size_t>(4 * the_rows)),
        targets(static_cast<std::size_t>(the_rows), 1) {
    for (index_t i = 0; i < rows; ++i) positions.push_back(static_cast<std::int32_t>(i));
    for (index_t i = 0; i < arrays; ++i) {
      memory.emplace_back(std::make_shared<cpu::device>(1), plumb::shape{rows, width}, 0.0F);
      float* const numbers = memory.back().get().data;
      for (index_t k = 0; k < rows * width; ++k) numbers[k] = static_cast<float>((k * 7919 + i) % 4001) * 1e-3F - 2;
    }
  }
  [[nodiscard]] view<float> at(index_t i) { return memory[static_cast<std::size_t>(i)].get(); }
  [[nodiscard]] view<const float> in(index_t i) { return at(i); }
  [[nodiscard]] rows_of eigen(index_t i) { return {at(i).data, rows, width}; }
  [[nodiscard]] float* statistic(index_t i) { return statistics.data() + i * rows; }
};

struct kernel {
  const char* name;
  index_t width;
  index_t moved;  ///< arrays of rows that come or go: 1 for one that is read, 2 for one that is written
  std::function<void(workspace&)> run;
  std::function<void(workspace&)> eigen{};  ///< the same formula; none: Eigen has no such function
};

kernel function_of(const char* name, number_function_kind f, std::function<void(workspace&)> eigen) {
  return {name, 1536, 3, [f](workspace& w) { cpu::number_function(w.d, f, 30, w.in(0), w.at(1)); }, std::move(eigen)};
}

std::vector<kernel> all_kernels() {
  constexpr index_t width = 576, inner = 1536, vocabulary = 49152;
  using enum number_function_kind;
  std::vector<kernel> out;
  out.push_back({"sum of two", width, 4, [](workspace& w) { cpu::add<float>(w.d, w.in(0), w.in(1), w.at(2)); },
                 [](workspace& w) { w.eigen(2) = w.eigen(0) + w.eigen(1); }});
  out.push_back(
      {"RMS norm", width, 3,
       [](workspace& w) { cpu::rms_norm<float>(w.d, w.in(0), w.weight.get(), 1e-5, w.at(1), w.statistic(0)); },
       [](workspace& w) {
         const Eigen::Map<const Eigen::Array<float, 1, Eigen::Dynamic>> weight(w.weight.get().data, w.width);
         for (index_t i = 0; i < w.rows; ++i) {
           const float r = 1 / std::sqrt(w.eigen(0).row(i).square().mean() + 1e-5F);
           w.eigen(1).row(i) = w.eigen(0).row(i) * r * weight;
         }
       }});
  out.push_back({"RMS norm, back", width, 4, [](workspace& w) {
                   cpu::rms_norm_backward<float>(w.d, w.in(0), w.weight.get(), w.statistic(0), w.in(1), w.at(2), {});
                 }});
  out.push_back({"layer norm", width, 3,
                 [](workspace& w) {
                   cpu::layer_norm<float>(w.d, w.in(0), w.weight.get(), 1e-5, w.at(1), w.statistic(0), w.statistic(1));
                 },
                 [](workspace& w) {
                   const Eigen::Map<const Eigen::Array<float, 1, Eigen::Dynamic>> weight(w.weight.get().data, w.width);
                   for (index_t i = 0; i < w.rows; ++i) {
                     const float mean = w.eigen(0).row(i).mean();
                     const float r = 1 / std::sqrt((w.eigen(0).row(i) - mean).square().mean() + 1e-5F);
                     w.eigen(1).row(i) = (w.eigen(0).row(i) - mean) * r * weight;
                   }
                 }});
  out.push_back({"layer norm, back", width, 4, [](workspace& w) {
                   cpu::layer_norm_backward<float>(w.d, w.in(0), w.weight.get(), w.statistic(0), w.statistic(1),
                                                   w.in(1), w.at(2), {});
                 }});
  out.push_back({"rotary positions", width, 3, [](workspace& w) {
                   cpu::rotate<float>(w.d, w.in(0), w.positions.data(), w.angles.get(), w.angles.get(), 64,
                                      plumb::rotary_layout::half, 1, false, w.at(1));
                 }});
  out.push_back({"SwiGLU", inner, 4, [](workspace& w) { cpu::swiglu<float>(w.d, w.in(0), w.in(1), w.at(2)); },
                 [](workspace& w) { w.eigen(2) = w.eigen(0) / (1 + (-w.eigen(0)).exp()) * w.eigen(1); }});
  out.push_back({"SwiGLU, back", inner, 5, [](workspace& w) {
                   cpu::swiglu_backward<float>(w.d, w.in(0), w.in(1), w.in(2), false, w.at(3), {});
                 }});
  out.push_back(function_of("SiLU", silu, [](workspace& w) { w.eigen(1) = w.eigen(0) / (1 + (-w.eigen(0)).exp()); }));
  out.push_back(function_of("GELU by tanh", gelu_tanh, [](workspace& w) {
    const auto x = w.eigen(0);
    w.eigen(1) = 0.5F * x * (1 + (0.7978845608F * (x + 0.044715F * x * x * x)).tanh());
  }));
  out.push_back(function_of("GELU", gelu, {}));
  out.push_back({"GELU, back", inner, 4,
                 [](workspace& w) { cpu::number_function_backward(w.d, gelu, 0, w.in(0), w.in(1), false, w.at(2)); }});
  out.push_back(function_of("soft cap", soft_cap, [](workspace& w) { w.eigen(1) = 30 * (w.eigen(0) / 30).tanh(); }));
  out.push_back({"log-probabilities of rows", vocabulary, 1,
                 [](workspace& w) {
                   cpu::row_statistics<float>(
                       w.d, w.in(0), w.targets.data(),
                       {.logp = w.statistic(0), .log_partition = w.statistic(1), .entropy = {}, .best = {}});
                 },
                 [](workspace& w) {
                   for (index_t i = 0; i < w.rows; ++i) {
                     const auto row = w.eigen(0).row(i);
                     const float top = row.maxCoeff();
                     w.statistic(0)[i] = row[1] - top - std::log((row - top).exp().sum());
                   }
                 }});
  out.push_back({"their gradients", vocabulary, 2,
                 [](workspace& w) {
                   cpu::row_gradients<float>(w.d, w.at(0), w.targets.data(), w.statistic(1), nullptr, w.statistic(2),
                                             nullptr);
                 },
                 [](workspace& w) {
                   for (index_t i = 0; i < w.rows; ++i)
                     w.eigen(0).row(i) = (w.eigen(0).row(i) - w.statistic(1)[i]).exp() * w.statistic(2)[i];
                 }});
  out.push_back({"AdamW", inner, 8,
                 [](workspace& w) { cpu::adamw<float>(w.d, {.rate = 1e-9}, w.at(0), w.at(1), w.at(2), w.at(3)); },
                 [](workspace& w) {
                   auto g = w.eigen(0), m = w.eigen(1), v = w.eigen(2), p = w.eigen(3);
                   m = 0.9F * m + 0.1F * g;
                   v = 0.999F * v + 0.001F * g.square();
                   p -= 1e-9F * m / (v.abs().sqrt() + 1e-8F);
                   g = 0;
                 }});
  return out;
}

class benchmark {
 public:
  benchmark(int count, char** words) {
    bench::arguments a(count, words);
    const int threads = a.number("--threads", 0, 0);
    report_ = a.text("--json", "");
    a.done("bench_rows [--threads N] [--json FILE]");
    cpu::device d(threads);
    threads_ = d.threads();
    bandwidth_ = bench::read_bandwidth(d);
  }

  void run() {
    std::printf("%d threads, reads %.1f GB/s\n%-28s %6s %12s %12s %18s %12s\n", threads_, bandwidth_, "kernel", "width",
                "memory GB/s", "of reading", "cache, ns/number", "× Eigen");
    json::array rows;
    for (const kernel& k : all_kernels()) rows.push_back(measure(k));
    if (report_.empty()) return;
    const json::object all{{"program", "plumb"},
                           {"version", plumb::version},
                           {"processor", plumb::describe_environment("cpu").processor},
                           {"threads", threads_},
                           {"bandwidth_gbps", bandwidth_},
                           {"kernels", rows}};
    plumb::write_file_atomically(report_, [&](plumb::writer& out) { out.write(json::dump(all, 1) + "\n"); });
  }

 private:
  json::object measure(const kernel& k) const {
    constexpr index_t in_memory = index_t{1} << 25, in_cache = index_t{1} << 15;  // numbers of an array
    double gbps = 0;
    {
      workspace large(std::max<index_t>(in_memory / k.width, 1), k.width, threads_);
      const double seconds = bench::median_seconds([&] { k.run(large); });
      gbps = 4e-9 * static_cast<double>(k.moved * large.rows * k.width) / seconds;
    }
    workspace small(std::max<index_t>(in_cache / k.width, 1), k.width, 1);
    const double each = 1e9 / static_cast<double>(small.rows * k.width);
    const double ours = each * bench::median_seconds([&] { k.run(small); }, 0.05);
    const double theirs = k.eigen ? each * bench::median_seconds([&] { k.eigen(small); }, 0.05) : 0;
    std::printf("%-28s %6lld %12.1f %10.0f %% %18.3f", k.name, static_cast<long long>(k.width), gbps,
                100 * gbps / bandwidth_, ours);
    if (k.eigen)
      std::printf(" %12.2f\n", theirs / ours);
    else
      std::printf(" %12s\n", "–");
    std::fflush(stdout);
    json::object row{{"kernel", k.name}, {"width", k.width}, {"gbps", gbps}, {"cache_ns", ours}};
    if (k.eigen) row["eigen_ns"] = theirs;
    return row;
  }

  int threads_ = 1;
  double bandwidth_ = 0;
  std::filesystem::path report_;
};

}  // namespace

int main(int count, char** words) try {
  benchmark(count, words).run();
  return 0;
} catch (const plumb::error& e) {
  std::fprintf(stderr, "bench_rows: %s\n", e.what());
  return 1;
}

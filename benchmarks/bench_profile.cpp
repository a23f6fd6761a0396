// SPDX-License-Identifier: BSL-1.0
// Where the time of a training step goes, by kind of work, and who allocates memory in a step that has run before.
//
//     bench_profile [--shape small|135m|360m] [--methods sft,dpo] [--steps 3] [--threads 0] [--dtype f32|bf16|int8|nf4|..] [--compute f32|bf16]
//                   [--full] [--json FILE]
//
// The same steps as bench_training, on the cpu backend with a stopwatch around every primitive (timed_backend.hpp). The
// first step does not count. Allocations are counted in the step before the last, by the calls that led to them: the last
// one writes a log entry, which stays.
#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <new>

#include <cxxabi.h>
#include <dlfcn.h>
#include <execinfo.h>

#include <plumb/io/file.hpp>
#include <plumb/io/json.hpp>
#include <plumb/models/families_impl.hpp>  // networks of a backend of our own
#include <plumb/plumb.hpp>

#include "arguments.hpp"
#include "measure.hpp"
#include "timed_backend.hpp"
#include "timed_steps.hpp"
#include "workload.hpp"

namespace {

/// Every call of operator new while `on`, in a table of fixed size that itself needs no heap.
struct allocation_log {
  static constexpr int depth = 24, most = 1 << 16;
  struct entry {
    void* frames[depth];
    int frame_count;
    std::size_t bytes;
  };
  std::atomic<bool> on = false;
  std::atomic<int> count = 0;
  std::atomic<std::size_t> bytes = 0;
  entry entries[most];

  void add(std::size_t size) {
    if (!on.load(std::memory_order_relaxed)) return;
    const int i = count.fetch_add(1);
    bytes += size;
    if (i < most) {
      entries[i].bytes = size;
      entries[i].frame_count = ::backtrace(entries[i].frames, depth);
    }
  }
};
allocation_log allocations;

void* allocate(std::size_t size, std::size_t alignment) {
  allocations.add(size);
  if (void* memory = std::aligned_alloc(alignment, (size + alignment - 1) / alignment * alignment)) return memory;
  throw std::bad_alloc();
}

}  // namespace

void* operator new(std::size_t size) { return allocate(size, alignof(std::max_align_t)); }
void* operator new[](std::size_t size) { return allocate(size, alignof(std::max_align_t)); }
void* operator new(std::size_t size, std::align_val_t alignment) {
  return allocate(size, static_cast<std::size_t>(alignment));
}
void operator delete(void* memory) noexcept { std::free(memory); }
void operator delete[](void* memory) noexcept { std::free(memory); }
void operator delete(void* memory, std::size_t) noexcept { std::free(memory); }
void operator delete[](void* memory, std::size_t) noexcept { std::free(memory); }
void operator delete(void* memory, std::align_val_t) noexcept { std::free(memory); }
void operator delete(void* memory, std::size_t, std::align_val_t) noexcept { std::free(memory); }

namespace {

namespace json = plumb::json;
using bench::timed;
using plumb::index_t;

/// The functions of plumb that a call went through, innermost first, without template arguments; `most` of them.
std::string callers(const allocation_log::entry& e, int most) {
  std::string out;
  for (int i = 0; i < e.frame_count && most > 0; ++i) {
    Dl_info info{};
    if (!::dladdr(e.frames[i], &info) || !info.dli_sname) continue;
    int status = 0;
    char* const readable = abi::__cxa_demangle(info.dli_sname, nullptr, nullptr, &status);
    std::string name = status == 0 ? readable : info.dli_sname;
    std::free(readable);
    const std::size_t at = name.find("plumb::");
    if (at == std::string::npos || name.find("std::") < at) continue;
    name.erase(0, at);
    std::string plain;  // without <…> and (…)
    int inside = 0;
    for (const char c : name) {
      if (c == '<' || c == '(') ++inside;
      if (inside == 0) plain += c;
      if (c == '>' || c == ')') --inside;
    }
    if (out.ends_with(plain)) continue;
    out += (out.empty() ? "" : " < ") + plain;
    --most;
  }
  return out.empty() ? "outside plumb" : out;
}

/// What the steps that count took: all of it, and by kind of work.
struct watch {
  timed::device& device;
  index_t last_step;
  bench::clock::time_point start{};
  double seconds = 0;
  bench::work_times before{};

  void on_step(const plumb::step_info& info) {
    const auto now = bench::clock::now();
    if (info.step > 1) seconds += std::chrono::duration<double>(now - start).count();
    if (info.step == 1) before = device.times;  // the first warms up
    allocations.on = info.step == last_step - 2;
    start = bench::clock::now();
  }
};

class profile {
 public:
  profile(int count, char** words) {
    bench::arguments a(count, words);
    shape_ = bench::shape_name_of(a);
    methods_ = bench::parts_of(a.text("--methods", "sft,dpo"));
    steps_ = a.number("--steps", 3, 2);
    full_ = a.flag("--full");
    const plumb::load_options load = bench::load_options_of(a);
    report_ = a.text("--json", "");
    a.done(
        "bench_profile [--shape small|135m|360m] [--methods LIST] [--steps N] [--threads N] [--dtype TYPE] "
        "[--compute f32|bf16] [--full] [--json FILE]");
    config_ = bench::shape_of(shape_);
    const auto model = plumb::make_model<timed>(config_, std::nullopt, {}, load);
    policy_.emplace(full_ ? plumb::train_all(model) : plumb::attach_lora(model, {.rank = 16}));
    peak_ = bench::peak_gflops(*model.device(), load.products);
    precision_ = bench::precision_of(load);
  }

  void run() {
    json::array all;
    for (const auto& method : methods_) all.push_back(measure(method));
    if (report_.empty()) return;
    const json::object out{{"shape", shape_},         {"trained", full_ ? "full" : "lora"},
                           {"precision", precision_}, {"threads", policy_->model().device()->threads()},
                           {"peak_gflops", peak_},    {"methods", all}};
    plumb::write_file_atomically(report_, [&](plumb::writer& to) { to.write(json::dump(out, 1) + "\n"); });
  }

 private:
  json::object measure(const std::string& method) {
    auto& device = *policy_->model().device();
    const auto s = bench::step_of(method, shape_ == "small");
    device.times = {};
    allocations.count = 0, allocations.bytes = 0;
    watch seen{device, steps_ + 1};
    const auto data = bench::random_examples(s, steps_ + 1, config_.vocabulary);
    bench::with_objective(method, [&](const auto& objective) {
      plumb::fit_options options = bench::options_of(s, steps_ + 1);
      options.log_every = steps_ + 1;
      plumb::fit(*policy_, objective, data, options, seen);
    });
    allocations.on = false;
    return print(method, seen, device.times);
  }

  json::object print(const std::string& method, const watch& seen, const bench::work_times& times) const {
    const double steps = static_cast<double>(steps_), total = seen.seconds / steps;
    std::printf("\n%s, %s, %s, %s: %.1f ms a step without the references, peak %.0f GFLOP/s\n\n", method.c_str(),
                shape_.c_str(), full_ ? "all weights" : "LoRA of rank 16", precision_.c_str(), 1e3 * total, peak_);
    std::printf("| work | ms | share | calls | GFLOP/s | of the peak |\n|---|---|---|---|---|---|\n");
    double products = 0, measured = 0, within_attention = 0;
    json::array rows;
    for (std::size_t i = 0; i < times.size(); ++i) {
      const double seconds = (times[i].seconds - seen.before[i].seconds) / steps;
      const double gflop = 1e-9 * (times[i].operations - seen.before[i].operations) / steps;
      const long calls = (times[i].calls - seen.before[i].calls) / steps_;
      measured += seconds;
      const std::string name(bench::work_names[i]);
      json::object row{{"work", name}, {"ms", 1e3 * seconds}, {"calls", calls}};
      std::printf("| %s | %.1f | %.1f %% | %ld |", name.c_str(), 1e3 * seconds, 100 * seconds / total, calls);
      const auto which = static_cast<bench::work>(i);
      if (bench::is_product(which)) products += seconds;
      if (which == bench::work::attention) within_attention = gflop / rate_of_maps(seen, times);
      if (gflop > 0) {
        row["gflop"] = gflop;
        row["gflops"] = seconds > 0 ? gflop / seconds : 0;
        std::printf(" %.0f | %.0f %% |\n", seconds > 0 ? gflop / seconds : 0,
                    seconds > 0 ? 100 * gflop / seconds / peak_ : 0);
      } else {
        std::printf(" – | – |\n");
      }
      rows.push_back(std::move(row));
    }
    std::printf("| between primitives | %.1f | %.1f %% | – | – | – |\n", 1e3 * (total - measured),
                100 * (total - measured) / total);
    const double outside = 1 - products / total, outside_all = outside - within_attention / total;
    std::printf("\ntime outside matrix products: %.1f %%; without attention's own, at the rate of the maps: %.1f %%\n",
                100 * outside, 100 * outside_all);
    const int count = allocations.count;
    std::printf("heap allocations in the step before the last: %d, %zu bytes together\n\n", count,
                allocations.bytes.load());
    print_allocations(std::min(count, allocation_log::most));
    return {{"method", method},
            {"ms", 1e3 * total},
            {"work", rows},
            {"between_primitives_ms", 1e3 * (total - measured)},
            {"outside_products", outside},
            {"outside_all_products", outside_all},
            {"allocations", count},
            {"allocated_bytes", allocations.bytes.load()}};
  }

  /// GFLOP/s that products with the weights of the blocks reach.
  static double rate_of_maps(const watch& seen, const bench::work_times& times) {
    const auto maps = static_cast<std::size_t>(bench::work::maps);
    return 1e-9 * (times[maps].operations - seen.before[maps].operations) /
           (times[maps].seconds - seen.before[maps].seconds);
  }

  static void print_allocations(int count) {
    std::map<std::string, std::pair<int, std::size_t>> by_caller;
    for (int i = 0; i < count; ++i) {
      auto& [calls, bytes] = by_caller[callers(allocations.entries[i], 3)];
      ++calls, bytes += allocations.entries[i].bytes;
    }
    std::vector<std::pair<std::string, std::pair<int, std::size_t>>> sorted(by_caller.begin(), by_caller.end());
    std::sort(sorted.begin(), sorted.end(),
              [](const auto& a, const auto& b) { return a.second.first > b.second.first; });
    std::printf("| allocations | bytes | by |\n|---|---|---|\n");
    for (std::size_t i = 0; i < sorted.size() && i < 25; ++i)
      std::printf("| %d | %zu | %s |\n", sorted[i].second.first, sorted[i].second.second, sorted[i].first.c_str());
    std::fflush(stdout);
  }

  std::string shape_, precision_;
  std::vector<std::string> methods_;
  index_t steps_ = 3;
  bool full_ = false;
  std::filesystem::path report_;
  plumb::model_config config_;
  std::optional<plumb::policy<timed>> policy_;
  double peak_ = 0;
};

}  // namespace

int main(int count, char** words) try {
  profile(count, words).run();
  return 0;
} catch (const plumb::error& e) {
  std::fprintf(stderr, "bench_profile: %s\n", e.what());
  return 1;
}

// SPDX-License-Identifier: BSL-1.0
// One test body for every backend: each primitive, on shapes that are no multiple of anything, beside plumb::reference.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include <plumb/backend/plan.hpp>
#include <plumb/backend/reference.hpp>
#include <plumb/config.hpp>
#include <plumb/core/view.hpp>

#include "catch.hpp"

namespace plumb_test {

using plumb::index_t;

/// How far a number may lie from the reference, as |a − b| / (1 + |b|).
struct tolerances {
  double single = 2e-5;
  double twice = 1e-12;
};

/// What one case found: its name, the largest distance from the reference, and the bytes of all that was computed.
struct case_result {
  std::string name;
  double error = 0;
  std::string bytes;
};

/// Normal numbers, the same for the same seed.
template <class T>
std::vector<T> random_numbers(index_t count, unsigned seed) {
  std::mt19937 generator(seed);
  std::normal_distribution<double> normal;
  std::vector<T> numbers(static_cast<std::size_t>(count));
  for (T& x : numbers) x = static_cast<T>(normal(generator));
  return numbers;
}
inline std::vector<std::int32_t> random_indices(index_t count, std::int32_t below, unsigned seed) {
  std::mt19937 generator(seed);
  std::vector<std::int32_t> numbers(static_cast<std::size_t>(count));
  for (std::int32_t& x : numbers) x = static_cast<std::int32_t>(generator() % static_cast<std::uint32_t>(below));
  return numbers;
}

/// A matrix in a backend's memory with a twin on the host for the reference.
template <class B, class T>
class twin {
 public:
  twin(typename B::device& d, index_t rows, index_t columns, std::vector<T> values)
      : device_(d), rows_(rows), columns_(columns), host_(std::move(values)) {
    memory_ = static_cast<T*>(B::allocate(d, bytes() + 64));
    B::upload(d, static_cast<const T*>(host_.data()), memory_, rows * columns);
  }
  twin(typename B::device& d, index_t rows, index_t columns, unsigned seed)
      : twin(d, rows, columns, random_numbers<T>(rows * columns, seed)) {}
  twin(const twin&) = delete;
  twin& operator=(const twin&) = delete;
  ~twin() { B::release(device_, memory_, bytes() + 64); }

  [[nodiscard]] plumb::view<T> there() { return {memory_, rows_, columns_}; }
  [[nodiscard]] plumb::view<T> here() { return {host_.data(), rows_, columns_}; }
  [[nodiscard]] std::vector<T> download() {
    std::vector<T> found(host_.size());
    B::download(device_, static_cast<const T*>(memory_), found.data(), rows_ * columns_);
    return found;
  }
  /// Adds to the result how this matrix differs from its twin.
  void compare(case_result& result) {
    const std::vector<T> found = download();
    for (std::size_t i = 0; i < found.size(); ++i) {
      const auto a = static_cast<double>(found[i]), b = static_cast<double>(host_[i]);
      if (std::memcmp(&found[i], &host_[i], sizeof(T)) == 0 || (std::isnan(a) && std::isnan(b)) || a == b) continue;
      const double distance = std::abs(a - b) / (1 + std::abs(b));
      result.error = std::max(result.error, distance >= 0 ? distance : std::numeric_limits<double>::infinity());
    }
    result.bytes.append(reinterpret_cast<const char*>(found.data()), bytes());
  }

 private:
  [[nodiscard]] std::size_t bytes() const { return sizeof(T) * host_.size(); }
  typename B::device& device_;
  index_t rows_, columns_;
  std::vector<T> host_;
  T* memory_ = nullptr;
};

/// A forest: a root, two children, a grandchild, a lone segment and an empty one, all of them `factor` times as long.
struct forest {
  std::vector<plumb::query_segment> segments;
  std::vector<std::int32_t> key_rows, row_segment;
  std::int32_t tokens = 0;

  explicit forest(std::int32_t factor = 1) {
    const std::int32_t lengths[] = {70, 45, 1, 40, 5, 0}, parents[] = {-1, 0, 0, 1, -1, 4};
    std::vector<std::vector<std::int32_t>> path(std::size(lengths));
    for (std::size_t i = 0; i < path.size(); ++i) {
      if (parents[i] >= 0) path[i] = path[static_cast<std::size_t>(parents[i])];
      segments.push_back({tokens, factor * lengths[i], static_cast<std::int32_t>(path[i].size()),
                          static_cast<std::int32_t>(key_rows.size())});
      for (std::int32_t t = 0; t < factor * lengths[i]; ++t) {
        path[i].push_back(tokens++);
        row_segment.push_back(static_cast<std::int32_t>(i));
      }
      key_rows.insert(key_rows.end(), path[i].begin(), path[i].end());
    }
  }
};

/// out[i] = 3 i + first, as a function object that may run anywhere.
struct three_times {
  std::int32_t* out;
  std::int32_t first;
  PLUMB_HD constexpr void operator()(index_t i) const { out[i] = static_cast<std::int32_t>(3 * i) + first; }
};

/// All primitives of B for numbers of type T.
template <class B, class T>
class backend_cases {
 public:
  explicit backend_cases(typename B::device& d) : d_(d) {}

  std::vector<case_result> run() {
    memory();
    for (const auto& [rows, columns] :
         {std::pair<index_t, index_t>{0, 7}, {1, 1}, {1, 37}, {3, 16}, {5, 33}, {67, 96}, {130, 200}, {9, 3001}}) {
      elementwise(rows, columns);
      whole_rows(rows, columns);
      logits(rows, columns);
    }
    for (const index_t heads : {1, 3})
      for (const index_t width : {2, 6, 32, 70}) rotations(heads, width);
    rotations(3, 32, 8), rotations(2, 70, 20), rotations(1, 6, 2);
    for (const index_t m : {0, 1, 3, 14, 33, 200})
      for (const index_t n : {1, 7, 16, 33, 150})
        for (const index_t k : {0, 1, 15, 32, 300}) products(m, n, k);
    products(160, 61, 700), products(27, 48, 700), products(2100, 9, 40);  // of the last, rows go in two parts
    attention(1, 1, 1, 0);
    attention(6, 2, 32, 0, 0, 8), attention(3, 3, 24, 7, 1.5, 4);
    attention(4, 2, 8, 0);
    attention(3, 3, 33, 40);
    attention(6, 1, 64, 1);
    attention(2, 2, 130, 0);
    attention(4, 2, 16, 40, 0.5);
    attention(6, 2, 24, 0, 0, 0, true), attention(3, 3, 40, 0, 1.5, 0, true);
    attention(2, 1, 16, 0, 0, 0, false, 8), attention(1, 1, 8, 300, 0, 0, false, 8);
    return std::move(results_);
  }

 private:
  using ref = plumb::reference;
  using numbers = twin<B, T>;
  using indices = twin<B, std::int32_t>;

  template <class F>
  void record(std::string name, F f) {
    case_result result{.name = std::move(name), .error = 0, .bytes = {}};
    f(result);
    results_.push_back(std::move(result));
  }
  static std::string shaped(const char* name, index_t rows, index_t columns) {
    return std::string(name) + " " + std::to_string(rows) + "x" + std::to_string(columns);
  }

  void memory() {
    record("copy, fill, for_each", [&](case_result& result) {
      numbers a(d_, 41, 9, 1), b(d_, 41, 9, 2);
      B::copy(d_, plumb::view<const T>(a.there()), b.there());
      ref::copy<T>(r_, a.here(), b.here());
      b.compare(result);
      B::fill(d_, a.there(), T(2.5));
      ref::fill(r_, a.here(), T(2.5));
      a.compare(result);
      indices c(d_, 1, 100003, random_indices(100003, 5, 3));
      B::for_each(d_, 100003, three_times{c.there().data, 7});
      ref::for_each(r_, 100003, three_times{c.here().data, 7});
      c.compare(result);
    });
  }

  void elementwise(index_t m, index_t n) {
    numbers a(d_, m, n, 11), b(d_, m, n, 12), c(d_, m, n, 13);
    record(shaped("pointwise", m, n), [&](case_result& result) {
      numbers out(d_, m, n, 14);
      B::template add<T>(d_, a.there(), b.there(), out.there());
      ref::add<T>(r_, a.here(), b.here(), out.here());
      B::template multiply_add<T>(d_, a.there(), c.there(), out.there());
      ref::multiply_add<T>(r_, a.here(), c.here(), out.here());
      B::template multiply<T>(d_, out.there(), b.there(), out.there());
      ref::multiply<T>(r_, out.here(), b.here(), out.here());
      B::template add_scaled<T>(d_, T(-0.3), c.there(), out.there());
      ref::add_scaled<T>(r_, T(-0.3), c.here(), out.here());
      out.compare(result);
    });
    record(shaped("swiglu", m, n), [&](case_result& result) {
      numbers out(d_, m, n, 15), d_gate(d_, m, n, 16), d_up(d_, m, n, 17);
      B::template swiglu<T>(d_, a.there(), b.there(), out.there());
      ref::swiglu<T>(r_, a.here(), b.here(), out.here());
      out.compare(result);
      for (const bool accumulate : {true, false}) {
        B::template swiglu_backward<T>(d_, a.there(), b.there(), c.there(), accumulate, d_gate.there(), d_up.there());
        ref::swiglu_backward<T>(r_, a.here(), b.here(), c.here(), accumulate, d_gate.here(), d_up.here());
        d_gate.compare(result);
        d_up.compare(result);
      }
      B::template swiglu_backward<T>(d_, a.there(), b.there(), c.there(), true, {}, d_up.there());
      ref::swiglu_backward<T>(r_, a.here(), b.here(), c.here(), true, {}, d_up.here());
      B::template swiglu_backward<T>(d_, a.there(), b.there(), c.there(), true, d_gate.there(), {});
      ref::swiglu_backward<T>(r_, a.here(), b.here(), c.here(), true, d_gate.here(), {});
      d_gate.compare(result);
      d_up.compare(result);
    });
    record(shaped("dropout", m, n), [&](case_result& result) {
      numbers out(d_, m, n, 18);
      for (const bool accumulate : {false, true}) {
        B::template dropout<T>(d_, a.there(), 0x123456789abcdefu, 0.3, accumulate, out.there());
        ref::dropout<T>(r_, a.here(), 0x123456789abcdefu, 0.3, accumulate, out.here());
        out.compare(result);
      }
    });
    record(shaped("adamw", m, n), [&](case_result& result) {
      numbers gradient(d_, m, n, 18), first(d_, m, n, 19), p(d_, m, n, 20);
      numbers second(d_, m, n, std::vector<T>(static_cast<std::size_t>(m * n), T(0.5)));
      const plumb::adamw_step step{.rate = 0.01,
                                   .beta1 = 0.9,
                                   .beta2 = 0.99,
                                   .epsilon = 1e-8,
                                   .weight_decay = 0.1,
                                   .correction1 = 0.19,
                                   .correction2 = 0.02,
                                   .gradient_scale = 0.7};
      B::template adamw<T>(d_, step, gradient.there(), first.there(), second.there(), p.there());
      ref::adamw<T>(r_, step, gradient.here(), first.here(), second.here(), p.here());
      gradient.compare(result);
      first.compare(result);
      second.compare(result);
      p.compare(result);
    });
    record(shaped("sum_of_squares", m, n), [&](case_result& result) {
      const double found = B::template sum_of_squares<T>(d_, a.there());
      const double expected = ref::sum_of_squares<T>(r_, a.here());
      result.error = std::abs(found - expected) / (1 + expected);
      result.bytes.assign(reinterpret_cast<const char*>(&found), sizeof found);
    });
  }

  void whole_rows(index_t m, index_t n) {
    numbers x(d_, m, n, 21), weight(d_, 1, n, 22);
    record(shaped("rms_norm", m, n), [&](case_result& result) {
      numbers y(d_, m, n, 23), inverse(d_, 1, m, 24), dy(d_, m, n, 25), dx(d_, m, n, 26), dw(d_, 1, n, 27);
      B::template rms_norm<T>(d_, x.there(), weight.there(), 1e-5, y.there(), inverse.there().data);
      ref::rms_norm<T>(r_, x.here(), weight.here(), 1e-5, y.here(), inverse.here().data);
      y.compare(result);
      inverse.compare(result);
      const auto back = [&](bool with_dx, bool with_dw) {
        B::template rms_norm_backward<T>(d_, x.there(), weight.there(), inverse.there().data, dy.there(),
                                         with_dx ? dx.there() : plumb::view<T>{},
                                         with_dw ? dw.there() : plumb::view<T>{});
        ref::rms_norm_backward<T>(r_, x.here(), weight.here(), inverse.here().data, dy.here(),
                                  with_dx ? dx.here() : plumb::view<T>{}, with_dw ? dw.here() : plumb::view<T>{});
      };
      back(true, true);
      back(false, true);
      back(true, false);
      dx.compare(result);
      dw.compare(result);
    });
    record(shaped("rows", m, n), [&](case_result& result) {
      numbers out(d_, m, n, 28), sums(d_, 1, n, 29), factor(d_, 1, m, 30), table(d_, 6, n, 31),
          picked(d_, 2 * m, n, 32);
      indices rows(d_, 1, m, random_indices(m, 6, 33)), twice(d_, 1, 2 * m, random_indices(2 * m, 6, 34));
      B::template add_row<T>(d_, x.there(), weight.there(), out.there());
      ref::add_row<T>(r_, x.here(), weight.here(), out.here());
      B::template add_scaled_rows<T>(d_, factor.there().data, x.there(), out.there());
      ref::add_scaled_rows<T>(r_, factor.here().data, x.here(), out.here());
      out.compare(result);
      B::template sum_rows<T>(d_, x.there(), sums.there());
      ref::sum_rows<T>(r_, x.here(), sums.here());
      sums.compare(result);
      B::template gather_rows<T>(d_, table.there(), twice.there().data, picked.there());
      ref::gather_rows<T>(r_, table.here(), twice.here().data, picked.here());
      picked.compare(result);
      B::template scatter_add_rows<T>(d_, x.there(), rows.there().data, table.there());
      ref::scatter_add_rows<T>(r_, x.here(), rows.here().data, table.here());
      table.compare(result);
    });
  }

  void logits(index_t m, index_t n) {
    record(shaped("logits", m, n), [&](case_result& result) {
      numbers z(d_, m, n, 41), slope(d_, 1, m, 42), entropy_slope(d_, 1, m, 43), statistics(d_, 3, m, 44);
      for (index_t i = 0; n > 2 && i < m; ++i) z.here().row(i)[n - 1] = z.here().row(i)[1] = T(4.5);  // a tie
      B::upload(d_, static_cast<const T*>(z.here().data), z.there().data, m * n);
      indices targets(d_, 1, m, random_indices(m, static_cast<std::int32_t>(n), 45)),
          best(d_, 1, m, std::vector<std::int32_t>(static_cast<std::size_t>(m)));
      const auto outputs = [&](plumb::view<T> all, std::int32_t* index) {
        return plumb::row_outputs<T>{
            .logp = all.row(0), .log_partition = all.row(1), .entropy = all.row(2), .best = index};
      };
      B::template row_statistics<T>(d_, z.there(), targets.there().data,
                                    outputs(statistics.there(), best.there().data));
      ref::row_statistics<T>(r_, z.here(), targets.here().data, outputs(statistics.here(), best.here().data));
      B::template row_statistics<T>(d_, z.there(), targets.there().data, {});  // nothing asked, nothing written
      statistics.compare(result);
      best.compare(result);
      const T *there = statistics.there().data, *here = statistics.here().data;
      B::template row_gradients<T>(d_, z.there(), targets.there().data, there + m, there + 2 * m, slope.there().data,
                                   entropy_slope.there().data);
      ref::row_gradients<T>(r_, z.here(), targets.here().data, here + m, here + 2 * m, slope.here().data,
                            entropy_slope.here().data);
      z.compare(result);
      const T* const none = nullptr;
      numbers again(d_, m, n, 46);
      B::template row_gradients<T>(d_, again.there(), targets.there().data, there + m, none, none, none);
      ref::row_gradients<T>(r_, again.here(), targets.here().data, here + m, none, none, none);
      again.compare(result);
    });
  }

  /// `turned`: how much of each head turns; 0: all.
  void rotations(index_t heads, index_t width, index_t turned = 0) {
    const index_t pairs = (turned > 0 ? turned : width) / 2;
    for (const auto layout : {plumb::rotary_layout::half, plumb::rotary_layout::interleaved})
      record(shaped("rotate", heads, width), [&](case_result& result) {
        const index_t m = 19;
        numbers x(d_, m, heads * width, 51), out(d_, m, heads * width, 52);
        numbers cosine(d_, 30, pairs, 53), sine(d_, 30, pairs, 54);
        indices positions(d_, 1, m, random_indices(m, 30, 55));
        for (const int direction : {1, -1})
          for (const bool accumulate : {false, true}) {
            B::template rotate<T>(d_, x.there(), positions.there().data, cosine.there(), sine.there(), width, layout,
                                  direction, accumulate, out.there());
            ref::rotate<T>(r_, x.here(), positions.here().data, cosine.here(), sine.here(), width, layout, direction,
                           accumulate, out.here());
            out.compare(result);
          }
        B::template rotate<T>(d_, x.there(), positions.there().data, cosine.there(), sine.there(), width, layout, 1,
                              false, x.there());
        ref::rotate<T>(r_, x.here(), positions.here().data, cosine.here(), sine.here(), width, layout, 1, false,
                       x.here());
        x.compare(result);
      });
  }

  void products(index_t m, index_t n, index_t k) {
    for (const auto kind : {plumb::product::nt, plumb::product::nn, plumb::product::tn})
      record(shaped(kind == plumb::product::nt   ? "nt"
                    : kind == plumb::product::nn ? "nn"
                                                 : "tn",
                    m, n) +
                 "x" + std::to_string(k),
             [&](case_result& result) {
               const bool tn = kind == plumb::product::tn, nt = kind == plumb::product::nt;
               numbers a(d_, tn ? k : m, tn ? m : k, 61), b(d_, nt ? n : k, nt ? k : n, 62), c(d_, m, n, 63);
               numbers fresh(d_, m, n,
                             std::vector<T>(static_cast<std::size_t>(m * n), std::numeric_limits<T>::quiet_NaN()));
               B::template multiply<T>(d_, kind, T(0.1), a.there(), b.there(), T(0.7), c.there());
               ref::multiply<T>(r_, kind, T(0.1), a.here(), b.here(), T(0.7), c.here());
               c.compare(result);
               B::template multiply<T>(d_, kind, T(0.1), a.there(), b.there(), T(0), fresh.there());
               ref::multiply<T>(r_, kind, T(0.1), a.here(), b.here(), T(0), fresh.here());
               fresh.compare(result);
             });
  }

  void attention(index_t heads, index_t kv_heads, index_t width, index_t window, double cap = 0, double alibi = 0,
                 bool both_ways = false, std::int32_t factor = 1) {
    const std::string how = both_ways ? " in both directions" : factor > 1 ? " over long segments" : "";
    record(
        "attention of " + std::to_string(heads) + " heads of " + std::to_string(width) + how, [&](case_result& result) {
          const forest f(factor);
          const index_t m = f.tokens;
          const auto bytes = [](const auto& list) { return list.size() * sizeof(list[0]); };
          const auto count = static_cast<index_t>(f.key_rows.size());
          indices key_rows(d_, 1, count, f.key_rows), row_segment(d_, 1, m, f.row_segment);
          std::vector<std::int32_t> flat(bytes(f.segments) / sizeof(std::int32_t));
          std::memcpy(flat.data(), f.segments.data(), bytes(f.segments));
          indices segments(d_, 1, static_cast<index_t>(flat.size()), flat);
          plumb::attention_plan here{.segments = f.segments.data(),
                                     .segment_count = static_cast<index_t>(f.segments.size()),
                                     .key_rows = f.key_rows.data(),
                                     .row_segment = f.row_segment.data()};
          plumb::attention_plan there{.segments = reinterpret_cast<const plumb::query_segment*>(segments.there().data),
                                      .segment_count = here.segment_count,
                                      .key_rows = key_rows.there().data,
                                      .row_segment = row_segment.there().data};
          const plumb::attention_options o{.heads = heads,
                                           .kv_heads = kv_heads,
                                           .head_width = width,
                                           .scale = 1 / std::sqrt(static_cast<double>(width)),
                                           .window = window,
                                           .cap = cap,
                                           .alibi = alibi,
                                           .both_ways = both_ways};
          numbers q(d_, m, heads * width, 71), k(d_, m, kv_heads * width, 72), v(d_, m, kv_heads * width, 73);
          numbers out(d_, m, heads * width, 74), log_sum(d_, m, heads, 75), slope(d_, m, heads * width, 76);
          numbers dq(d_, m, heads * width, 77), dk(d_, m, kv_heads * width, 78), dv(d_, m, kv_heads * width, 79);
          B::template attention<T>(d_, there, o, q.there(), k.there(), v.there(), out.there(), log_sum.there());
          ref::attention<T>(r_, here, o, q.here(), k.here(), v.here(), out.here(), log_sum.here());
          out.compare(result);
          log_sum.compare(result);
          B::template attention_backward<T>(d_, there, o, q.there(), k.there(), v.there(), out.there(), log_sum.there(),
                                            slope.there(), dq.there(), dk.there(), dv.there());
          ref::attention_backward<T>(r_, here, o, q.here(), k.here(), v.here(), out.here(), log_sum.here(),
                                     slope.here(), dq.here(), dk.here(), dv.here());
          dq.compare(result);
          dk.compare(result);
          dv.compare(result);
          // An empty batch is a batch.
          there.segment_count = 0;
          B::template attention<T>(d_, there, o, q.there(), k.there(), v.there(), out.there(), log_sum.there());
          B::template attention_backward<T>(d_, there, o, q.there(), k.there(), v.there(), out.there(), log_sum.there(),
                                            slope.there(), dq.there(), dk.there(), dv.there());
          dq.compare(result);
        });
  }

  typename B::device& d_;
  plumb::reference::device r_;
  std::vector<case_result> results_;
};

/// All primitives of B beside the reference, in float and double.
template <class B>
void check_backend(typename B::device& d, tolerances allowed = {}) {
  for (const case_result& result : backend_cases<B, float>(d).run()) {
    INFO("float, " << result.name);
    CHECK(result.error <= allowed.single);
  }
  for (const case_result& result : backend_cases<B, double>(d).run()) {
    INFO("double, " << result.name);
    CHECK(result.error <= allowed.twice);
  }
}
template <class B>
void check_backend(tolerances allowed = {}) {
  typename B::device d;
  check_backend<B>(d, allowed);
}

}  // namespace plumb_test

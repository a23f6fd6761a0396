// SPDX-License-Identifier: BSL-1.0
// What the kernels of thrust_*.hpp promise beyond right numbers: a row's bits do not depend on its batch, nor any bits on
// the order in which blocks run. One set of tests for thrust_host and for cuda.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <type_traits>
#include <utility>
#include <vector>

#include <plumb/backend/plan.hpp>
#include <plumb/backend/reference.hpp>
#include <plumb/core/error.hpp>
#include <plumb/core/random.hpp>
#include <plumb/core/view.hpp>
#include "catch.hpp"
#include "device_numbers.hpp"

namespace plumb_test {

using plumb::index_t;

/// Fixed numbers in [−2, 2) from a stream.
template <class T>
std::vector<T> some_numbers(index_t count, std::uint64_t key) {
  std::vector<T> result(static_cast<std::size_t>(count));
  for (std::size_t i = 0; i < result.size(); ++i)
    result[i] = static_cast<T>(plumb::philox_word(key, i)) / T(1u << 30) - T(2);
  return result;
}

template <class T>
bool same_bits(const std::vector<T>& a, const std::vector<T>& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), sizeof(T) * a.size()) == 0;
}

template <class T>
std::vector<T> part(const std::vector<T>& all, index_t first, index_t count) {
  return {all.begin() + first, all.begin() + first + count};
}

/// The rows of X·Wᵀ, whole, alone, and in groups of every kind of tile.
template <class B, class T>
void check_product_rows(index_t m, index_t n, index_t k) {
  typename B::device d;
  const auto x = some_numbers<T>(m * k, 1), w = some_numbers<T>(n * k, 2);
  const numbers<B, T> weight(d, w, n, k);
  const auto rows = [&](const std::vector<T>& from, index_t first, index_t count) {
    const numbers<B, T> a(d, part(from, first * k, count * k), count, k);
    const numbers<B, T> c(d, T(7), count, n);
    B::multiply(d, plumb::product::nt, T(1), a.all(), weight.all(), T(0), c.all());
    return c.host();
  };
  const auto whole = rows(x, 0, m);
  for (const index_t count : {index_t(1), index_t(8), index_t(9), index_t(65)}) {
    if (count > m) continue;
    for (const index_t first : {index_t(0), m / 3, m - count}) {
      if (first + count > m) continue;
      INFO("m " << m << ", rows " << first << " and " << count - 1 << " more");
      CHECK(same_bits(rows(x, first, count), part(whole, first * n, count * n)));
    }
  }
  auto other = x;
  other[static_cast<std::size_t>(m * k - 1)] += T(1);  // negative control
  CHECK_FALSE(same_bits(rows(other, 0, m), whole));
}

/// A forest given as (length, parent) pairs, as the arrays of an attention plan.
struct segment_forest {
  std::vector<plumb::query_segment> segments;
  std::vector<std::int32_t> key_rows;
  std::vector<std::int32_t> row_segment;
  index_t tokens = 0;

  explicit segment_forest(const std::vector<std::pair<int, int>>& parts) {
    std::vector<std::vector<std::int32_t>> paths;
    for (const auto& [length, parent] : parts) {
      auto path = parent < 0 ? std::vector<std::int32_t>{} : paths[static_cast<std::size_t>(parent)];
      plumb::query_segment segment;
      segment.first_row = static_cast<std::int32_t>(tokens);
      segment.length = length;
      segment.first_position = static_cast<std::int32_t>(path.size());
      segment.keys = static_cast<std::int32_t>(key_rows.size());
      for (int i = 0; i < length; ++i) {
        path.push_back(static_cast<std::int32_t>(tokens + i));
        row_segment.push_back(static_cast<std::int32_t>(segments.size()));
      }
      key_rows.insert(key_rows.end(), path.begin(), path.end());
      segments.push_back(segment);
      paths.push_back(std::move(path));
      tokens += length;
    }
  }
};

template <class T>
struct attention_results {
  std::vector<T> out, log_sum, dq, dk, dv;
};

template <class B, class T>
attention_results<T> attend(const segment_forest& f, const plumb::attention_options& o, const std::vector<T>& q,
                            const std::vector<T>& k, const std::vector<T>& v, const std::vector<T>& slope) {
  typename B::device d;
  const index_t wide = o.heads * o.head_width, narrow = o.kv_heads * o.head_width;
  const numbers<B, T> q_(d, q, f.tokens, wide), k_(d, k, f.tokens, narrow), v_(d, v, f.tokens, narrow);
  const numbers<B, T> slope_(d, slope, f.tokens, wide), out(d, T(9), f.tokens, wide), sums(d, T(9), f.tokens, o.heads);
  const numbers<B, T> dq(d, T(0), f.tokens, wide), dk(d, T(0), f.tokens, narrow), dv(d, T(0), f.tokens, narrow);
  const numbers<B, plumb::query_segment> segments(d, f.segments);
  const numbers<B, std::int32_t> key_rows(d, f.key_rows), row_segment(d, f.row_segment);
  const plumb::attention_plan plan{segments.data(), static_cast<index_t>(f.segments.size()), key_rows.data(),
                                   row_segment.data()};
  B::attention(d, plan, o, q_.all(), k_.all(), v_.all(), out.all(), sums.all());
  B::attention_backward(d, plan, o, q_.all(), k_.all(), v_.all(), out.all(), sums.all(), slope_.all(), dq.all(),
                        dk.all(), dv.all());
  return {out.host(), sums.host(), dq.host(), dk.host(), dv.host()};
}

/// One path, in one segment, in several, and among strangers: its rows have the same bits each time.
template <class B, class T>
void check_attention_rows(index_t head_width, index_t window) {
  const plumb::attention_options o{4, 2, head_width, 0.25, window};
  const index_t wide = o.heads * head_width, narrow = o.kv_heads * head_width, path = 110;
  const auto q = some_numbers<T>(path * wide, 3), k = some_numbers<T>(path * narrow, 4);
  const auto v = some_numbers<T>(path * narrow, 5), slope = some_numbers<T>(path * wide, 6);
  const auto whole = attend<B, T>(segment_forest({{110, -1}}), o, q, k, v, slope);
  const auto split = attend<B, T>(segment_forest({{37, -1}, {1, 0}, {50, 1}, {22, 2}}), o, q, k, v, slope);
  INFO("head width " << head_width << ", window " << window);
  CHECK(same_bits(whole.out, split.out));
  CHECK(same_bits(whole.log_sum, split.log_sum));
  CHECK(same_bits(whole.dq, split.dq));

  // Segments 0, 2 and 4 are the path; 1, 3 and 5 are others that share parts of it or nothing.
  const segment_forest crowd({{37, -1}, {5, 0}, {51, 0}, {13, -1}, {22, 2}, {40, 2}});
  const auto place = [](index_t p) { return p < 37 ? p : p < 88 ? p + 5 : p + 18; };
  const auto spread = [&](const std::vector<T>& from, index_t columns, std::uint64_t key) {
    auto all = some_numbers<T>(crowd.tokens * columns, key);
    for (index_t p = 0; p < path; ++p)
      for (index_t j = 0; j < columns; ++j)
        all[static_cast<std::size_t>(place(p) * columns + j)] = from[static_cast<std::size_t>(p * columns + j)];
    return all;
  };
  const auto among = attend<B, T>(crowd, o, spread(q, wide, 13), spread(k, narrow, 14), spread(v, narrow, 15),
                                  spread(slope, wide, 16));
  bool same = true;
  for (index_t p = 0; p < path; ++p)
    same = same && same_bits(part(among.out, place(p) * wide, wide), part(whole.out, p * wide, wide)) &&
           same_bits(part(among.log_sum, place(p) * o.heads, o.heads), part(whole.log_sum, p * o.heads, o.heads)) &&
           same_bits(part(among.dq, place(p) * wide, wide), part(whole.dq, p * wide, wide));
  CHECK(same);
  CHECK_FALSE(same_bits(part(among.out, 37 * wide, wide), part(whole.out, 37 * wide, wide)));  // negative control
}

template <class B, class T>
void check_row_kernels(index_t columns) {
  typename B::device d;
  const index_t rows = 7;
  const auto x = some_numbers<T>(rows * columns, 21), w = some_numbers<T>(columns, 22);
  const std::vector<std::int32_t> targets{0, 1, 0, 1, 0, 1, 0};
  const auto run = [&](index_t first, index_t count) {
    const numbers<B, T> from(d, part(x, first * columns, count * columns), count, columns), weight(d, w, 1, columns);
    const numbers<B, T> y(d, T(0), count, columns), inverse(d, T(0), count, 1), logp(d, T(0), count, 1);
    const numbers<B, T> entropy(d, T(0), count, 1);
    const numbers<B, std::int32_t> target(d, part(targets, first, count));
    B::rms_norm(d, from.all(), weight.all(), 1e-6, y.all(), inverse.data());
    B::row_statistics(d, from.all(), target.data(),
                      plumb::row_outputs<T>{logp.data(), nullptr, entropy.data(), nullptr});
    auto result = y.host();
    for (const auto& more : {inverse.host(), logp.host(), entropy.host()})
      result.insert(result.end(), more.begin(), more.end());
    return result;
  };
  const auto whole = run(0, rows);
  for (index_t i = 0; i < rows; ++i) {
    const auto alone = run(i, 1);
    CHECK(same_bits(part(alone, 0, columns), part(whole, i * columns, columns)));
    for (index_t s = 0; s < 3; ++s) CHECK(alone[columns + s] == whole[rows * columns + s * rows + i]);
  }
}

/// Forbidden tokens (−∞) have no weight, and leave entropy and gradients finite.
template <class B, class T>
void check_forbidden_tokens() {
  typename B::device d;
  const T never = -std::numeric_limits<T>::infinity();
  std::vector<T> logits(400, never);
  logits[3] = logits[300] = T(1.5);
  const numbers<B, T> z(d, logits, 1, 400), logp(d, T(0), 1, 1), partition(d, T(0), 1, 1), entropy(d, T(0), 1, 1);
  const numbers<B, T> one(d, T(1), 1, 1);
  const numbers<B, std::int32_t> target(d, std::vector<std::int32_t>{300}), best(d, std::vector<std::int32_t>{-1});
  B::row_statistics(d, z.all(), target.data(),
                    plumb::row_outputs<T>{logp.data(), partition.data(), entropy.data(), best.data()});
  CHECK(logp.host()[0] == Approx(-std::log(2.0)));
  CHECK(entropy.host()[0] == Approx(std::log(2.0)));
  CHECK(best.host()[0] == 3);  // of equals the first
  B::row_gradients(d, z.all(), target.data(), partition.data(), entropy.data(), one.data(), one.data());
  const auto gradient = z.host();
  CHECK(gradient[0] == 0);
  CHECK(gradient[3] == Approx(-0.5));
  CHECK(gradient[300] == Approx(0.5));
}

template <class B>
void check_all_laws() {
  check_product_rows<B, float>(70, 67, 133);
  check_product_rows<B, double>(70, 33, 20);
  check_product_rows<B, float>(1024, 1030, 12);  // the largest tiles
  for (const index_t window : {0, 1, 33}) {
    check_attention_rows<B, float>(20, window);
    check_attention_rows<B, float>(64, window);
  }
  check_attention_rows<B, float>(128, 0);
  check_attention_rows<B, double>(250, 40);
  for (const index_t columns : {2, 127, 1000}) {
    check_row_kernels<B, float>(columns);
    check_row_kernels<B, double>(columns);
  }
  check_forbidden_tokens<B, float>();
  check_forbidden_tokens<B, double>();

  typename B::device d;
  const plumb::attention_options wide{1, 1, 257, 1.0, 0};
  const numbers<B, float> x(d, 0.0f, 1, 257);
  CHECK_THROWS_AS(
      B::attention(d, plumb::attention_plan{.segment_count = 1}, wide, x.all(), x.all(), x.all(), x.all(), x.all()),
      plumb::error);
}

}  // namespace plumb_test

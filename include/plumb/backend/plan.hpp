// SPDX-License-Identifier: BSL-1.0
// The plain values that describe an attention, a rotation, a product and an optimiser step to a backend.
#pragma once

#include <cmath>
#include <cstdint>

#include <plumb/config.hpp>
#include <plumb/core/packed_matrix.hpp>
#include <plumb/core/types.hpp>
#include <plumb/core/view.hpp>

namespace plumb::inline v0 {

/// Queries of one segment: rows [first_row, first_row + length) at positions [first_position, first_position + length).
struct query_segment {
  std::int32_t first_row = 0;
  std::int32_t length = 0;
  std::int32_t first_position = 0;
  std::int32_t keys = 0;  ///< offset into `attention_plan::key_rows` of this segment's position 0
};

/// Who attends to whom in a forest: a query at position p of segment s sees the keys of positions 0 … p on the path
/// from the root to s (with `attention_options::both_ways`, of all positions of the path). All three arrays lie in the backend's memory.
struct attention_plan {
  const query_segment* segments = nullptr;
  index_t segment_count = 0;
  /// key_rows[s.keys + p]: the row of K and V that holds position p of the path through segment s.
  const std::int32_t* key_rows = nullptr;
  /// row_segment[t]: the segment of query row t, for backends that work row by row.
  const std::int32_t* row_segment = nullptr;
};

/// The fixed numbers of one attention layer.
struct attention_options {
  index_t heads = 1;       ///< query heads
  index_t kv_heads = 1;    ///< key and value heads; divides `heads` (grouped-query attention)
  index_t head_width = 1;  ///< numbers per head
  double scale = 1;        ///< multiplies q·k, usually 1/√head_width
  index_t window = 0;      ///< keys further back than this are not seen; 0: all are
  double cap = 0;          ///< scores become cap tanh(score / cap) before the softmax; 0: they stay
  double alibi = 0;        ///< scores fall with the distance of the key, see distance_slope; 0: they do not
  bool both_ways = false;  ///< queries see the keys after them, too (encoders); without window and alibi
};

/// The first position that a query at `position` sees.
PLUMB_HD constexpr index_t first_seen(const attention_options& o, index_t position) {
  return o.window > 0 && position + 1 > o.window ? position + 1 - o.window : 0;
}

/// The last position that a query at `position` of a segment sees.
PLUMB_HD constexpr index_t last_seen(const attention_options& o, const query_segment& s, index_t position) {
  return o.both_ways ? index_t{s.first_position} + s.length - 1 : position;
}

/// What a step of distance takes from the scores of query head `head` (Press et al. 2022, section 3), 0 without ALiBi:
/// 2^(−alibi (h + 1)/n) with n = heads where that is a power of 2; else n is the next lower power for the first n heads,
/// and the others take the places between.
template <class T>
PLUMB_HD T distance_slope(const attention_options& o, index_t head) {
  if (!(o.alibi > 0)) return 0;
  index_t n = 1;
  while (2 * n <= o.heads) n *= 2;
  const double step = head < n ? static_cast<double>(head + 1) : static_cast<double>(head - n) + 0.5;
  return static_cast<T>(std::exp2(-o.alibi * step / static_cast<double>(n)));
}

/// cap tanh(score / cap), or the score itself when there is no cap.
template <class T>
PLUMB_HD T capped_score(T score, T cap) {
  return cap > 0 ? cap * std::tanh(score / cap) : score;
}
/// The slope of that function, given its value.
template <class T>
PLUMB_HD T cap_slope(T capped, T cap) {
  return cap > 0 ? 1 - (capped / cap) * (capped / cap) : T(1);
}

/// How the two numbers of a rotated pair lie: `half` pairs i with i + width/2 (Llama on the hub), `interleaved` 2i with 2i + 1.
enum class rotary_layout : std::uint8_t { half, interleaved };

/// The bend of a feed-forward part. gelu is x Φ(x); gelu_tanh its usual approximation (Hendrycks & Gimpel 2016); silu x σ(x); relu max(x, 0).
enum class activation : std::uint8_t { silu, gelu, gelu_tanh, relu };

/// Functions of single numbers that a backend may have kernels for (`number_functions` in backend/concept.hpp); clip and soft_cap have
/// a parameter.
enum class number_function_kind : std::uint8_t { silu, gelu, gelu_tanh, relu, sigmoid, clip, soft_cap };

/// Which operands of a product are transposed: C = A·Bᵀ, A·B or Aᵀ·B.
enum class product : std::uint8_t { nt, nn, tn };

/// What products of float32 may do to be faster. `bfloat16` is a leave, not an order: where a device multiplies bfloat16 faster
/// (Intel's AMX, AMD's AVX-512 BF16), products with 16 columns and more round their operands to its 8 bits of mantissa
/// and add in float32, |error| ≤ 2⁻⁷ Σ|a||b|; elsewhere, and in float64, it changes nothing.
enum class product_precision : std::uint8_t { full, bfloat16 };

/// Two operands of a product, for backends that add two products in one trip (`summed_products` in backend/concept.hpp).
template <class T>
struct product_operands {
  view<const T> a, b;
  const T* panels = nullptr;                    ///< B in the backend's own order, in place of `b`; null: as it lies
  const packed_matrix* packed = nullptr;        ///< B in fewer bits, in place of `b`; null: it is not
  const std::uint8_t* packed_panels = nullptr;  ///< beside `packed`: its codes in the backend's own order
};

/// Row statistics of a chunk of logits, each [rows], in the backend's memory; a null pointer is not computed.
template <class T>
struct row_outputs {
  T* logp = nullptr;             ///< log-probability of the target, nats
  T* log_partition = nullptr;    ///< log Σ exp z
  T* entropy = nullptr;          ///< −Σ p log p, nats
  std::int32_t* best = nullptr;  ///< index of the largest logit, the smallest index on a tie
};

/// One step of AdamW: decoupled weight decay, bias-corrected moments (Loshchilov & Hutter 2019, algorithm 2).
struct adamw_step {
  double rate = 0;
  double beta1 = 0.9;
  double beta2 = 0.999;
  double epsilon = 1e-8;
  double weight_decay = 0;
  double correction1 = 1;     ///< 1 − β₁ᵗ
  double correction2 = 1;     ///< 1 − β₂ᵗ
  double gradient_scale = 1;  ///< multiplies the gradient first: clipping
};

}  // namespace plumb::inline v0

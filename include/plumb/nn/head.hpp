// SPDX-License-Identifier: BSL-1.0
// The head returns statistics of its logits, never the logits: [rows, vocabulary] exists for a chunk of rows only.
#pragma once

#include <algorithm>
#include <cstdint>

#include <plumb/autograd/rows.hpp>
#include <plumb/nn/pass.hpp>

namespace plumb::inline v0 {

/// How the row statistics are made.
struct head_options {
  std::size_t memory = std::size_t{64} << 20;  ///< bytes for a chunk of logits and its gradient
  bool entropy = false;                        ///< also give the entropy of every row
  bool entropy_gradient = false;               ///< the entropy will be differentiated (an entropy bonus)
};

/// log p(target) of each prediction, and what else was asked for.
template <class B, class T>
struct head_result {
  variable<B, T> statistics;           ///< [1, rows] log-probabilities; with entropy [2, rows], entropies second
  const std::int32_t* best = nullptr;  ///< [rows] most probable token, on the device
};

namespace detail {

/// The head as an operation. `Network` offers logits(pass, rows), vocabulary() and head_learns(pass).
///
/// With a frozen head, the unit gradient u_i = ∂ log p_i / ∂ hidden_i is made in the forward pass, while the chunk of
/// logits is there, and backward only scales it: no logits again, no vocabulary-sized gradient. With a learning head,
/// backward makes each chunk's logits again; or, when the slopes are known beforehand (`known`: the loss is linear in
/// the log-probabilities, as in SFT), forward does the whole way back chunk by chunk.
template <class B, class T, class Network>
struct head_rows {
  const Network* network = nullptr;
  pass<B, T>* p = nullptr;
  variable<B, T> hidden;                  ///< [rows, width]
  const std::int32_t* targets = nullptr;  ///< [rows]
  const T* known = nullptr;               ///< [rows] slopes known beforehand, or null
  bool entropy = false, entropy_gradient = false;
  index_t chunk = 1;

  bool learns = false;
  std::uint64_t drawn = 0;       ///< random streams taken before the head, to take the same ones again
  view<T> gradient;              ///< [rows, width]: unit gradients, or the finished ones when slopes were known
  view<T> log_partition;         ///< [1, rows]
  std::int32_t* best = nullptr;  ///< [rows]
  variable<B, T> out;            ///< [1 or 2, rows]

  variable<B, T> forward(tape<B, T>& t) {
    const index_t rows = hidden.rows();
    learns = network->head_learns(*p);
    drawn = p->drawn;
    out = t.make({entropy ? 2 : 1, rows}, hidden.needs_gradient() || learns);
    log_partition = t.memory().template make<T>({1, rows});
    const bool way_back = out.needs_gradient() && !entropy_gradient && (known || !learns);
    if (way_back) gradient = t.memory().template make<T>(hidden.value.extent());
    for (index_t first = 0; first < rows; first += chunk) {
      const index_t count = std::min(chunk, rows - first);
      typename tape<B, T>::scope forgotten(t, way_back);
      const auto x = t.input(hidden.value.slice(first, count));  // [count, width]
      const auto z = network->logits(*p, x);                     // [count, vocabulary]
      statistics(t, z.value, first);
      if (!way_back) continue;
      push_back(t, z, first, known ? known + first : nullptr, nullptr);
      B::copy(t.device(), view<const T>(t.gradient(x)), gradient.slice(first, count));
    }
    return out;
  }

  void backward(tape<B, T>& t) {
    const view<const T> slope = out.slot->value;  // [1 or 2, rows]
    const view<T> d_hidden = hidden.slot ? t.gradient(hidden) : view<T>();
    if (gradient.data) {
      if (!d_hidden.data) return;
      if (known)
        B::add_scaled(t.device(), T(1), gradient, d_hidden);
      else
        B::add_scaled_rows(t.device(), slope.data, gradient, d_hidden);
      return;
    }
    const std::uint64_t later = std::exchange(p->drawn, drawn);
    for (index_t first = 0; first < hidden.rows(); first += chunk) {
      const index_t count = std::min(chunk, hidden.rows() - first);
      typename tape<B, T>::scope forgotten(t, true);
      const auto rows = hidden.value.slice(first, count);
      const auto x = d_hidden.data ? t.input(rows) : t.constant(rows);  // [count, width]
      const auto z = network->logits(*p, x);                            // [count, vocabulary]
      push_back(t, z, first, slope.data + first, entropy_gradient ? slope.row(1) + first : nullptr);
      if (d_hidden.data) B::add_scaled(t.device(), T(1), t.gradient(x), d_hidden.slice(first, count));
    }
    p->drawn = later;
  }

 private:
  T* row_of(index_t which, index_t first) const { return const_cast<T*>(out.value.row(which)) + first; }

  void statistics(tape<B, T>& t, view<const T> z, index_t first) const {
    B::row_statistics(t.device(), z, targets + first,
                      row_outputs<T>{row_of(0, first), log_partition.data + first, entropy ? row_of(1, first) : nullptr,
                                     best + first});
  }
  /// The gradient of Σ slope log p (+ entropy slope · H) through the head, for one chunk.
  void push_back(tape<B, T>& t, const variable<B, T>& z, index_t first, const T* slope, const T* entropy_slope) const {
    const view<T> d = t.gradient(z);  // [count, vocabulary]
    B::copy(t.device(), z.value, d);
    B::row_gradients(t.device(), d, targets + first, log_partition.data + first,
                     entropy_slope ? static_cast<const T*>(row_of(1, first)) : nullptr, slope, entropy_slope);
    t.run_backward();
  }
};

}  // namespace detail

/// Scores predictions: picks their rows of `hidden` [tokens, width] (prompt rows that predict nothing never reach the
/// head), and gives log p(token) for each, in nats. `rows` and `targets` [count] lie on the device.
/// `known`: slopes of the final loss for each log-probability, when they do not depend on it; or null.
template <class B, class T, class Network>
head_result<B, T> score_rows(pass<B, T>& p, const Network& network, variable<B, T> hidden, const std::int32_t* rows,
                             const std::int32_t* targets, index_t count, const head_options& options,
                             const T* known = nullptr) {
  auto& t = p.tape;
  detail::head_rows<B, T, Network> op;
  op.network = &network;
  op.p = &p;
  op.hidden = gather_rows(t, hidden, rows, count);  // [count, width]
  op.targets = targets;
  op.known = known;
  op.entropy = options.entropy || options.entropy_gradient;
  op.entropy_gradient = options.entropy_gradient;
  const auto row_bytes = 2 * sizeof(T) * static_cast<std::size_t>(network.vocabulary());
  op.chunk = std::max<index_t>(1, static_cast<index_t>(options.memory / row_bytes));
  // The row of most probable tokens is a side result, made before the operation runs so that both know where it lies.
  op.best = t.memory().template make_array<std::int32_t>(count);
  return {t.apply(op), op.best};
}

}  // namespace plumb::inline v0

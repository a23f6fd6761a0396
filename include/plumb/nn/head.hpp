// SPDX-License-Identifier: BSL-1.0
// The head returns statistics of its logits, never the logits: [rows, vocabulary] exists for a chunk of rows only.
#pragma once

#include <algorithm>
#include <cstdint>

#include <plumb/autograd/rows.hpp>
#include <plumb/config.hpp>
#include <plumb/nn/head_sums.hpp>
#include <plumb/nn/pass.hpp>

namespace plumb::inline v0 {

/// How the row statistics are made.
struct head_options {
  std::size_t memory = std::size_t{256} << 20;  ///< bytes for a chunk of logits and its gradient
  bool entropy = false;                         ///< also give the entropy of every row
  bool entropy_gradient = false;                ///< the entropy will be differentiated (an entropy bonus)
  bool log_partition = false;                   ///< also give log Σ exp of every row's logits
};

/// log p(target) of each prediction, and what else was asked for.
template <class B, class T>
struct head_result {
  /// [statistics, rows]: log-probabilities first, then what was asked for of entropy, log_partition and the sums, in this
  /// order (the sums in that of `head_sums`).
  variable<B, T> statistics;
  const std::int32_t* best = nullptr;  ///< [rows] most probable token, on the device
};

/// The other network that sums compare with: its states for the same rows and the pass that made them, or what is known of it.
template <class B, class T, class Network>
struct other_rows {
  const Network* network = nullptr;
  pass<B, T>* p = nullptr;
  view<const T> hidden;    ///< [rows, its width]
  compared_rows<T> named;  ///< or, of all rows, the words that it finds likeliest
};

/// + value_i at column targets_i of row i.
template <class T>
struct add_at_targets {
  T* z;
  const T* value;
  const std::int32_t* targets;
  index_t columns;
  PLUMB_HD void operator()(index_t i) const { z[i * columns + targets[i]] += value[i]; }
};
/// out_i = a_i − b_i.
template <class T>
struct difference_each {
  const T* a;
  const T* b;
  T* out;
  PLUMB_HD void operator()(index_t i) const { out[i] = a[i] - b[i]; }
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
  bool entropy = false, entropy_gradient = false, with_log_partition = false;
  head_sums<B, T> sums;
  other_rows<B, T, Network> other;  ///< given when a sum compares
  index_t chunk = 1;

  bool learns = false;
  std::uint64_t drawn = 0;       ///< random streams taken before the head, to take the same ones again
  view<T> gradient;              ///< [rows, width]: unit gradients, or the finished ones when slopes were known
  view<T> log_partition;         ///< [1, rows]
  std::int32_t* best = nullptr;  ///< [rows]
  variable<B, T> out;            ///< [statistics, rows]

  variable<B, T> forward(tape<B, T>& t) {
    const index_t rows = hidden.rows();
    learns = network->head_learns(*p);
    drawn = p->drawn;
    out = t.make({first_sum() + sums.count(), rows}, hidden.needs_gradient() || learns);
    log_partition = t.memory().template make<T>({1, rows});
    const bool way_back =
        out.needs_gradient() && !entropy_gradient && !with_log_partition && sums.count() == 0 && (known || !learns);
    if (way_back) gradient = t.memory().template make<T>(hidden.value.extent());
    for (index_t first = 0; first < rows; first += chunk) {
      const index_t count = std::min(chunk, rows - first);
      typename tape<B, T>::scope forgotten(t, way_back);
      const auto x = t.input(hidden.value.slice(first, count));  // [count, width]
      const auto z = network->logits(*p, x, first);              // [count, vocabulary]
      statistics(t, z.value, first);
      if (sums.count() > 0) make_sums(t, z.value, first);
      if (!way_back) continue;
      push_back(t, z, first, known ? known + first : nullptr, {});
      B::copy(t.device(), view<const T>(t.gradient(x)), gradient.slice(first, count));
    }
    return out;
  }

  void backward(tape<B, T>& t) {
    const view<const T> slope = out.slot->value;  // [statistics, rows]
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
      const auto z = network->logits(*p, x, first);                     // [count, vocabulary]
      push_back(t, z, first, slope.data + first, slope);
      if (d_hidden.data) B::add_scaled(t.device(), T(1), t.gradient(x), d_hidden.slice(first, count));
    }
    p->drawn = later;
  }

 private:
  T* row_of(index_t which, index_t first) const { return const_cast<T*>(out.value.row(which)) + first; }

  [[nodiscard]] index_t first_sum() const { return 1 + (entropy ? 1 : 0) + (with_log_partition ? 1 : 0); }

  void statistics(tape<B, T>& t, view<const T> z, index_t first) const {
    B::row_statistics(t.device(), z, targets + first,
                      row_outputs<T>{row_of(0, first), log_partition.data + first, entropy ? row_of(1, first) : nullptr,
                                     best + first});
    if (!with_log_partition) return;
    const view<const T> from(log_partition.data + first, {1, z.rows});
    B::copy(t.device(), from, view<T>(row_of(entropy ? 2 : 1, first), {1, z.rows}));
  }
  /// The other network's logits of the same rows, in the memory of the chunk; nothing is kept for a way back. Or what is
  /// known of them.
  compared_rows<T> other_of(tape<B, T>& t, index_t first, index_t count) const {
    if (!sums.compares()) return {};
    if (const auto& all = other.named; all.words)
      return {{}, all.words + first * all.count, all.logp + first * all.count, all.count};
    const bool recording = t.recording();
    t.set_recording(false);
    const auto z = other.network->logits(*other.p, t.constant(other.hidden.slice(first, count)));
    t.set_recording(recording);
    return {.logits = z.value};  // [count, vocabulary]
  }
  void make_sums(tape<B, T>& t, view<const T> z, index_t first) const {
    const auto beside = other_of(t, first, z.rows);
    index_t row = first_sum();
    sums.for_each(
        [&](const vocabulary_sum<B, T>& each) { each.sums(t.device(), t.memory(), z, beside, row_of(row++, first)); });
  }
  /// The gradient of one chunk through the head: of Σ slope log p, and with `all` slopes [statistics, rows] of the rest.
  void push_back(tape<B, T>& t, const variable<B, T>& z, index_t first, const T* slope, view<const T> all) const {
    const bool compared = all.data && sums.count() > 0;    // then the logits are read once more, below
    const view<T> d = t.gradient_from_value(z, compared);  // [count, vocabulary]
    const T* const of_entropy = all.data && entropy_gradient ? all.row(1) + first : nullptr;
    const T* const of_partition = all.data && with_log_partition ? all.row(entropy ? 2 : 1) + first : nullptr;
    if (of_partition) {  // a (1[k = y] − p_k) + b p_k = (a − b)(1[k = y] − p_k) + b 1[k = y]
      T* const rest = t.memory().template make_array<T>(d.rows);
      B::for_each(t.device(), d.rows, difference_each<T>{slope, of_partition, rest});
      slope = rest;
    }
    B::row_gradients(t.device(), d, targets + first, log_partition.data + first,
                     of_entropy ? static_cast<const T*>(row_of(1, first)) : nullptr, slope, of_entropy);
    if (of_partition)
      B::for_each(t.device(), d.rows, add_at_targets<T>{d.data, of_partition, targets + first, d.columns});
    if (compared) {
      const auto beside = other_of(t, first, d.rows);
      index_t row = first_sum();
      sums.for_each([&](const vocabulary_sum<B, T>& each) {
        const T* const own = all.row(row++) + first;
        if (&each == sums.collision) return;  // a number, not differentiated
        each.add_gradients(t.device(), t.memory(), z.value, beside, own, d);
      });
    }
    t.run_backward();
  }
};

}  // namespace detail

/// Scores predictions: picks their rows of `hidden` [tokens, width] (prompt rows that predict nothing never reach the
/// head), and gives log p(token) for each, in nats. `rows` and `targets` [count] lie on the device.
/// `known`: slopes of the final loss for each log-probability, when they do not depend on it; or null.
/// `sums`: further sums over the vocabulary, which must outlive the way back; those that compare do so with `other`.
template <class B, class T, class Network>
head_result<B, T> score_rows(pass<B, T>& p, const Network& network, variable<B, T> hidden, const std::int32_t* rows,
                             const std::int32_t* targets, index_t count, const head_options& options,
                             const T* known = nullptr, const head_sums<B, T>& sums = {},
                             const other_rows<B, T, Network>& other = {}) {
  auto& t = p.tape;
  detail::head_rows<B, T, Network> op;
  op.network = &network;
  op.p = &p;
  op.hidden = gather_rows(t, hidden, rows, count);  // [count, width]
  op.targets = targets;
  op.known = known;
  op.entropy = options.entropy || options.entropy_gradient;
  op.entropy_gradient = options.entropy_gradient;
  op.with_log_partition = options.log_partition;
  op.sums = sums;
  op.other = other;
  const auto row_bytes = (sums.compares() ? 3 : 2) * sizeof(T) * static_cast<std::size_t>(network.vocabulary());
  const index_t most = std::max<index_t>(1, static_cast<index_t>(options.memory / row_bytes));
  const index_t chunks = std::max<index_t>(1, (count + most - 1) / most);
  op.chunk = std::max<index_t>(1, (count + chunks - 1) / chunks);  // of equal size: the last is no rest
  // The row of most probable tokens is a side result, made before the operation runs so that both know where it lies.
  op.best = t.memory().template make_array<std::int32_t>(count);
  return {t.apply(op), op.best};
}

}  // namespace plumb::inline v0

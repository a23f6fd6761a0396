// SPDX-License-Identifier: BSL-1.0
// The reference backend: every primitive as the plainest loop that is right. Read it to learn what a primitive
// means; the fast backends are tested against it.
#pragma once

#include <cmath>
#include <cstring>
#include <limits>
#include <new>
#include <utility>
#include <vector>

#include <plumb/backend/plan.hpp>
#include <plumb/core/error.hpp>
#include <plumb/core/random.hpp>
#include <plumb/core/row_sum.hpp>
#include <plumb/core/view.hpp>

namespace plumb::inline v0 {

struct reference {
  /// Where the work runs. Loops need nothing.
  class device {};

  static constexpr bool host_memory = true;  ///< may the host look inside a view?

  // --- memory -------------------------------------------------------------------------------------------------------

  static void* allocate(device&, std::size_t bytes) {
    void* memory = ::operator new(bytes, std::align_val_t{64}, std::nothrow);
    if (!memory) throw error(errc::out_of_memory, "", join("cannot allocate ", bytes, " bytes"));
    return memory;
  }
  static void release(device&, void* memory, std::size_t) noexcept { ::operator delete(memory, std::align_val_t{64}); }
  template <class T>
  static void upload(device&, const T* host, T* to, index_t count) {
    if (count) std::memcpy(to, host, sizeof(T) * static_cast<std::size_t>(count));
  }
  template <class T>
  static void download(device&, const T* from, T* host, index_t count) {
    if (count) std::memcpy(host, from, sizeof(T) * static_cast<std::size_t>(count));
  }
  template <class T>
  static void copy(device& d, in<T> from, view<T> to) {
    upload(d, from.data, to.data, from.size());
  }
  template <class T>
  static void fill(device&, view<T> x, T value) {
    for (index_t i = 0; i < x.size(); ++i) x.data[i] = value;
  }
  /// Calls f(i) for i in [0, count), in any order. `f` is a named function object so that it can run on a GPU.
  template <class F>
  static void for_each(device&, index_t count, F f) {
    for (index_t i = 0; i < count; ++i) f(i);
  }

  // --- numbers one by one -------------------------------------------------------------------------------------------

  /// y += factor · x
  template <class T>
  static void add_scaled(device&, std::type_identity_t<T> factor, in<T> x, view<T> y) {
    for (index_t i = 0; i < x.size(); ++i) y.data[i] += factor * x.data[i];
  }
  /// out = a + b; `out` may be the memory of either.
  template <class T>
  static void add(device&, in<T> a, in<T> b, view<T> out) {
    for (index_t i = 0; i < a.size(); ++i) out.data[i] = a.data[i] + b.data[i];
  }
  /// out = a ⊙ b
  template <class T>
  static void multiply(device&, in<T> a, in<T> b, view<T> out) {
    for (index_t i = 0; i < a.size(); ++i) out.data[i] = a.data[i] * b.data[i];
  }
  /// out += a ⊙ b
  template <class T>
  static void multiply_add(device&, in<T> a, in<T> b, view<T> out) {
    for (index_t i = 0; i < a.size(); ++i) out.data[i] += a.data[i] * b.data[i];
  }
  /// out = silu(gate) ⊙ up, silu(x) = x σ(x)
  template <class T>
  static void swiglu(device&, in<T> gate, in<T> up, view<T> out) {
    for (index_t i = 0; i < gate.size(); ++i) out.data[i] = gate.data[i] / (1 + std::exp(-gate.data[i])) * up.data[i];
  }
  /// d_gate (+)= d ⊙ up ⊙ silu'(gate), d_up (+)= d ⊙ silu(gate); silu'(x) = σ(x) (1 + x (1 − σ(x))). A null view is skipped.
  template <class T>
  static void swiglu_backward(device&, in<T> gate, in<T> up, in<T> d, bool accumulate, view<T> d_gate, view<T> d_up) {
    const auto give = [&](view<T> to, index_t i, T value) {
      if (to.data) to.data[i] = accumulate ? to.data[i] + value : value;
    };
    for (index_t i = 0; i < gate.size(); ++i) {
      const T x = gate.data[i], s = 1 / (1 + std::exp(-x));
      give(d_gate, i, d.data[i] * up.data[i] * s * (1 + x * (1 - s)));
      give(d_up, i, d.data[i] * x * s);
    }
  }
  /// out (+)= keep ⊙ x / (1 − rate); number i is kept when word i of the Philox stream `key` is at least rate · 2³².
  /// The mask depends on (key, i) alone: forward and backward make the same one, on every backend.
  template <class T>
  static void dropout(device&, in<T> x, std::uint64_t key, double rate, bool accumulate, view<T> out) {
    const T scale = static_cast<T>(1 / (1 - rate));
    for (index_t i = 0; i < x.size(); ++i) {
      const T kept =
          philox_word(key, static_cast<std::uint64_t>(i)) >= dropout_threshold(rate) ? scale * x.data[i] : T(0);
      out.data[i] = accumulate ? out.data[i] + kept : kept;
    }
  }

  // --- rows ---------------------------------------------------------------------------------------------------------

  /// out[i] = table[rows[i]]
  template <class T>
  static void gather_rows(device&, in<T> table, const std::int32_t* rows, view<T> out) {
    for (index_t i = 0; i < out.rows; ++i)
      for (index_t j = 0; j < out.columns; ++j) out.row(i)[j] = table.row(rows[i])[j];
  }
  /// table[rows[i]] += x[i], in the order of i
  template <class T>
  static void scatter_add_rows(device&, in<T> x, const std::int32_t* rows, view<T> table) {
    for (index_t i = 0; i < x.rows; ++i)
      for (index_t j = 0; j < x.columns; ++j) table.row(rows[i])[j] += x.row(i)[j];
  }
  /// out[i] = x[i] + bias, bias [1, columns]; `x` and `out` may be the same memory.
  template <class T>
  static void add_row(device&, in<T> x, in<T> bias, view<T> out) {
    for (index_t i = 0; i < x.rows; ++i)
      for (index_t j = 0; j < x.columns; ++j) out.row(i)[j] = x.row(i)[j] + bias.data[j];
  }
  /// out[0] += Σ_i x[i], out [1, columns]
  template <class T>
  static void sum_rows(device&, in<T> x, view<T> out) {
    for (index_t i = 0; i < x.rows; ++i)
      for (index_t j = 0; j < x.columns; ++j) out.data[j] += x.row(i)[j];
  }
  /// y[i] = x[i] · r_i ⊙ weight with r_i = 1/√(mean x[i]² + ε); r is kept in `inverse` [rows] for the way back.
  template <class T>
  static void rms_norm(device&, in<T> x, in<T> weight, double epsilon, view<T> y, T* inverse) {
    for (index_t i = 0; i < x.rows; ++i) {
      T squares = 0;
      for (index_t j = 0; j < x.columns; ++j) squares += x.row(i)[j] * x.row(i)[j];
      const T r = 1 / std::sqrt(squares / static_cast<T>(x.columns) + static_cast<T>(epsilon));
      inverse[i] = r;
      for (index_t j = 0; j < x.columns; ++j) y.row(i)[j] = x.row(i)[j] * r * weight.data[j];
    }
  }
  /// dx[i] += r_i (dy ⊙ w − x̂ mean(dy ⊙ w ⊙ x̂)), dw += Σ_i dy ⊙ x̂, with x̂ = x[i] r_i. A null view is skipped.
  template <class T>
  static void rms_norm_backward(device&, in<T> x, in<T> weight, const T* inverse, in<T> dy, view<T> dx, view<T> dw) {
    for (index_t i = 0; i < x.rows; ++i) {
      const T r = inverse[i];
      T mean = 0;
      for (index_t j = 0; j < x.columns; ++j) mean += dy.row(i)[j] * weight.data[j] * x.row(i)[j] * r;
      mean /= static_cast<T>(x.columns);
      for (index_t j = 0; j < x.columns; ++j) {
        const T unit = x.row(i)[j] * r;
        if (dx.data) dx.row(i)[j] += r * (dy.row(i)[j] * weight.data[j] - unit * mean);
        if (dw.data) dw.data[j] += dy.row(i)[j] * unit;
      }
    }
  }
  /// Rotates each pair (a, b) of each head by its position's angle θ: (a cos θ − b sin θ, b cos θ + a sin θ).
  /// cosine, sine [positions, pairs], pairs ≤ head_width/2: the first 2 · pairs numbers of a head turn, the rest stay
  /// (`half` then pairs i with i + pairs). direction +1 forward, −1 back (the inverse is the transpose).
  /// out = rotated, or out += rotated when `accumulate`. `x` and `out` may be the same memory.
  template <class T>
  static void rotate(device&, in<T> x, const std::int32_t* positions, in<T> cosine, in<T> sine, index_t head_width,
                     rotary_layout layout, int direction, bool accumulate, view<T> out) {
    const index_t pairs = cosine.columns;
    for (index_t i = 0; i < x.rows; ++i)
      for (index_t head = 0; head < x.columns; head += head_width) {
        for (index_t p = 0; p < pairs; ++p) {
          const index_t first = head + (layout == rotary_layout::half ? p : 2 * p);
          const index_t second = layout == rotary_layout::half ? first + pairs : first + 1;
          const T c = cosine.row(positions[i])[p], s = sine.row(positions[i])[p] * static_cast<T>(direction);
          const T a = x.row(i)[first], b = x.row(i)[second];
          const T left = a * c - b * s, right = b * c + a * s;
          out.row(i)[first] = accumulate ? out.row(i)[first] + left : left;
          out.row(i)[second] = accumulate ? out.row(i)[second] + right : right;
        }
        for (index_t k = head + 2 * pairs; k < head + head_width; ++k)
          out.row(i)[k] = accumulate ? out.row(i)[k] + x.row(i)[k] : x.row(i)[k];
      }
  }

  // --- products -----------------------------------------------------------------------------------------------------

  /// C = β C + α op(A, B): nt A[m,k]·B[n,k]ᵀ, nn A[m,k]·B[k,n], tn A[k,m]ᵀ·B[k,n]; C [m, n]. β = 0 ignores what C held.
  /// Law for every backend: with nt, a row of C is the same bits whatever other rows are in A.
  template <class T>
  static void multiply(device&, product kind, std::type_identity_t<T> alpha, in<T> a, in<T> b,
                       std::type_identity_t<T> beta, view<T> c) {
    const index_t depth = kind == product::tn ? a.rows : a.columns;
    for (index_t i = 0; i < c.rows; ++i)
      for (index_t j = 0; j < c.columns; ++j) {
        T sum = 0;
        for (index_t k = 0; k < depth; ++k)
          sum += (kind == product::tn ? a.row(k)[i] : a.row(i)[k]) * (kind == product::nt ? b.row(j)[k] : b.row(k)[j]);
        c.row(i)[j] = alpha * sum + (beta == 0 ? T(0) : beta * c.row(i)[j]);
      }
  }

  // --- attention ----------------------------------------------------------------------------------------------------

  /// out[t, h] = Σ_p softmax_p(cap(scale q[t, h]·k[row(p), g]) − m_h (p_t − p)) v[row(p), g] over the visible positions p of
  /// t's path, which ends at p_t; m_h is distance_slope. q, out [tokens, heads · width]; k, v [rows, kv_heads · width]; g = h kv_heads / heads.
  /// log_sum [tokens, heads] keeps log Σ exp for the way back.
  template <class T>
  static void attention(device&, const attention_plan& plan, const attention_options& o, in<T> q, in<T> k, in<T> v,
                        view<T> out, view<T> log_sum) {
    std::vector<T> score;
    for_each_query<T>(plan, o,
                      [&](index_t t, index_t h, index_t g, const std::int32_t* keys, index_t first, index_t last) {
                        const T* query = q.row(t) + h * o.head_width;
                        score.assign(static_cast<std::size_t>(last - first), T(0));
                        const T fall = distance_slope<T>(o, h);
                        T highest = -std::numeric_limits<T>::infinity();
                        for (index_t p = first; p < last; ++p) {
                          const T* key = k.row(keys[p]) + g * o.head_width;
                          T sum = 0;
                          for (index_t j = 0; j < o.head_width; ++j) sum += query[j] * key[j];
                          score[static_cast<std::size_t>(p - first)] =
                              capped_score(sum * static_cast<T>(o.scale), static_cast<T>(o.cap)) -
                              fall * static_cast<T>(last - 1 - p);
                          highest = std::max(highest, score[static_cast<std::size_t>(p - first)]);
                        }
                        T total = 0;
                        for (T s : score) total += std::exp(s - highest);
                        log_sum.row(t)[h] = highest + std::log(total);
                        T* to = out.row(t) + h * o.head_width;
                        for (index_t j = 0; j < o.head_width; ++j) to[j] = 0;
                        for (index_t p = first; p < last; ++p) {
                          const T weight = std::exp(score[static_cast<std::size_t>(p - first)] - highest) / total;
                          for (index_t j = 0; j < o.head_width; ++j)
                            to[j] += weight * v.row(keys[p])[g * o.head_width + j];
                        }
                      });
  }

  /// Adds the gradients of q, k and v. With P the softmax and D = Σ_j d[t,h,j] out[t,h,j]:
  /// dv += P d, ds = P (d·v − D) (times the cap's slope), dq += scale ds k, dk += scale ds q. The *global* log-sum and output make the
  /// parts of a path (shared prompt, own reply) exact.
  template <class T>
  static void attention_backward(device&, const attention_plan& plan, const attention_options& o, in<T> q, in<T> k,
                                 in<T> v, in<T> out, in<T> log_sum, in<T> d, view<T> dq, view<T> dk, view<T> dv) {
    for_each_query<T>(plan, o,
                      [&](index_t t, index_t h, index_t g, const std::int32_t* keys, index_t first, index_t last) {
                        const index_t width = o.head_width;
                        const T* query = q.row(t) + h * width;
                        const T* from = d.row(t) + h * width;
                        const T scale = static_cast<T>(o.scale), fall = distance_slope<T>(o, h);
                        T through = 0;
                        for (index_t j = 0; j < width; ++j) through += from[j] * out.row(t)[h * width + j];
                        for (index_t p = first; p < last; ++p) {
                          const T* key = k.row(keys[p]) + g * width;
                          const T* value = v.row(keys[p]) + g * width;
                          T score = 0, along = 0;
                          for (index_t j = 0; j < width; ++j) score += query[j] * key[j], along += from[j] * value[j];
                          score = capped_score(score * scale, static_cast<T>(o.cap));
                          const T weight = std::exp(score - fall * static_cast<T>(last - 1 - p) - log_sum.row(t)[h]);
                          const T slope = weight * (along - through) * cap_slope(score, static_cast<T>(o.cap)) * scale;
                          for (index_t j = 0; j < width; ++j) {
                            dv.row(keys[p])[g * width + j] += weight * from[j];
                            dq.row(t)[h * width + j] += slope * key[j];
                            dk.row(keys[p])[g * width + j] += slope * query[j];
                          }
                        }
                      });
  }

  // --- the head's rows ----------------------------------------------------------------------------------------------

  /// Statistics of each row of logits z [rows, vocabulary]; targets [rows].
  template <class T>
  static void row_statistics(device&, in<T> z, const std::int32_t* targets, row_outputs<T> out) {
    for (index_t i = 0; i < z.rows; ++i) {
      const T* row = z.row(i);
      index_t best = 0;
      for (index_t k = 1; k < z.columns; ++k)
        if (row[k] > row[best]) best = k;
      T total = 0, weighted = 0;
      for (index_t k = 0; k < z.columns; ++k) {
        const T e = std::exp(row[k] - row[best]);
        total += e;
        if (e > 0) weighted += e * (row[k] - row[best]);  // a logit of −∞ adds nothing
      }
      const T log_total = std::log(total);
      if (out.logp) out.logp[i] = row[targets[i]] - row[best] - log_total;
      if (out.log_partition) out.log_partition[i] = row[best] + log_total;
      if (out.entropy) out.entropy[i] = log_total - weighted / total;
      if (out.best) out.best[i] = static_cast<std::int32_t>(best);
    }
  }
  /// Turns logits into the gradient of Σ_i slope_i log p_i(target) + entropy_slope_i H_i, in place:
  /// ∂/∂z_k = slope (1[k = y] − p_k) − entropy_slope p_k (log p_k + H). A null slope pointer counts as one for logp, as zero for entropy.
  template <class T>
  static void row_gradients(device&, view<T> z, const std::int32_t* targets, const T* log_partition, const T* entropy,
                            const T* slope, const T* entropy_slope) {
    for (index_t i = 0; i < z.rows; ++i) {
      T* row = z.row(i);
      const T s = slope ? slope[i] : T(1);
      for (index_t k = 0; k < z.columns; ++k) {
        const T log_p = row[k] - log_partition[i], p = std::exp(log_p);
        T gradient = -s * p;
        if (entropy_slope && p > 0) gradient -= entropy_slope[i] * p * (log_p + entropy[i]);
        row[k] = gradient;
      }
      row[targets[i]] += s;
    }
  }
  /// out[i] = S_i = Σ_k φ(log p_ik, o_ik): p = softmax(sharpness · z), o = log softmax(sharpness · other) when φ compares
  /// (`other` without data otherwise), both [rows, vocabulary].
  template <class T, class Phi>
  static void row_sums(device&, in<T> z, in<T> other, double sharpness, const Phi& phi, std::type_identity_t<T>* out) {
    for (index_t i = 0; i < z.rows; ++i)
      out[i] = static_cast<T>(row_sum_of<T>(phi, z.row(i), other.data ? other.row(i) : nullptr, z.columns, sharpness));
  }
  /// dz_ik += slope_i sharpness (φ'_k − p_k Σ_j φ'_j), the way back of `row_sums`.
  template <class T, class Phi>
  static void row_sum_gradients(device&, in<T> z, in<T> other, double sharpness, const Phi& phi,
                                const std::type_identity_t<T>* slope, view<T> dz) {
    for (index_t i = 0; i < z.rows; ++i)
      row_sum_of<T>(phi, z.row(i), other.data ? other.row(i) : nullptr, z.columns, sharpness,
                    static_cast<double>(slope[i]), dz.row(i));
  }
  /// out[i] += factor[i] · x[i], a factor per row
  template <class T>
  static void add_scaled_rows(device&, const T* factor, in<T> x, view<T> out) {
    for (index_t i = 0; i < x.rows; ++i)
      for (index_t j = 0; j < x.columns; ++j) out.row(i)[j] += factor[i] * x.row(i)[j];
  }

  // --- the optimiser ------------------------------------------------------------------------------------------------

  /// p ← p (1 − rate · decay) − rate m̂ / (√v̂ + ε) with m, v the running moments of the scaled gradient. The gradient becomes
  /// zero: it is at hand, and the next step adds to it.
  template <class T>
  static void adamw(device&, const adamw_step& s, view<T> gradient, view<T> m, view<T> v, view<T> p) {
    for (index_t i = 0; i < p.size(); ++i) {
      const T g = std::exchange(gradient.data[i], T(0)) * static_cast<T>(s.gradient_scale);
      m.data[i] = static_cast<T>(s.beta1) * m.data[i] + static_cast<T>(1 - s.beta1) * g;
      v.data[i] = static_cast<T>(s.beta2) * v.data[i] + static_cast<T>(1 - s.beta2) * g * g;
      const T root = std::sqrt(v.data[i]) / static_cast<T>(std::sqrt(s.correction2)) + static_cast<T>(s.epsilon);
      p.data[i] = p.data[i] * static_cast<T>(1 - s.rate * s.weight_decay) -
                  static_cast<T>(s.rate / s.correction1) * m.data[i] / root;
    }
  }
  /// Σ x², summed in double in a fixed order.
  template <class T>
  static double sum_of_squares(device&, in<T> x) {
    double sum = 0;
    for (index_t i = 0; i < x.size(); ++i) sum += static_cast<double>(x.data[i]) * static_cast<double>(x.data[i]);
    return sum;
  }

 private:
  /// Calls f(row, head, kv_head, key rows by position, first visible position, one past the last).
  template <class T, class F>
  static void for_each_query(const attention_plan& plan, const attention_options& o, F f) {
    for (index_t s = 0; s < plan.segment_count; ++s) {
      const query_segment& segment = plan.segments[s];
      for (index_t i = 0; i < segment.length; ++i) {
        const index_t last = last_seen(o, segment, segment.first_position + i) + 1;
        const index_t first = o.window > 0 && last > o.window ? last - o.window : 0;
        for (index_t h = 0; h < o.heads; ++h)
          f(segment.first_row + i, h, h * o.kv_heads / o.heads, plan.key_rows + segment.keys, first, last);
      }
    }
  }
};

}  // namespace plumb::inline v0

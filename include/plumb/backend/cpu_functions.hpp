// SPDX-License-Identifier: BSL-1.0
// Functions of single numbers on the cpu, in float and in vectors: what lies between linear maps, and caps of logits. In double the
// formulas of autograd/activations.hpp serve, which these are tested against.
#pragma once

#include <cmath>

#include <plumb/backend/cpu_device.hpp>
#include <plumb/backend/cpu_elementwise.hpp>
#include <plumb/backend/cpu_kernels.hpp>
#include <plumb/backend/cpu_vector.hpp>
#include <plumb/backend/plan.hpp>
#include <plumb/core/view.hpp>

namespace plumb::inline v0::detail {

/// f(x) and f'(x) for a vector of x, to a few units in the last place of float. `parameter`: of clip and soft_cap.
template <class Set, number_function_kind F>
struct number_function_at {
  using s = simd<Set, float>;
  using vector = typename s::vector;

  [[gnu::always_inline]] static inline void run(const vector& x, float parameter, vector& value, vector& slope) {
    vector zero{}, one, gate, slope_of_gate;
    s::spread(one, 1);
    if constexpr (F == number_function_kind::relu) {
      value = x > zero ? x : zero;
      slope = x > zero ? one : zero;
    } else if constexpr (F == number_function_kind::clip) {
      vector most;
      s::spread(most, parameter);
      value = x > most ? most : x;
      value = x < -most ? -most : value;
      slope = x > most ? zero : one;
      slope = x < -most ? zero : slope;
    } else if constexpr (F == number_function_kind::soft_cap) {
      gate = x / parameter;
      tanh(gate);
      value = gate * parameter;
      slope = one - gate * gate;
    } else if constexpr (F == number_function_kind::sigmoid) {
      sigmoid(x, value, slope);
    } else {  // x · gate(x)
      if constexpr (F == number_function_kind::silu) {
        sigmoid(x, gate, slope_of_gate);
      } else if constexpr (F == number_function_kind::gelu_tanh) {
        constexpr float twice_root = 1.59576912160573071176F, cubic = 0.044715F;  // 2 √(2/π); (1 + tanh u)/2 = σ(2u)
        sigmoid(twice_root * x * (1 + cubic * x * x), gate, slope_of_gate);
        slope_of_gate *= twice_root * (1 + 3 * cubic * x * x);
      } else {
        normal_distribution(x, gate, slope_of_gate);
      }
      value = x * gate;
      slope = gate + x * slope_of_gate;
    }
  }

 private:
  /// σ(x) = 1/(1 + e⁻ˣ) and σ'(x) = σ(x) (1 − σ(x)), where 1 − σ(x) = e⁻ˣ σ(x) loses no digits.
  [[gnu::always_inline]] static inline void sigmoid(const vector& x, vector& value, vector& slope) {
    vector power, most;
    s::spread(most, 88);  // beyond, e⁻ˣ is no float
    power = -x;
    power = power > most ? most : power;
    s::exp(power);
    value = 1 / (power + 1);
    slope = power * value * value;
  }
  /// Near 0 an odd polynomial (fitted to 2 · 10⁻⁷ of its value on |x| ≤ 0.64), beyond 1 − 2/(e²ˣ + 1).
  [[gnu::always_inline]] static inline void tanh(vector& x) {
    vector size, far, square, near, bound, zero{};
    size = x < zero ? -x : x;
    far = 2 * size;
    s::exp(far);
    far = 1 - 2 / (far + 1);
    far = x < zero ? -far : far;
    square = x * x;
    near = square * -5.993205537408988e-3F + 2.09243493525218e-2F;
    near = near * square - 5.383519314564193e-2F;
    near = near * square + 1.333266390930848e-1F;
    near = near * square - 3.333332786965629e-1F;
    near = x + x * square * near;
    s::spread(bound, 0.625F);
    x = size < bound ? near : far;
  }
  /// Φ(x) and φ(x) = Φ'(x). With z = |x|/√2 and t = 2/(2 + z): 1 − Φ(|x|) = e^(−z²) t P(t)/2, where P was fitted to 4 · 10⁻⁸ of
  /// e^(z²) erfc(z)/t on z ≤ 7.5, where e^(−z²) is 10⁻²⁵.
  [[gnu::always_inline]] static inline void normal_distribution(const vector& x, vector& below, vector& density) {
    constexpr float p[] = {-5.721484067537624e-2F, 2.753960428392037e-1F,   -4.6786962891217043e-1F,
                           2.555099724947099e-1F,  -1.0718752566020995e-2F, 1.957667397004507e-1F,
                           2.4491190984032896e-1F, 2.821166267809564e-1F,   2.821018940490418e-1F};
    vector t, power, zero{}, series;
    t = x < zero ? -x : x;
    t = 2 / (2 + t * 0.70710678118654752440F);
    s::spread(series, p[0]);
    for (int i = 1; i < 9; ++i) series = series * t + p[i];
    power = x * x * -0.5F;
    s::exp_of_negative(power);
    density = power * 0.39894228040143267794F;
    below = power * t * series * 0.5F;
    below = x < zero ? below : 1 - below;
  }
};

/// out = f(x)
template <number_function_kind F>
struct number_function_body {
  template <class Set>
  [[gnu::always_inline]] static inline void run(index_t count, float parameter, const float* x, float* out) {
    using s = simd<Set, float>;
    for (index_t i = 0; i < count; i += s::lanes) {
      typename s::vector here, value, slope;
      s::load_some(here, x + i, count - i);
      number_function_at<Set, F>::run(here, parameter, value, slope);
      s::store_some(out + i, value, count - i);
    }
  }
};
/// dx (+)= d f'(x)
template <number_function_kind F>
struct number_function_back_body {
  template <class Set>
  [[gnu::always_inline]] static inline void run(index_t count, float parameter, const float* x, const float* d,
                                                bool accumulate, float* dx) {
    using s = simd<Set, float>;
    for (index_t i = 0; i < count; i += s::lanes) {
      typename s::vector here, value, slope, outer;
      s::load_some(here, x + i, count - i);
      s::load_some(outer, d + i, count - i);
      number_function_at<Set, F>::run(here, parameter, value, slope);
      value = outer * slope;
      give<Set, float>(value, accumulate, dx + i, count - i);
    }
  }
};

inline constexpr index_t number_function_grain = 1 << 12;

/// Calls use with the function as a constant.
template <class Use>
void with_number_function(number_function_kind f, Use use) {
  using enum number_function_kind;
  switch (f) {
    case silu: return use.template operator()<silu>();
    case gelu: return use.template operator()<gelu>();
    case gelu_tanh: return use.template operator()<gelu_tanh>();
    case relu: return use.template operator()<relu>();
    case sigmoid: return use.template operator()<sigmoid>();
    case clip: return use.template operator()<clip>();
    case soft_cap: return use.template operator()<soft_cap>();
  }
}

template <class T>
void cpu_number_function(cpu_device& d, number_function_kind f, T parameter, view<const T> x, view<T> out) {
  with_number_function(f, [&]<number_function_kind F>() {
    d.run_pieces(x.size(), number_function_grain, [&](index_t first, index_t last) {
      run_with<number_function_body<F>>(d.instructions(), last - first, parameter, x.data + first, out.data + first);
    });
  });
}
template <class T>
void cpu_number_function_backward(cpu_device& d, number_function_kind f, T parameter, view<const T> x,
                                  view<const T> slope, bool accumulate, view<T> dx) {
  with_number_function(f, [&]<number_function_kind F>() {
    d.run_pieces(x.size(), number_function_grain, [&](index_t first, index_t last) {
      run_with<number_function_back_body<F>>(d.instructions(), last - first, parameter, x.data + first,
                                             slope.data + first, accumulate, dx.data + first);
    });
  });
}

}  // namespace plumb::inline v0::detail

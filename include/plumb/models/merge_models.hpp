// SPDX-License-Identifier: BSL-1.0
// Whole models become one: sums of what each learnt beyond a common base, TIES, DARE, or the arc between two models.
#pragma once

#include <cmath>
#include <map>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include <plumb/models/adapter_merge.hpp>
#include <plumb/models/task_vectors.hpp>

namespace plumb::inline v0 {

/// A model and how much to take of what it has beyond the base.
template <class B, class T>
struct weighted_model {
  language_model<B, T> model;
  double weight = 1;
};

/// The share t of the way from a to b, [n] each, on the arc between their directions (Shoemake 1985):
///
///   sin((1 − t) θ) / sin θ · a + sin(t θ) / sin θ · b,   θ = the angle between a and b
///
/// The factors come from the directions and multiply the vectors as they are, so lengths are interpolated, too. Where there
/// is no arc, or not one alone (a vector of zeros; sin θ < 1e-6: equal or opposite directions), it is the straight line
/// (1 − t) a + t b, to which the arc tends as θ goes to 0. Throws errc::bad_argument for sizes that differ.
inline std::vector<double> slerp(std::span<const double> a, std::span<const double> b, double t) {
  if (a.size() != b.size()) throw error(errc::bad_argument, "slerp", "vectors of different sizes");
  const auto length = [](std::span<const double> v) {
    double largest = 0, sum = 0;  // scaled, so that no square leaves the range
    for (const double x : v) largest = std::max(largest, std::abs(x));
    if (largest == 0) return 0.0;
    for (const double x : v) sum += (x / largest) * (x / largest);
    return largest * std::sqrt(sum);
  };
  const double of_a = length(a), of_b = length(b);
  double first = 1 - t, second = t;
  if (of_a > 0 && of_b > 0) {
    double apart = 0, along = 0;  // ‖â − b̂‖² and ‖â + b̂‖²: their angle is exact where the cosine is flat
    for (std::size_t i = 0; i < a.size(); ++i) {
      const double x = a[i] / of_a, y = b[i] / of_b;
      apart += (x - y) * (x - y);
      along += (x + y) * (x + y);
    }
    const double angle = 2 * std::atan2(std::sqrt(apart), std::sqrt(along));
    if (const double sine = std::sin(angle); sine >= 1e-6)
      first = std::sin((1 - t) * angle) / sine, second = std::sin(t * angle) / sine;
  }
  std::vector<double> out(a.size());
  for (std::size_t i = 0; i < out.size(); ++i) out[i] = first * a[i] + second * b[i];
  return out;
}

namespace detail {

/// Throws errc::bad_argument when the two are not of one make: then their weights do not mean the same.
inline void check_same_make(const model_config& base, model_config other, const std::string& source) {
  const auto fail = [&](std::string_view what, const auto& expected, const auto& found) {
    throw error(errc::bad_argument, source,
                join("expected a model of the base's make: ", what, " ", expected, ", found ", found));
  };
  if (other.family != base.family) fail("family", base.family, other.family);
  if (other.layers != base.layers) fail("layers", base.layers, other.layers);
  if (other.hidden_size != base.hidden_size) fail("width", base.hidden_size, other.hidden_size);
  if (other.vocabulary != base.vocabulary) fail("vocabulary", base.vocabulary, other.vocabulary);
  if (other.rope_theta != base.rope_theta) fail("rope_theta", base.rope_theta, other.rope_theta);
  other.max_positions = base.max_positions;  // what is no number of the network's own
  other.bos = base.bos, other.eos = base.eos, other.dtype = base.dtype, other.tied_head = base.tied_head;
  if (!(other == base))
    throw error(errc::bad_argument, source,
                "its config.json describes another network than the base's (norms, heads, windows or biases); only "
                "models of one make can be merged");
}

/// `base` remade with each weight as one(own, theirs, weights, place) says; all numbers [n], in double.
template <class B, class T, class One>
language_model<B, T> combine_models(const language_model<B, T>& base, const std::vector<weighted_model<B, T>>& others,
                                    One&& one) {
  if (others.empty()) throw error(errc::bad_argument, "models", "expected at least one beside the base");
  using by_name = std::map<std::string, const weight_tensor<B, T>*>;
  const auto weights_of = [](const language_model<B, T>& model) {
    by_name out;
    model.network().for_each_weight([&](const std::string& name, weight_ptr<B, T>& w) { out.emplace(name, w.get()); });
    return out;
  };
  model_config config = base.config();
  std::vector<double> shares;
  std::vector<by_name> weights;
  for (const auto& each : others) {
    if (!std::isfinite(each.weight))
      throw error(errc::bad_argument, each.model.source(), join("expected a finite weight, found ", each.weight));
    check_same_make(base.config(), each.model.config(), each.model.source());
    config.tied_head = config.tied_head && each.model.config().tied_head;
    shares.push_back(each.weight);
    weights.push_back(weights_of(each.model));
  }
  const by_name own = weights_of(base);
  const auto numbers_of = [](const weight_tensor<B, T>& w) {
    const auto host = w.host();
    return std::vector<double>(host.begin(), host.end());
  };
  std::uint64_t place = 0;
  return remade(base, config, [&](const std::string& name, shape extent) {
    std::vector<std::vector<double>> theirs;
    for (std::size_t i = 0; i < weights.size(); ++i) {
      const auto& w = *weights[i].at(name);
      if (w.extent() != extent)
        throw error(errc::bad_argument, others[i].model.source(),
                    join("its weight \"", name, "\" has another shape than the base's"));
      theirs.push_back(numbers_of(w));
    }
    const auto merged = one(numbers_of(*own.at(name)), std::move(theirs), std::span<const double>(shares), place++);
    const std::vector<T> out(merged.begin(), merged.end());
    return tensor<B, T>(base.device(), extent, std::span<const T>(out));
  });
}

}  // namespace detail

/// A model out of `base` and others of the same make, weight by weight: W' = W + merge(W_1 − W, …, W_n − W) with the
/// methods of merge_changes, so one other with weight t and `linear` is (1 − t) W + t W_1. Tokenizer and configuration are
/// the base's; where one of the models has a head of its own, so has the result. Adapters do not count.
/// Errors: errc::bad_argument for models of another make, options out of range, weights that are not finite.
template <class B, class T>
language_model<B, T> merge_models(const language_model<B, T>& base, const std::vector<weighted_model<B, T>>& others,
                                  const merge_options& how = {}) {
  return detail::combine_models(base, others,
                                [&](std::vector<double> own, std::vector<std::vector<double>> theirs,
                                    std::span<const double> weights, std::uint64_t place) {
                                  for (auto& each : theirs)
                                    for (std::size_t i = 0; i < own.size(); ++i) each[i] -= own[i];
                                  const auto change = merge_changes(std::move(theirs), weights, how, place);
                                  for (std::size_t i = 0; i < own.size(); ++i) own[i] += change[i];
                                  return own;
                                });
}

/// The model at the share t of the way from `first` to `second`, each weight on its arc (`slerp`). Errors as merge_models.
template <class B, class T>
language_model<B, T> slerp_models(const language_model<B, T>& first, const language_model<B, T>& second, double t) {
  return detail::combine_models(
      first, std::vector<weighted_model<B, T>>{{second, t}},
      [](const std::vector<double>& own, const std::vector<std::vector<double>>& theirs,
         std::span<const double> weights, std::uint64_t) { return slerp(own, theirs.front(), weights.front()); });
}

}  // namespace plumb::inline v0

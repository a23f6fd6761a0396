// SPDX-License-Identifier: BSL-1.0
// A row statistic of your own: a function of every word's log-probability, summed over the vocabulary by the head, and an
// objective on tokens that uses the sum. Nobody derives a gradient, and logits never exist for more than a chunk of rows.
#include <plumb/plumb.hpp>

#include <cstdio>
#include <vector>

/// φ: the sum over all words is Σ_v p_v², the probability that two draws agree.
struct agreement {
  static constexpr bool compares = false;  // true: `other` is the same word's log-probability under a teacher
  template <class Real>
  constexpr Real operator()(const Real& logp, double) const {
    return exp(2.0 * logp);
  }
};

/// SFT that stays open-minded: it pays for distributions in which two draws agree too often.
struct open_minded {
  static constexpr const char* name = "open_minded";
  static constexpr auto level = plumb::level::token;
  static constexpr auto needs = plumb::need::logp | plumb::need::statistic;
  using row_statistic = agreement;  // what the head puts into `statistic`

  double weight = 0.5;

  static constexpr void describe(auto& self, auto& about) {
    about("weight", self.weight, "price of agreement", plumb::at_least(0));
  }
  template <class Real>
  constexpr Real operator()(const plumb::token_record<Real>& r) const {
    return -r.logp + weight * r.statistic;
  }
};
static_assert(plumb::check_objective<open_minded>());

int main() {
  plumb::model_config sizes;
  sizes.hidden_size = 16;
  sizes.intermediate_size = 32;
  sizes.layers = 1;
  sizes.heads = sizes.kv_heads = 2;
  sizes.head_width = 8;
  sizes.vocabulary = 12;
  sizes.max_positions = 16;
  const auto model = plumb::make_model<plumb::cpu>(sizes, {});  // random weights; texts are token ids

  std::vector<plumb::example> data(2);
  data[0] = {.prompt = {1, 2}, .replies = {{{3, 4, 5}}}};
  data[1] = {.prompt = {1, 6}, .replies = {{{7, 8}}}};

  double entropy[2] = {};
  for (const int priced : {0, 1}) {
    auto policy = plumb::attach_lora(model, {.rank = 4});
    const open_minded method{.weight = priced ? 2.0 : 0.0};
    const auto result = plumb::fit(policy, method, data, {.rate = 0.03, .steps = 40, .log_every = 40});
    entropy[priced] = result.log.back().find("entropy").value_or(0);
    std::printf("weight %.1f: loss %.4f, entropy %.4f\n", method.weight, result.loss, entropy[priced]);
  }
  return entropy[1] > entropy[0] ? 0 : 1;
}

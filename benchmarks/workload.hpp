// SPDX-License-Identifier: BSL-1.0
// What the benchmarks train and sample: Llamas of the shapes of SmolLM2, random token ids, and how many operations a
// step needs at least.
#pragma once

#include <cmath>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include <plumb/core/random.hpp>
#include <plumb/data/example.hpp>
#include <plumb/models/policy.hpp>
#include <plumb/objective/all.hpp>

#include "arguments.hpp"

namespace bench {

using plumb::index_t;

/// "small" (a second a step), "135m" (SmolLM2-135M) or "360m" (SmolLM2-360M).
inline plumb::model_config shape_of(std::string_view name) {
  plumb::model_config c;
  c.vocabulary = 49152, c.max_positions = 2048, c.tied_head = true, c.rope_theta = 100000, c.head_width = 64;
  c.bos = 0, c.eos = {0};
  const auto set = [&](index_t width, index_t layers, index_t heads, index_t kv_heads, index_t inner) {
    c.hidden_size = width, c.layers = layers, c.heads = heads, c.kv_heads = kv_heads, c.intermediate_size = inner;
  };
  if (name == "small")
    set(192, 4, 3, 1, 512), c.vocabulary = 8192;
  else if (name == "135m")
    set(576, 30, 9, 3, 1536);
  else if (name == "360m")
    set(960, 32, 15, 5, 2560);
  else
    throw plumb::error(plumb::errc::bad_argument, "--shape",
                       plumb::join("expected small, 135m or 360m, found \"", name, "\""));
  return c;
}

/// What --shape says; --small and --360m are short for two of its names.
inline std::string shape_name_of(arguments& a) {
  const bool small = a.flag("--small"), large = a.flag("--360m");
  return a.text("--shape", small ? "small" : large ? "360m" : "135m");
}

/// How --dtype keeps the maps of a model: "f32", or the name of a storage.
inline plumb::weight_storage storage_of(std::string_view dtype) {
  return dtype == "f32" ? plumb::weight_storage::plain : plumb::weight_storage_of(dtype);
}
inline plumb::product_precision products_of(std::string_view compute) {
  if (compute == "bf16") return plumb::product_precision::bfloat16;
  if (compute == "f32") return plumb::product_precision::full;
  throw plumb::error(plumb::errc::bad_argument, "--compute", plumb::join("expected f32 or bf16, found ", compute));
}
/// What --threads, --dtype and --compute say.
inline plumb::load_options load_options_of(arguments& a) {
  return {.threads = a.number("--threads", 0, 0),
          .storage = storage_of(a.text("--dtype", "f32")),
          .products = products_of(a.text("--compute", "f32"))};
}
inline std::string_view precision_of(plumb::weight_storage s) {
  return s == plumb::weight_storage::plain ? "fp32" : plumb::name(s);
}
/// How weights are kept, and how they are multiplied where it is not in float.
inline std::string precision_of(const plumb::load_options& load) {
  const bool rounds = load.products == plumb::product_precision::bfloat16;
  return plumb::join(precision_of(load.storage), rounds ? ", products in bfloat16" : "");
}

/// Random ids; 0 ends a text and does not occur.
inline std::vector<plumb::token_id> random_tokens(index_t count, std::uint64_t key, index_t vocabulary) {
  std::vector<plumb::token_id> out;
  for (index_t i = 0; i < count; ++i)
    out.push_back(static_cast<plumb::token_id>(1 + plumb::philox_word(key, static_cast<std::uint64_t>(i)) %
                                                       static_cast<std::uint64_t>(vocabulary - 1)));
  return out;
}

/// What one optimiser step of a method takes.
struct step_shape {
  std::string method;
  index_t rows = 1;     ///< prompts
  index_t replies = 1;  ///< of each prompt
  index_t prompt = 0, reply = 0;
  bool reference = false;   ///< scores the replies under the model without its adapter, once
  bool mismatched = false;  ///< kto: scores a reply that does not belong to the prompt, under policy and reference
  bool sampled = false;     ///< ppo: replies come with log-probabilities and advantages

  /// Tokens of the data: a prompt counts once, whatever an implementation makes of it.
  [[nodiscard]] index_t tokens() const { return rows * (prompt + replies * reply); }
};

inline step_shape step_of(std::string_view method, bool small = false) {
  const index_t by = small ? 4 : 1;  // of small models
  if (method == "sft") return {"sft", 4, 1, 1, 256 / by - 1};
  if (method == "dpo") return {"dpo", 1, 2, 512 / by, 256 / by, true};
  if (method == "orpo") return {"orpo", 1, 2, 512 / by, 256 / by};
  if (method == "kto") return {"kto", 2, 1, 512 / by, 256 / by, true, true};
  if (method == "ppo") return {"ppo", 1, 4, 512 / by, 256 / by, false, false, true};
  throw plumb::error(plumb::errc::bad_argument, "--methods",
                     plumb::join("expected some of sft, dpo, orpo, kto, ppo, found \"", method, "\""));
}

/// Calls use(objective) with the objective of a method that `step_of` knows.
template <class Use>
void with_objective(std::string_view method, Use use) {
  if (method == "sft") return use(plumb::sft{});
  if (method == "dpo") return use(plumb::dpo{.beta = 0.1});
  if (method == "orpo") return use(plumb::orpo{.beta = 0.1});
  if (method == "ppo") return use(plumb::ppo{.value_weight = 0});
  use(plumb::kto{.beta = 0.1});
}

/// What a sampler would say of a reply: log-probabilities about those of a model that knows nothing, and an advantage.
inline void give_rollout(plumb::reply& reply, std::uint64_t key, index_t vocabulary) {
  const auto number = [&](std::uint64_t i) {
    return static_cast<double>(plumb::uniform_float(plumb::philox_word(plumb::derive_key(key, 1), i))) - 0.5;
  };
  for (std::size_t i = 0; i < reply.tokens.size(); ++i)
    reply.old.push_back(0.4 * number(i) - std::log(static_cast<double>(vocabulary)));
  reply.advantages = {4 * number(reply.tokens.size())};
}

inline std::vector<plumb::example> random_examples(const step_shape& s, index_t steps, index_t vocabulary) {
  std::vector<plumb::example> data;
  std::uint64_t key = 1000;
  for (index_t i = 0; i < steps * s.rows; ++i) {
    plumb::example e{.prompt = random_tokens(s.prompt, key++, vocabulary), .place = plumb::join("row ", i + 1)};
    for (index_t k = 0; k < s.replies; ++k) {
      e.replies.push_back({random_tokens(s.reply, key++, vocabulary)});
      if (s.sampled) give_rollout(e.replies.back(), key, vocabulary);
    }
    e.desirable = i % 2 == 0;
    data.push_back(std::move(e));
  }
  return data;
}

/// Operations (a multiplication and an addition are two) of products and attention; whatever else there is counts as 0.
struct operations {
  double forward = 0;   ///< of one pass that is scored
  double backward = 0;  ///< of its gradients
};

/// The least for a row of a step as plumb computes it: the prompt once for all its replies, the head for replies alone,
/// no gradient of frozen weights and none below the first adapter.
inline operations operations_of(const plumb::model_config& c, index_t prompt, index_t reply, index_t replies,
                                index_t rank) {
  const auto number = [](index_t n) { return static_cast<double>(n); };
  const double width = number(c.hidden_size), q = number(c.heads * c.head_width),
               kv = number(c.kv_heads * c.head_width), inner = number(c.intermediate_size), layers = number(c.layers);
  const double maps = 2 * width * q + 2 * width * kv + 3 * width * inner;  // numbers of a block
  const double adapter = number(rank) * (2 * (width + q) + 2 * (width + kv) + 3 * (width + inner));
  const double p = number(prompt), r = number(reply), n = number(replies);
  const double tokens = p + n * r, pairs = p * (p + 1) / 2 + n * (r * p + r * (r + 1) / 2);
  const double attention = 4 * q * pairs * layers, head = 2 * n * r * number(c.vocabulary) * width;

  operations out;
  out.forward = 2 * tokens * (maps + adapter) * layers + attention + head;
  const double below_first =  // slopes of the first block's inputs, through queries, keys and values and their A
      2 * tokens * (width * q + 2 * width * kv + 3 * number(rank) * width);
  out.backward = 2 * tokens * maps * layers + 2.5 * attention + head;  // slopes of all inputs
  if (rank > 0)
    out.backward += 4 * tokens * adapter * layers - below_first;
  else
    out.backward += 2 * tokens * maps * layers + head;  // gradients of all weights, and slopes of the embedding
  return out;
}

/// Of a whole optimiser step, with what it scores beside learning.
inline double operations_of(const plumb::model_config& c, const step_shape& s, index_t rank) {
  const operations own = operations_of(c, s.prompt, s.reply, s.replies, rank);
  const double frozen = operations_of(c, s.prompt, s.reply, s.replies, 0).forward;
  double row = own.forward + own.backward;
  if (s.mismatched)  // its prompt is read once for both replies, under policy and reference
    row += operations_of(c, s.prompt, s.reply, 2 * s.replies, rank).forward - own.forward +
           operations_of(c, s.prompt, s.reply, 2 * s.replies, 0).forward;
  else if (s.reference)
    row += frozen;
  return row * static_cast<double>(s.rows);
}

/// Gives every B of an adapter small random numbers: the policy is then not its own reference, and a comparison of
/// losses with another implementation says something.
template <class B, class T>
void stir_adapter(const plumb::policy<B, T>& policy, std::uint64_t seed = 7) {
  std::uint64_t which = 0;
  for (const auto& [name, parameter] : policy.trainable()) {
    const std::uint64_t key = plumb::derive_key(seed, which++);
    if (!name.ends_with("lora_B.weight")) continue;
    std::vector<T> numbers(static_cast<std::size_t>(parameter->value.size()));
    for (std::size_t i = 0; i < numbers.size(); ++i)
      numbers[i] =
          static_cast<T>(0.01 * (2 * static_cast<double>(plumb::uniform_float(plumb::philox_word(key, i))) - 1));
    parameter->value.assign(numbers);
  }
}

}  // namespace bench

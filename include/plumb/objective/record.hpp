// SPDX-License-Identifier: BSL-1.0
// What an objective sees: one record (a token, a sequence, a pair, a group) of differentiable slots and plain numbers.
#pragma once

#include <concepts>
#include <plumb/core/types.hpp>

namespace plumb::inline v0 {

/// What one record of an objective stands for, from fine to coarse.
enum class level {
  row,       ///< one row of the vocabulary: distillation
  token,     ///< one token of a completion: sft, ppo
  sequence,  ///< one completion: kto
  pair,      ///< a chosen and a rejected completion: dpo
  group,     ///< any number of ranked or scored completions: plackett_luce
};

/// What an objective asks of a record, so that nothing else has to be computed or present in the data.
/// One bit each; combine with |.
enum class need : unsigned {
  none = 0,
  logp = 1u << 0,            ///< log-probability under the policy: a differentiable slot
  reward = 1u << 1,          ///< scalar head output: a differentiable slot (reward models)
  value = 1u << 2,           ///< value head output and the return it regresses on: slot and number (ppo)
  entropy = 1u << 3,         ///< entropy of the next-token distribution: a differentiable slot
  reference = 1u << 4,       ///< log-probability under the reference policy
  old_logp = 1u << 5,        ///< log-probability under the policy that sampled the completion
  old_value = 1u << 6,       ///< value head output at sampling time
  advantage = 1u << 7,       ///< advantage of the token or completion
  tokens = 1u << 8,          ///< length of the completion in tokens
  desirable = 1u << 9,       ///< thumbs up or down
  margin = 1u << 10,         ///< by how much chosen beats rejected, from the data; 0 when a row has none
  divergence = 1u << 11,     ///< a per-row baseline of the log-ratio (kto's KL)
  log_partition = 1u << 12,  ///< log of the sum of the exponentials of a token's logits: a differentiable slot
  mean_logp = 1u << 13,  ///< mean log-probability over the whole vocabulary: a differentiable slot (label smoothing)
  statistic = 1u << 14,  ///< the objective's own row statistic: a differentiable slot (distill)
  tail = 1u << 15,       ///< the part of logp beyond the pair's shorter reply: slot, and number for the reference
  sequential_kl = 1u << 16,  ///< Σ_t KL(π_ref ‖ π) along the completion: a differentiable slot (tdpo, asft)
  confidence = 1u << 17,     ///< how sure the policy is of the completion, detached (wpo)
  target = 1u << 18,         ///< the number to hit: an attribute's rating, a step's label
  mean_ratio = 1u << 19,     ///< mean log-ratio of all replies that training has seen so far (bco)
};

constexpr need operator|(need a, need b) {
  return static_cast<need>(static_cast<unsigned>(a) | static_cast<unsigned>(b));
}
constexpr need operator&(need a, need b) {
  return static_cast<need>(static_cast<unsigned>(a) & static_cast<unsigned>(b));
}
/// Whether `all` contains every bit of `some`.
constexpr bool has(need all, need some) { return (all & some) == some; }

/// The content of a field that nobody filled in: NaN. A formula that reads it, whatever it does next, yields NaN,
/// and training stops with errc::not_finite instead of running on with a made-up number.
inline constexpr double missing = __builtin_nan("");

/// How a field takes part.
enum class role {
  slot,      ///< differentiable: has a slope
  plain,     ///< a number that must be given when the objective needs it
  optional,  ///< has a sensible value when the data says nothing
};

/// A field's description, handed to visitors beside the field itself. Its path is "name" or "part.name".
struct field {
  const char* part;  ///< "chosen", "rejected", or "" at the top
  const char* name;  ///< as written in JSON
  need asks;         ///< the need that fills it
  plumb::role role;
};

// Every record has `fields(visit, part, records...)`: calls visit(field, members...) for each field in a fixed order,
// with the same field of each given record, whatever their number types. Conversion, slopes and JSON are made of it.

/// One token of a completion. Log-probabilities in nats.
template <class Real = double>
struct token_record {
  static constexpr plumb::level level = plumb::level::token;
  using real = Real;

  Real logp = missing;           ///< log π(y_t | x, y_<t)
  Real entropy = missing;        ///< H(π(· | x, y_<t))
  Real value = missing;          ///< V(x, y_<t)
  Real log_partition = missing;  ///< log Σ_v exp z_v, of the logits z
  Real mean_logp = missing;      ///< (1/V) Σ_v log π(v | x, y_<t)
  Real statistic = missing;      ///< Σ_v φ(log π(v | x, y_<t), …), with the φ of the objective
  Real sequential_kl = missing;  ///< KL(π_ref(· | x, y_<t) ‖ π(· | x, y_<t))
  Real reward = missing;         ///< the scalar head's output at the token itself, r(x, y_≤t): process_reward
  double ref = missing;          ///< logp under the reference
  double old = missing;          ///< logp when the token was sampled
  double advantage = missing;    ///< A_t
  double old_value = missing;    ///< value when the token was sampled
  double ret = missing;          ///< return, "return" in JSON
  double target = missing;       ///< label of a step or rating, for heads that predict a number
  double correct = missing;  ///< 1 where the most probable token is the target, else 0: for the accuracy metric alone
  bool mask = true;          ///< false: the token does not count; it is skipped, never multiplied by zero
  index_t sequence = 0;      ///< which completion it belongs to
  double weight = 1;         ///< of its loss among the others (objective/weights.hpp)

  /// log π − log π_ref.
  constexpr Real log_ratio() const { return logp - ref; }

  template <class Visit, class... Record>
  static constexpr void fields(Visit&& visit, const char* part, Record&... r) {
    visit(field{part, "logp", need::logp, role::slot}, r.logp...);
    visit(field{part, "entropy", need::entropy, role::slot}, r.entropy...);
    visit(field{part, "value", need::value, role::slot}, r.value...);
    visit(field{part, "log_partition", need::log_partition, role::slot}, r.log_partition...);
    visit(field{part, "mean_logp", need::mean_logp, role::slot}, r.mean_logp...);
    visit(field{part, "statistic", need::statistic, role::slot}, r.statistic...);
    visit(field{part, "sequential_kl", need::sequential_kl, role::slot}, r.sequential_kl...);
    visit(field{part, "reward", need::reward, role::slot}, r.reward...);
    visit(field{part, "ref", need::reference, role::plain}, r.ref...);
    visit(field{part, "old", need::old_logp, role::plain}, r.old...);
    visit(field{part, "advantage", need::advantage, role::plain}, r.advantage...);
    visit(field{part, "old_value", need::old_value, role::plain}, r.old_value...);
    visit(field{part, "return", need::value, role::plain}, r.ret...);
    visit(field{part, "target", need::target, role::plain}, r.target...);
    visit(field{part, "correct", need::none, role::optional}, r.correct...);
    visit(field{part, "mask", need::none, role::optional}, r.mask...);
    visit(field{part, "sequence", need::none, role::optional}, r.sequence...);
    visit(field{part, "weight", need::none, role::optional}, r.weight...);
  }
};

/// One completion. `logp`, `ref` and `old` are sums over its tokens, in nats.
template <class Real = double>
struct sequence_record {
  static constexpr plumb::level level = plumb::level::sequence;
  using real = Real;

  Real logp = missing;           ///< Σ_t log π(y_t | x, y_<t)
  Real reward = missing;         ///< the scalar head's output at the last token
  Real tail = missing;           ///< the part of logp beyond the length of the pair's shorter reply
  Real sequential_kl = missing;  ///< Σ_t KL(π_ref(· | x, y_<t) ‖ π(· | x, y_<t))
  double ref = missing;          ///< logp under the reference
  double old = missing;          ///< logp when the completion was sampled
  double tokens = missing;       ///< number of tokens, at least 1
  double advantage = missing;    ///< A of the whole completion
  double kl = missing;           ///< this row's baseline of the log-ratio, when the data brings one
  double ref_tail = missing;     ///< tail under the reference
  double confidence = missing;  ///< mean_t (log π(y_t) − log Σ_v π(v)²), at most 0 for greedy replies: wpo's log-weight
  double target = missing;      ///< the rating that the reward should hit
  double mean_ratio = missing;  ///< mean log-ratio of the replies seen so far, when training keeps one
  bool desirable = true;        ///< liked or disliked
  double weight = 1;            ///< of its loss among the others; as part of a pair or group it has none of its own

  /// log π − log π_ref of the whole completion: what most preference objectives are made of.
  constexpr Real log_ratio() const { return logp - ref; }
  /// Log-probability per token.
  constexpr Real mean_logp() const { return logp / tokens; }

  template <class Visit, class... Record>
  static constexpr void fields(Visit&& visit, const char* part, Record&... r) {
    visit(field{part, "logp", need::logp, role::slot}, r.logp...);
    visit(field{part, "reward", need::reward, role::slot}, r.reward...);
    visit(field{part, "tail", need::tail, role::slot}, r.tail...);
    visit(field{part, "sequential_kl", need::sequential_kl, role::slot}, r.sequential_kl...);
    visit(field{part, "ref", need::reference, role::plain}, r.ref...);
    visit(field{part, "old", need::old_logp, role::plain}, r.old...);
    visit(field{part, "tokens", need::tokens, role::plain}, r.tokens...);
    visit(field{part, "advantage", need::advantage, role::plain}, r.advantage...);
    visit(field{part, "kl", need::divergence, role::optional}, r.kl...);
    visit(field{part, "ref_tail", need::tail, role::plain}, r.ref_tail...);
    visit(field{part, "confidence", need::confidence, role::plain}, r.confidence...);
    visit(field{part, "target", need::target, role::plain}, r.target...);
    visit(field{part, "mean_ratio", need::mean_ratio, role::optional}, r.mean_ratio...);
    visit(field{part, "desirable", need::desirable, role::plain}, r.desirable...);
    if (!*part) visit(field{part, "weight", need::none, role::optional}, r.weight...);
  }
};

/// A chosen and a rejected completion of one prompt.
template <class Real = double>
struct pair_record {
  static constexpr plumb::level level = plumb::level::pair;
  using real = Real;

  sequence_record<Real> chosen;
  sequence_record<Real> rejected;
  double margin = 0;  ///< how much better chosen is, from the data
  double weight = 1;  ///< of its loss among the others

  template <class Visit, class... Record>
  static constexpr void fields(Visit&& visit, const char* part, Record&... r) {
    sequence_record<Real>::fields(visit, "chosen", r.chosen...);
    sequence_record<Real>::fields(visit, "rejected", r.rejected...);
    visit(field{part, "margin", need::margin, role::optional}, r.margin...);
    visit(field{part, "weight", need::none, role::optional}, r.weight...);
  }
};

/// The completions of one prompt, the best first: objective/group.hpp.
template <class Real = double>
struct group_record;

namespace detail {
template <level L>
struct record_at;  // no record: objectives of this level are evaluated elsewhere
template <>
struct record_at<level::token> {
  template <class Real>
  using type = token_record<Real>;
};
template <>
struct record_at<level::sequence> {
  template <class Real>
  using type = sequence_record<Real>;
};
template <>
struct record_at<level::pair> {
  template <class Real>
  using type = pair_record<Real>;
};

template <>
struct record_at<level::group> {
  template <class Real>
  using type = group_record<Real>;
};

struct slot_counter {
  int count = 0;
  constexpr void operator()(const field& f, const auto&...) { count += f.role == role::slot ? 1 : 0; }
};
}  // namespace detail

/// The record of a level over a number type: record<level::pair, double> is pair_record<double>.
template <level L, class Real = double>
using record = typename detail::record_at<L>::template type<Real>;

/// A level whose objectives are functions of records: all but rows of the vocabulary.
template <level L>
concept has_record = requires { typename record<L>; };
/// A level whose records have the same slots each: all but groups, too.
template <level L>
concept has_fixed_slots = has_record<L> && L != level::group;

/// The level of what an objective's formula is handed: a group is a span of sequences.
template <level L>
inline constexpr level unit_level = L == level::group ? level::sequence : L;

/// How many differentiable slots a record has: 8 per token, 4 per sequence, 8 per pair, 4 per reply of a group.
template <level L>
constexpr int slot_count() {
  const record<unit_level<L>> empty;
  detail::slot_counter counter;
  record<unit_level<L>>::fields(counter, "", empty);
  return counter.count;
}

/// Calls visit(field, slot index) for each differentiable slot, in the order of the slopes.
template <level L, class Visit>
constexpr void for_each_slot(Visit&& visit) {
  const record<L> empty;
  int slot = 0;
  record<L>::fields(
      [&](const field& f, const auto&) {
        if (f.role == role::slot) visit(f, slot++);
      },
      "", empty);
}

}  // namespace plumb::inline v0

// SPDX-License-Identifier: BSL-1.0
// One row of training data as token ids: a prompt and its replies. Every level of objective is fed from it.
#pragma once

#include <string>
#include <vector>

#include <plumb/core/types.hpp>

namespace plumb::inline v0 {

/// The likeliest words of a teacher for each token, ids ascending: [tokens, wide], −1 after the last where there are fewer.
struct teacher_list {
  index_t wide = 0;  ///< 0: none known
  std::vector<token_id> ids{};
  std::vector<double> logp{};  ///< nats
};

/// A reply to score or to learn from.
struct reply {
  std::vector<token_id> tokens{};  ///< without the prompt; at least one
  /// Log-probability under the reference, summed over the tokens, in nats; NaN until it is known.
  double reference = __builtin_nan("");
  std::vector<double>
      token_references{};            ///< [tokens] the same, token by token; empty until a token's own is asked for
  std::vector<double> old{};         ///< [tokens] log-probability when the token was sampled; empty: the policy's own
  std::vector<double> advantages{};  ///< [tokens], or one for the whole reply; empty: none known
  std::vector<double> old_values{};  ///< [tokens] what the value head said at sampling time
  std::vector<double> returns{};     ///< [tokens] what the value head regresses on
  std::vector<double> targets{};     ///< [tokens] labels, NaN where a token has none; or one rating of the whole reply
  teacher_list teacher{};            ///< what a teacher says of every token (data/teacher_words.hpp)
  std::vector<bool> mask{};          ///< [tokens] false: context that is not learnt; empty: all are
  double weight = 1;                 ///< of the reply's tokens or records in the loss; 0 leaves them out
};

/// A prompt with one reply (SFT, unpaired), two (chosen first, then rejected) or more (ranked, best first).
struct example {
  std::vector<token_id> prompt{};
  std::vector<reply> replies{};
  double margin = 0;              ///< by how much chosen beats rejected, when the data says so
  bool desirable = true;          ///< of an unpaired reply
  std::string place{};            ///< "file:line", for messages
  index_t adapter = own_adapter;  ///< which it runs with where a model has several (models/adapter_set.hpp)
  double kl = __builtin_nan("");  ///< baseline of the log-ratio of an unpaired reply, when the data brings one
};

}  // namespace plumb::inline v0

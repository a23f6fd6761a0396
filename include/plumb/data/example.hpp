// SPDX-License-Identifier: BSL-1.0
// One row of training data as token ids: a prompt and its replies. Every level of objective is fed from it.
#pragma once

#include <string>
#include <vector>

#include <plumb/core/types.hpp>

namespace plumb::inline v0 {

/// A reply to score or to learn from.
struct reply {
  std::vector<token_id> tokens;  ///< without the prompt; at least one
  /// Log-probability under the reference, summed over the tokens, in nats; NaN until it is known.
  double reference = __builtin_nan("");
};

/// A prompt with one reply (SFT, unpaired), two (chosen first, then rejected) or more (ranked, best first).
struct example {
  std::vector<token_id> prompt;
  std::vector<reply> replies;
  double margin = 0;      ///< by how much chosen beats rejected, when the data says so
  bool desirable = true;  ///< of an unpaired reply
  std::string place;      ///< "file:line", for messages
};

}  // namespace plumb::inline v0

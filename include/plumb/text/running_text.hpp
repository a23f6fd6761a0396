// SPDX-License-Identifier: BSL-1.0
// The text of a reply while its tokens come: what each of them adds, never half a character.
#pragma once

#include <span>
#include <string>
#include <utility>
#include <vector>

#include <plumb/text/tokenizer.hpp>

namespace plumb::inline v0 {

/// Turns tokens into text one by one, for a reader who does not wait for the end.
///
/// All that `add` returns, and `finish` at the end, is together `tokenizer::decode` of all tokens (but where bytes that
/// become no character follow bytes that did, some decoders give up both, and the first were shown). Each token is decoded
/// with the few before it that came since text was last returned, for decoders join neighbours (spaces, bytes of a
/// character, pieces of a word): the time grows with the number of tokens.
class running_text {
 public:
  explicit running_text(tokenizer t, bool skip_special = true) : tokenizer_(std::move(t)), skip_(skip_special) {}

  /// What this token adds; empty while the character that it belongs to is not complete.
  std::string add(token_id id) {
    waiting_.push_back(id);
    std::string text = tokenizer_.decode(waiting_, skip_);
    if (text.size() <= shown_.size() || text.ends_with("\xEF\xBF\xBD")) return {};
    return show(std::move(text));
  }

  /// What was held back: bytes that became no character, as U+FFFD.
  std::string finish() {
    std::string text = tokenizer_.decode(waiting_, skip_);
    return text.size() > shown_.size() ? show(std::move(text)) : std::string();
  }

 private:
  /// The end of `text` that is new. The tokens that made it stay before those to come, for as long as these show nothing.
  std::string show(std::string text) {
    std::string added = text.substr(shown_.size());
    waiting_.erase(waiting_.begin(), waiting_.begin() + static_cast<std::ptrdiff_t>(already_));
    already_ = waiting_.size();
    shown_ = tokenizer_.decode(waiting_, skip_);
    return added;
  }

  tokenizer tokenizer_;
  bool skip_;
  std::vector<token_id> waiting_;  ///< the tokens of the text returned last, then those that came since
  std::size_t already_ = 0;        ///< how many of them have been returned
  std::string shown_;              ///< their text
};

}  // namespace plumb::inline v0

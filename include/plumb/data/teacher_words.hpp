// SPDX-License-Identifier: BSL-1.0
// What a teacher says of every token of a reply, in few words: its likeliest ones and their log-probabilities.
// Bodies: teacher_words_impl.hpp.
#pragma once

#include <span>
#include <string>
#include <vector>

#include <plumb/data/example.hpp>

namespace plumb::inline v0 {

/// One list a token of the reply: `ids[t]`, distinct words, and `logp[t]`, their log-probabilities under the teacher at the
/// temperature of the loss, in nats; from 1 word on, in any order, of any lengths. Written into the reply. Throws errc::bad_data, naming
/// `place`, for lists that do not fit the reply's tokens or each other, and for numbers that are no log-probabilities
/// of different words: above 0, NaN, or adding up to more than 1.
void give_teacher_words(reply& r, const std::vector<std::vector<token_id>>& ids,
                        const std::vector<std::vector<double>>& logp, const std::string& place);

/// Do rows bring a teacher's words? Throws errc::bad_data, with the row's place, when some do and some do not, and for ids outside
/// the vocabulary.
bool bring_teacher_words(std::span<const example> data, index_t vocabulary);

/// Keeps the `most` likeliest words of each token.
void keep_teacher_words(std::vector<example>& data, index_t most);

}  // namespace plumb::inline v0

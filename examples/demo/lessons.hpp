// SPDX-License-Identifier: BSL-1.0
// From the world's texts to what `fit` trains on: a tokenizer learnt from the town's own documents, and rows of tokens.
#pragma once

#include <limits>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <plumb/data/example.hpp>
#include <plumb/text/train_bpe.hpp>

#include "builders.hpp"

namespace demo {

/// A tokenizer of the town's language; token 0 ends every text.
inline plumb::tokenizer learn_tokenizer(std::span<const std::string> documents, plumb::index_t size) {
  plumb::tokenizer words = plumb::train_bpe(documents, size, {"<|end|>"});
  words.set_eos(0);
  return words;
}

/// A prompt and one reply or several, each with the end-of-text token. Prompts end and replies begin at a word's
/// border, so the tokens of both together are those of the whole text.
inline plumb::example row(const plumb::tokenizer& words, std::string_view prompt,
                          std::initializer_list<std::string_view> completions) {
  plumb::example out;
  out.prompt = words.encode(prompt);
  for (const std::string_view completion : completions) {
    plumb::reply r{words.encode(completion)};
    r.tokens.push_back(*words.eos());
    out.replies.push_back(std::move(r));
  }
  return out;
}

/// Whole documents: every token is learnt from those before it.
inline std::vector<plumb::example> whole_texts(const plumb::tokenizer& words, std::span<const std::string> documents) {
  std::vector<plumb::example> out;
  for (const std::string& document : documents) out.push_back(row(words, "", {document}));
  return out;
}

inline std::vector<plumb::example> rows(const plumb::tokenizer& words, std::span<const demonstration> demonstrations) {
  std::vector<plumb::example> out;
  for (const demonstration& d : demonstrations) out.push_back(row(words, d.prompt, {d.completion}));
  return out;
}

inline std::vector<plumb::example> rows(const plumb::tokenizer& words, std::span<const preference> pairs) {
  std::vector<plumb::example> out;
  for (const preference& p : pairs) {
    out.push_back(row(words, p.prompt, {p.chosen, p.rejected}));
    out.back().margin = p.margin;
  }
  return out;
}

/// The oracle's labels of a reply's parts: at the last token of each part, up to a comma, a colon or the end of a sentence,
/// its score of the reply so far. No other token has a label.
inline std::vector<double> labels_of_parts(const plumb::tokenizer& words, const oracle& judge, const question& asked,
                                           std::span<const plumb::token_id> tokens) {
  std::vector<double> labels(tokens.size(), std::numeric_limits<double>::quiet_NaN());
  std::string read;
  for (std::size_t t = 0; t < tokens.size(); ++t) {
    const bool last = t + 1 == tokens.size();  // the end of the text, which says nothing itself
    if (!last) read = words.decode(tokens.first(t + 1));
    const bool ends = !read.empty() && std::string_view(",:.!?").find(read.back()) != std::string_view::npos;
    if (last || (ends && t + 2 < tokens.size())) labels[t] = judge.judge(asked, read).total();
  }
  return labels;
}

/// The prompts of questions, ready to be answered.
inline std::vector<std::string> prompts(std::span<const question> questions) {
  std::vector<std::string> out;
  for (const question& q : questions) out.push_back(prompt(q));
  return out;
}

}  // namespace demo

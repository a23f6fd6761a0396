// SPDX-License-Identifier: BSL-1.0
// Everything a tokenizer.json says, checked and ready for use; a tokenizer shares it, constant, between its copies.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <plumb/core/error.hpp>
#include <plumb/core/types.hpp>
#include <plumb/io/json.hpp>
#include <plumb/text/added_tokens.hpp>
#include <plumb/text/bpe.hpp>
#include <plumb/text/decoder.hpp>
#include <plumb/text/normalizer.hpp>
#include <plumb/text/pre_tokenizer.hpp>
#include <plumb/text/tokenizer_source.hpp>
#include <plumb/text/unigram.hpp>
#include <plumb/text/word_piece.hpp>

namespace plumb::inline v0::detail {

struct tokenizer_data {
  vocabulary words;
  bpe_model model;
  std::optional<unigram_model> unigram;  // instead of `model`
  std::optional<word_piece_model> word_piece;
  std::vector<added_token> added;            // sorted by id
  std::vector<std::string> normalized_keys;  // what the finder of normalised tokens looks for
  token_finder raw_finder, normalized_finder;
  std::vector<normalizer_step> normalizer;
  std::vector<pre_tokenizer_step> pre_tokenizer;
  std::vector<decoder_step> decoder;
  std::vector<token_id> before, after;  // what the post_processor puts around a text
  std::string json;                     // the text that all this came from

  /// Appends the tokens of a word.
  void encode(std::string_view word, std::vector<token_id>& out) const {
    if (unigram)
      unigram->encode(word, out);
    else if (word_piece)
      word_piece->encode(word, out);
    else
      model.encode(word, words, out);
  }

  [[nodiscard]] const added_token* find_added(token_id id) const {
    const auto at = std::lower_bound(added.begin(), added.end(), id,
                                     [](const added_token& t, token_id wanted) { return t.id < wanted; });
    return at != added.end() && at->id == id ? &*at : nullptr;
  }
};

/// A token number of a file: not negative, and not so large that the vocabulary would be mostly holes.
inline token_id read_id(const json::value& v, std::string_view what, std::size_t entries, const std::string& place) {
  constexpr std::size_t holes = 1'000'000;
  const auto id = json::as<std::int64_t>(v, what, place);
  if (id < 0 || static_cast<std::size_t>(id) >= entries + holes || id > std::numeric_limits<token_id>::max()) {
    throw error(errc::bad_file, place,
                join(what, ": the token number ", id, " is out of range for ", entries, " tokens"));
  }
  return static_cast<token_id>(id);
}

inline std::string in_quotes(std::string_view text) {
  return json::dump(json::value(boost::json::string_view(text.data(), text.size())));
}

/// "added_tokens": the entries with their flags, sorted by number.
inline std::vector<added_token> read_added(const json::object& top, std::size_t entries, const std::string& place) {
  std::vector<added_token> added;
  const json::value* const list = json::find(top, "added_tokens");
  if (list == nullptr || list->is_null()) return added;
  if (!list->is_array())
    throw error(errc::bad_file, place, join("\"added_tokens\": expected a list, found ", json::describe(*list)));
  for (const json::value& item : list->get_array()) {
    const auto& entry = json::as_object(item, "an item of \"added_tokens\"", place);
    added_token token;
    token.content = json::get<std::string>(entry, "content", place);
    token.id = read_id(json::get<json::value>(entry, "id", place), join("added token ", in_quotes(token.content)),
                       entries + list->get_array().size(), place);
    token.special = json::get_or<bool>(entry, "special", false, place);
    token.single_word = json::get_or<bool>(entry, "single_word", false, place);
    token.lstrip = json::get_or<bool>(entry, "lstrip", false, place);
    token.rstrip = json::get_or<bool>(entry, "rstrip", false, place);
    token.normalized = json::get_or<bool>(entry, "normalized", !token.special, place);
    added.push_back(std::move(token));
  }
  std::sort(added.begin(), added.end(), [](const added_token& a, const added_token& b) { return a.id < b.id; });
  return added;
}

/// The model's tokens and the added ones as one vocabulary, with every number and text used once.
inline void read_vocabulary(std::span<const std::pair<std::string_view, token_id>> vocab, tokenizer_data& data,
                            const std::string& place) {
  auto& [tokens, ids] = data.words;
  const auto place_token = [&](std::string_view text, token_id id) {
    const auto at = static_cast<std::size_t>(id);
    if (at >= tokens.size()) tokens.resize(at + 1);
    if (!tokens[at].empty() && tokens[at] != text) {
      throw error(errc::bad_file, place,
                  join("the tokens ", in_quotes(tokens[at]), " and ", in_quotes(text), " have the same number ", id));
    }
    tokens[at] = text;
  };
  for (const auto& [text, id] : vocab) {
    if (text.empty()) throw error(errc::bad_file, place, "the vocabulary has an empty token");
    place_token(text, id);
  }
  for (const added_token& token : data.added) {
    if (!token.content.empty()) place_token(token.content, token.id);
  }
  ids.reserve(tokens.size());
  for (std::size_t i = 0; i < tokens.size(); ++i) {
    if (tokens[i].empty()) continue;
    const auto [at, fresh] = ids.emplace(tokens[i], static_cast<token_id>(i));
    if (!fresh) {
      throw error(errc::bad_file, place,
                  join("the token ", in_quotes(tokens[i]), " has two numbers, ", at->second, " and ", i));
    }
  }
}

/// "model.vocab" as an object of tokens and their numbers.
inline void read_vocabulary(const json::object& vocab, tokenizer_data& data, const std::string& place) {
  std::vector<std::pair<std::string_view, token_id>> entries;
  entries.reserve(vocab.size());
  for (const auto& member : vocab) {
    const std::string_view text(member.key().data(), member.key().size());
    entries.emplace_back(text, read_id(member.value(), join("token ", in_quotes(text)), vocab.size(), place));
  }
  read_vocabulary(entries, data, place);
}

/// "model.merges": pairs written as "a b" or as ["a", "b"]; both parts and the result must be tokens.
inline void read_merges(const json::array& merges, tokenizer_data& data, const std::string& place) {
  data.model.merges = merge_table(merges.size());
  std::uint32_t rank = 0;
  for (const json::value& item : merges) {
    const std::string what = join("merge ", rank);
    std::string left, right;
    if (const auto* const text = item.if_string()) {
      const std::string_view both(text->data(), text->size());
      const std::size_t space = both.find(' ');
      if (space == std::string_view::npos || both.find(' ', space + 1) != std::string_view::npos) {
        throw error(errc::bad_file, place, join(what, ": expected two tokens and one space, found ", in_quotes(both)));
      }
      left = both.substr(0, space);
      right = both.substr(space + 1);
    } else {
      const auto parts = json::as<std::vector<std::string>>(item, what, place);
      if (parts.size() != 2)
        throw error(errc::bad_file, place, join(what, ": expected two tokens, found ", parts.size()));
      left = parts[0];
      right = parts[1];
    }
    const auto need = [&](const std::string& token) {
      const auto id = data.words.find(token);
      if (!id) throw error(errc::bad_file, place, join(what, ": the vocabulary has no token ", in_quotes(token)));
      return *id;
    };
    const token_id l = need(left), r = need(right);
    data.model.merges.set(l, r, {rank, need(left + right)});
    ++rank;
  }
}

/// A Unigram model: "vocab" is a list of [piece, score], numbered from 0.
inline void read_unigram(const json::object& top, const json::object& entry, tokenizer_data& data,
                         const std::string& place) {
  const json::value* const vocab = json::find(entry, "vocab");
  if (vocab == nullptr || !vocab->is_array())
    throw error(errc::bad_file, place, "a Unigram model needs \"vocab\", a list of [piece, score]");
  const json::array& list = vocab->get_array();
  if (list.empty()) throw error(errc::bad_file, place, "the Unigram vocabulary is empty");
  unigram_model model;
  std::vector<std::pair<std::string_view, token_id>> entries;
  for (const json::value& item : list) {
    const auto* const pair = item.if_array();
    if (pair == nullptr || pair->size() != 2 || !(*pair)[0].is_string())
      throw error(errc::bad_file, place,
                  join("item ", entries.size(), " of the Unigram vocabulary: expected [piece, score]"));
    const auto& text = (*pair)[0].get_string();
    model.scores.push_back(json::as<double>((*pair)[1], "a Unigram score", place));
    entries.emplace_back(std::string_view(text.data(), text.size()), static_cast<token_id>(entries.size()));
  }
  data.added = read_added(top, list.size(), place);
  read_vocabulary(entries, data, place);
  if (const json::value* const id = json::find(entry, "unk_id"); id != nullptr && !id->is_null())
    model.unknown = read_id(*id, "\"unk_id\"", list.size(), place);
  if (model.unknown >= static_cast<token_id>(list.size()))
    throw error(errc::bad_file, place, join("\"unk_id\": there is no piece ", model.unknown));
  model.byte_fallback = json::get_or<bool>(entry, "byte_fallback", false, place);
  // Tokens that text never becomes by itself: the unknown one, control tokens and the tokens of bytes.
  std::vector<std::string_view> plain(data.words.tokens.begin(), data.words.tokens.end());
  plain.resize(list.size());
  bpe_model bytes;
  bytes.find_bytes(data.words);
  model.byte_ids = bytes.byte_ids;
  const auto hide = [&](token_id id) {
    if (id >= 0 && static_cast<std::size_t>(id) < plain.size()) plain[static_cast<std::size_t>(id)] = {};
  };
  hide(model.unknown);
  for (const added_token& token : data.added)
    if (token.special) hide(token.id);
  if (model.byte_fallback) std::for_each(model.byte_ids.begin(), model.byte_ids.end(), hide);
  model.tree = piece_tree(plain);
  double worst = 0, best = -std::numeric_limits<double>::infinity();
  for (std::size_t i = 0; i < plain.size(); ++i) {
    if (plain[i].empty()) continue;
    worst = std::min(worst, model.scores[i]);
    best = std::max(best, model.scores[i]);
  }
  model.unknown_score = worst - 10;
  data.unigram = std::move(model);
}

/// A WordPiece model: "vocab" is an object, and pieces inside a word begin with a prefix.
inline void read_word_piece(const json::object& top, const json::object& entry, tokenizer_data& data,
                            const std::string& place) {
  const json::value* const vocab = json::find(entry, "vocab");
  if (vocab == nullptr) throw error(errc::bad_file, place, "a WordPiece model needs \"vocab\", an object");
  const auto& members = json::as_object(*vocab, "\"vocab\"", place);
  data.added = read_added(top, members.size(), place);
  read_vocabulary(members, data, place);
  word_piece_model model;
  const auto unknown = json::get_or<std::string>(entry, "unk_token", "[UNK]", place);
  const auto id = data.words.find(unknown);
  if (!id) throw error(errc::bad_file, place, join("the vocabulary lacks the unk_token ", in_quotes(unknown)));
  model.unknown = *id;
  model.longest_word = json::get_or<std::size_t>(entry, "max_input_chars_per_word", 100, place);
  const auto prefix = json::get_or<std::string>(entry, "continuing_subword_prefix", "##", place);
  std::vector<std::string_view> first(data.words.tokens.begin(), data.words.tokens.end()), inner(first.size());
  for (std::size_t i = 0; i < first.size(); ++i)
    if (first[i].starts_with(prefix)) inner[i] = first[i].substr(prefix.size());
  model.first = piece_tree(first);
  model.inner = piece_tree(inner);
  data.word_piece = std::move(model);
}

/// "model": BPE, without the options that no byte-level or SentencePiece-style tokenizer uses, Unigram or WordPiece.
inline void read_model(const json::object& top, tokenizer_data& data, const std::string& place) {
  const json::value* const v = json::find(top, "model");
  if (v == nullptr)
    throw error(errc::bad_file, place, "expected the key \"model\", found none; is this a tokenizer.json?");
  const auto& entry = json::as_object(*v, "\"model\"", place);
  const json::value* const vocab = json::find(entry, "vocab");
  const json::value* const merges = json::find(entry, "merges");
  const auto type = json::get_or<std::string>(entry, "type", merges != nullptr ? "BPE" : "unknown", place);
  if (type == "Unigram" || (type == "unknown" && vocab != nullptr && vocab->is_array()))
    return read_unigram(top, entry, data, place);
  if (type == "WordPiece") return read_word_piece(top, entry, data, place);
  if (type != "BPE") {
    throw error(errc::unsupported, place,
                join("the tokenizer model ", type, " is not supported; plumb reads BPE, Unigram and WordPiece"));
  }
  if (vocab == nullptr || merges == nullptr || !merges->is_array()) {
    throw error(errc::bad_file, place, "a BPE model needs \"vocab\" (an object) and \"merges\" (a list)");
  }
  if (json::get_or<double>(entry, "dropout", 0.0, place) != 0.0) {
    throw error(errc::unsupported, place, "BPE dropout is not supported; set \"dropout\" to null");
  }
  for (const std::string_view key : {"continuing_subword_prefix", "end_of_word_suffix"}) {
    if (!json::get_or<std::string>(entry, key, "", place).empty()) {
      throw error(errc::unsupported, place, join("a BPE model with \"", key, "\" is not supported"));
    }
  }
  const auto& members = json::as_object(*vocab, "\"vocab\"", place);
  data.added = read_added(top, members.size(), place);
  read_vocabulary(members, data, place);
  read_merges(merges->get_array(), data, place);
  const auto unknown = json::get_or<std::string>(entry, "unk_token", "", place);
  if (!unknown.empty()) {
    data.model.unknown = data.words.find(unknown);
    if (!data.model.unknown)
      throw error(errc::bad_file, place, join("the vocabulary lacks the unk_token ", in_quotes(unknown)));
  }
  data.model.fuse_unknown = json::get_or<bool>(entry, "fuse_unk", false, place);
  data.model.byte_fallback = json::get_or<bool>(entry, "byte_fallback", false, place);
  data.model.ignore_merges = json::get_or<bool>(entry, "ignore_merges", false, place);
}

/// "post_processor": the tokens that a template puts before and after one text.
inline void read_post_processor(const json::value& v, tokenizer_data& data, const std::string& place) {
  if (v.is_null()) return;
  const auto& entry = json::as_object(v, "\"post_processor\"", place);
  const auto type = json::get<std::string>(entry, "type", place);
  const auto checked = [&](const json::value& v_id) {
    const auto id = json::as<std::int64_t>(v_id, "\"post_processor\"", place);
    const auto& tokens = data.words.tokens;
    if (id >= 0 && static_cast<std::size_t>(id) < tokens.size() && !tokens[static_cast<std::size_t>(id)].empty()) {
      return static_cast<token_id>(id);
    }
    throw error(errc::bad_file, place, join("\"post_processor\": the token number ", id, " is out of range"));
  };
  if (type == "Sequence") {
    for (const json::value& item : json::get<json::array>(entry, "processors", place))
      read_post_processor(item, data, place);
  } else if (type == "BertProcessing" || type == "RobertaProcessing") {
    const auto id_in = [&](std::string_view key) {
      const auto pair = json::get<json::array>(entry, key, place);
      if (pair.size() != 2) throw error(errc::bad_file, place, join("\"", key, "\": expected [token, number]"));
      return checked(pair[1]);
    };
    data.before.insert(data.before.begin(), id_in("cls"));
    data.after.push_back(id_in("sep"));
  } else if (type == "TemplateProcessing") {
    const auto special = json::get<json::object>(entry, "special_tokens", place);
    std::vector<token_id> in_front;
    int texts = 0;
    for (const json::value& item : json::get<json::array>(entry, "single", place)) {
      const auto& part = json::as_object(item, "an item of \"single\"", place);
      if (json::find(part, "Sequence") != nullptr) {
        ++texts;
        continue;
      }
      const auto name = json::get<std::string>(json::get<json::object>(part, "SpecialToken", place), "id", place);
      for (const json::value& id :
           json::get<json::array>(json::get<json::object>(special, name, place), "ids", place)) {
        (texts == 0 ? in_front : data.after).push_back(checked(id));
      }
    }
    if (texts != 1) throw error(errc::unsupported, place, "a post_processor template must hold the text exactly once");
    data.before.insert(data.before.begin(), in_front.begin(), in_front.end());
  } else if (type != "ByteLevel") {  // that one only moves offsets
    throw error(
        errc::unsupported, place,
        join("the post_processor ", type, " is not supported; plumb knows TemplateProcessing, ByteLevel and Sequence"));
  }
}

/// Reads a whole tokenizer.json; `place` names it in errors. `exact` merges, when given, replace those of the text.
inline std::shared_ptr<const tokenizer_data> read_tokenizer(std::string text, const std::string& place,
                                                            std::span<const ranked_merge> exact = {}) {
  const auto data = std::make_shared<tokenizer_data>();
  const json::value parsed = json::parse(text, place);
  const auto& top = json::as_object(parsed, "a tokenizer.json", place);
  const auto part = [&](std::string_view key) {
    const json::value* const v = json::find(top, key);
    return v == nullptr ? json::value() : *v;
  };
  read_model(top, *data, place);
  if (!exact.empty()) {
    data->model.merges = merge_table(exact.size());
    for (const ranked_merge& m : exact) data->model.merges.set(m.left, m.right, {m.rank, m.result});
  }
  read_normalizer(part("normalizer"), place, data->normalizer);
  read_pre_tokenizer(part("pre_tokenizer"), place, data->pre_tokenizer);
  read_decoder(part("decoder"), place, data->decoder);
  read_post_processor(part("post_processor"), *data, place);
  data->model.byte_level =
      !data->pre_tokenizer.empty() && std::holds_alternative<byte_level_step>(data->pre_tokenizer.back());
  data->model.find_bytes(data->words);
  data->normalized_keys.reserve(data->added.size());
  for (const added_token& token : data->added) {
    if (token.normalized) {
      data->normalized_finder.add(data->normalized_keys.emplace_back(normalize(token.content, data->normalizer)),
                                  token);
    } else {
      data->raw_finder.add(token.content, token);
    }
  }
  data->json = std::move(text);
  return data;
}

}  // namespace plumb::inline v0::detail

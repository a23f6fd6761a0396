// SPDX-License-Identifier: BSL-1.0
// SentencePiece models (tokenizer.model): a protobuf of pieces with scores, and how text is normalised. Collected by
// plumb/impl.hpp. Kudo and Richardson, 2018, https://arxiv.org/abs/1808.06226
#pragma once

#include <cstring>
#include <utility>

#include <plumb/core/error.hpp>
#include <plumb/io/utf8.hpp>
#include <plumb/text/base64.hpp>
#include <plumb/text/gguf_vocabulary_impl.hpp>
#include <plumb/text/tokenizer_source.hpp>

namespace plumb::inline v0::detail {

/// Reads the fields of a protobuf message in order; anything that does not fit is `bad_file`.
class protobuf_reader {
 public:
  protobuf_reader(std::string_view bytes, const std::string& place) : bytes_(bytes), place_(place) {}

  struct field {
    std::uint64_t number = 0;
    std::uint64_t varint = 0;  // integers and booleans
    float real = 0;            // 4-byte numbers
    std::string_view bytes;    // texts and inner messages
  };
  bool next(field& out) {
    if (at_ == bytes_.size()) return false;
    const std::uint64_t tag = varint();
    out = {tag >> 3, 0, 0, {}};
    switch (tag & 7) {
      case 0: out.varint = varint(); break;
      case 1: take(8); break;
      case 2: out.bytes = take(varint()); break;
      case 5: std::memcpy(&out.real, take(4).data(), 4); break;
      default: bad();
    }
    if (out.number == 0) bad();
    return true;
  }

 private:
  [[noreturn]] void bad() const {
    throw error(errc::bad_file, place_,
                "expected a SentencePiece model, found damaged or other content; is the download complete?");
  }
  std::string_view take(std::uint64_t size) {
    if (size > bytes_.size() - at_) bad();
    at_ += static_cast<std::size_t>(size);
    return bytes_.substr(at_ - static_cast<std::size_t>(size), static_cast<std::size_t>(size));
  }
  std::uint64_t varint() {
    std::uint64_t out = 0;
    for (int shift = 0; shift < 64; shift += 7) {
      const auto byte = static_cast<unsigned char>(take(1)[0]);
      out |= static_cast<std::uint64_t>(byte & 127u) << shift;
      if (byte < 128) return out;
    }
    bad();
  }

  std::string_view bytes_;
  const std::string& place_;
  std::size_t at_ = 0;
};

/// What a SentencePiece model says.
struct sentencepiece_model {
  std::vector<std::string> pieces;
  std::vector<float> scores;
  std::vector<gguf_token> types;  // GGUF took its numbers from here
  std::uint64_t kind = 1;         // 1 unigram, 2 BPE, 3 words, 4 characters
  bool byte_fallback = false, suffix_spaces = false;
  std::string table;  // compiled rewriting rules
  bool prefix_space = true, remove_spaces = true, escape_spaces = true;
};

inline sentencepiece_model read_sentencepiece_model(std::string_view bytes, const std::string& place) {
  sentencepiece_model out;
  protobuf_reader top(bytes, place);
  for (protobuf_reader::field f; top.next(f);) {
    protobuf_reader inner(f.bytes, place);
    protobuf_reader::field g;
    if (f.number == 1) {
      std::string_view piece;
      float score = 0;
      std::uint64_t type = 1;
      while (inner.next(g)) {
        if (g.number == 1) piece = g.bytes;
        if (g.number == 2) score = g.real;
        if (g.number == 3) type = g.varint;
      }
      if (piece.empty() || first_invalid_utf8(piece) != piece.size() || type < 1 || type > 6)
        throw error(errc::bad_file, place,
                    join("piece ", out.pieces.size(),
                         " is empty, not UTF-8 or of an unknown type; is this a "
                         "SentencePiece model?"));
      out.pieces.emplace_back(piece);
      out.scores.push_back(score);
      out.types.push_back(static_cast<gguf_token>(type));
    } else if (f.number == 2) {
      while (inner.next(g)) {
        if (g.number == 3) out.kind = g.varint;
        if (g.number == 24) out.suffix_spaces = g.varint != 0;
        if (g.number == 35) out.byte_fallback = g.varint != 0;
      }
    } else if (f.number == 3) {
      while (inner.next(g)) {
        if (g.number == 2) out.table = g.bytes;
        if (g.number == 3) out.prefix_space = g.varint != 0;
        if (g.number == 4) out.remove_spaces = g.varint != 0;
        if (g.number == 5) out.escape_spaces = g.varint != 0;
      }
    }
  }
  if (out.pieces.empty()) throw error(errc::bad_file, place, "the SentencePiece model has no pieces");
  if (out.kind != 1 && out.kind != 2)
    throw error(errc::unsupported, place, "plumb reads SentencePiece models of type unigram and BPE, not word or char");
  if (out.suffix_spaces || !out.escape_spaces)
    throw error(errc::unsupported, place, "SentencePiece models with spaces behind words or unescaped are not read");
  return out;
}

tokenizer_source read_sentencepiece(std::string_view bytes, const std::string& place) {
  const auto model = read_sentencepiece_model(bytes, place);
  const auto& pieces = model.pieces;
  tokenizer_source out;
  json::array added;
  std::optional<token_id> unknown;
  std::vector<std::string> plain = pieces;  // what text may become
  for (std::size_t i = 0; i < pieces.size(); ++i) {
    const auto type = model.types[i];
    const auto id = static_cast<token_id>(i);
    if (type == gguf_token::unknown && !unknown) unknown = id;
    if (type == gguf_token::control && pieces[i] == "<s>") out.bos = id;
    if (type == gguf_token::control && pieces[i] == "</s>") out.eos = id;
    if (type == gguf_token::control && pieces[i] == "<pad>") out.pad = id;
    if (type == gguf_token::control || type == gguf_token::unknown || type == gguf_token::user_defined)
      added.push_back(added_token_json(pieces[i], id, type != gguf_token::user_defined));
    if (type != gguf_token::normal && type != gguf_token::user_defined) plain[i].clear();
  }
  json::object about{{"type", model.kind == 2 ? "BPE" : "Unigram"}, {"byte_fallback", model.byte_fallback}};
  if (model.kind == 2) {
    out.merges = implied_merges(plain, order_of_scores(model.scores));
    about["dropout"] = nullptr;
    about["fuse_unk"] = true;
    about["ignore_merges"] = false;
    about["unk_token"] = unknown ? json::value(json_text(pieces[static_cast<std::size_t>(*unknown)])) : nullptr;
    about["vocab"] = vocabulary_json(pieces);
    about["merges"] = merges_json(pieces, out.merges);
  } else {
    json::array vocab;
    for (std::size_t i = 0; i < pieces.size(); ++i)
      vocab.push_back(json::array{json_text(pieces[i]), static_cast<double>(model.scores[i])});
    about["unk_id"] = unknown ? json::value(*unknown) : nullptr;
    about["vocab"] = std::move(vocab);
  }
  const auto by_pattern = [](std::string_view pattern, std::string_view to) {
    return json::object{
        {"type", "Replace"}, {"pattern", json::object{{"Regex", json_text(pattern)}}}, {"content", json_text(to)}};
  };
  json::array rewrite;
  if (!model.table.empty())
    rewrite.push_back(
        json::object{{"type", "Precompiled"}, {"precompiled_charsmap", json_text(to_base64(model.table))}});
  json::value cut = nullptr;
  if (model.remove_spaces) {
    rewrite.push_back(by_pattern(" {2,}", " "));
    rewrite.push_back(by_pattern("^ +", ""));
    // Spaces at the end go, also those that the text itself writes as "▁"; one at the begin is the text's own.
    rewrite.push_back(replace_json(" ", "\u2581"));
    rewrite.push_back(by_pattern("\u2581+$", ""));
    if (model.prefix_space) rewrite.push_back(by_pattern("^\u2581", "\u2581\u2581"));
    cut = json::object{{"type", "Metaspace"},
                       {"replacement", "\u2581"},
                       {"prepend_scheme", model.prefix_space ? "first" : "never"},
                       {"split", false}};
  } else {
    if (model.prefix_space) rewrite.push_back(json::object{{"type", "Prepend"}, {"prepend", "\u2581"}});
    rewrite.push_back(replace_json(" ", "\u2581"));
  }
  json::array back{replace_json("\u2581", " "), json::object{{"type", "ByteFallback"}}, json::object{{"type", "Fuse"}}};
  if (model.prefix_space) back.push_back(json::object{{"type", "Strip"}, {"content", " "}, {"start", 1}, {"stop", 0}});
  out.document = {{"version", "1.0"},
                  {"truncation", nullptr},
                  {"padding", nullptr},
                  {"added_tokens", std::move(added)},
                  {"normalizer", json::object{{"type", "Sequence"}, {"normalizers", std::move(rewrite)}}},
                  {"pre_tokenizer", std::move(cut)},
                  {"post_processor", nullptr},
                  {"decoder", json::object{{"type", "Sequence"}, {"decoders", std::move(back)}}},
                  {"model", std::move(about)}};
  return out;
}

}  // namespace plumb::inline v0::detail

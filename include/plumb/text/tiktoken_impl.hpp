// SPDX-License-Identifier: BSL-1.0
// tiktoken files: byte-level BPE written as lines of a token in base64 and its rank. Collected by plumb/impl.hpp.
#pragma once

#include <charconv>
#include <limits>
#include <utility>

#include <plumb/core/error.hpp>
#include <plumb/text/base64.hpp>
#include <plumb/text/byte_alphabet.hpp>
#include <plumb/text/gguf_vocabulary_impl.hpp>
#include <plumb/text/tokenizer_source.hpp>

namespace plumb::inline v0::detail {

/// A line of a tiktoken file, or nothing when it is none.
inline std::optional<std::pair<std::string, std::uint32_t>> tiktoken_line(std::string_view line) {
  if (line.ends_with('\r')) line.remove_suffix(1);
  const std::size_t space = line.find(' ');
  if (space == 0 || space == std::string_view::npos) return std::nullopt;
  auto token = from_base64(line.substr(0, space));
  std::uint32_t rank = 0;
  const char* const end = line.data() + line.size();
  const auto [stop, failed] = std::from_chars(line.data() + space + 1, end, rank);
  if (!token || token->empty() || failed != std::errc() || stop != end) return std::nullopt;
  return std::pair(std::move(*token), rank);
}

/// What the file does not say, and its number of ranks tells: how words are cut, and which special tokens follow.
struct tiktoken_kind {
  std::size_t ranks;
  std::string_view pattern;
  bool nfc = false;
  std::vector<std::pair<token_id, std::string>> special;
};

inline tiktoken_kind kind_of_tiktoken(std::size_t ranks) {
  tiktoken_kind out{ranks, llama3_words, false, {}};  // GPT-4's way, which Llama 3 took over
  switch (ranks) {
    case 50256:  // GPT-2
      out.pattern = gpt2_words;
      out.special = {{50256, "<|endoftext|>"}};
      break;
    case 100256:  // GPT-4
      out.special = {{100257, "<|endoftext|>"},
                     {100258, "<|fim_prefix|>"},
                     {100259, "<|fim_middle|>"},
                     {100260, "<|fim_suffix|>"},
                     {100276, "<|endofprompt|>"}};
      break;
    case 128000: {  // Llama 3
      constexpr const char* names[] = {"begin_of_text",
                                       "end_of_text",
                                       "reserved_special_token_0",
                                       "reserved_special_token_1",
                                       "finetune_right_pad_id",
                                       "step_id",
                                       "start_header_id",
                                       "end_header_id",
                                       "eom_id",
                                       "eot_id",
                                       "python_tag"};
      for (token_id i = 0; i < 256; ++i)
        out.special.emplace_back(128000 + i,
                                 i < 11 ? join("<|", names[i], "|>") : join("<|reserved_special_token_", i - 9, "|>"));
      break;
    }
    case 151643:  // Qwen
      out.pattern = qwen2_words;
      out.nfc = true;
      out.special = {{151643, "<|endoftext|>"}, {151644, "<|im_start|>"}, {151645, "<|im_end|>"}};
      break;
    case 199998:  // GPT-4o
      out.pattern = gpt4o_words;
      out.special = {{199999, "<|endoftext|>"}, {200018, "<|endofprompt|>"}};
      break;
    default: break;
  }
  return out;
}

bool is_tiktoken(std::string_view text) {
  const std::string_view line = text.substr(0, std::min(text.find('\n'), text.size()));
  return line.size() < 1000 && tiktoken_line(line).has_value();
}

tokenizer_source read_tiktoken(std::string_view text, const std::string& place) {
  std::vector<std::string> pieces;
  std::size_t ranks = 0;
  const std::size_t most = text.size() / 4 + 1'000'000;  // a rank beyond would make a vocabulary of holes
  for (std::size_t number = 1; !text.empty(); ++number) {
    const std::size_t end = std::min(text.find('\n'), text.size());
    const std::string_view line = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    if (line.empty() || line == "\r") continue;
    const auto found = tiktoken_line(line);
    if (!found || found->second >= most)
      throw error(errc::bad_file, join(place, ":", number),
                  "expected a token in base64, a space and its rank, as in tiktoken files");
    if (found->second >= pieces.size()) pieces.resize(found->second + std::size_t{1});
    std::string& piece = pieces[found->second];
    if (!piece.empty())
      throw error(errc::bad_file, join(place, ":", number), join("two tokens have rank ", found->second));
    piece = to_byte_alphabet(found->first);
    ++ranks;
  }
  const auto kind = kind_of_tiktoken(ranks);
  std::vector<std::uint32_t> order(pieces.size());
  for (std::size_t i = 0; i < order.size(); ++i) order[i] = static_cast<std::uint32_t>(i);

  json::object vocabulary = vocabulary_json(pieces);
  if (vocabulary.size() != ranks) throw error(errc::bad_file, place, "a token has two ranks");
  tokenizer_source out;
  out.merges = implied_merges(pieces, order);
  json::object bpe{{"type", "BPE"},
                   {"dropout", nullptr},
                   {"unk_token", nullptr},
                   {"fuse_unk", false},
                   {"byte_fallback", false},
                   {"ignore_merges", true},
                   {"vocab", std::move(vocabulary)},
                   {"merges", merges_json(pieces, out.merges)}};
  json::array added;
  for (const auto& [id, name] : kind.special) {
    added.push_back(added_token_json(name, id, true));
    if (static_cast<std::size_t>(id) >= pieces.size()) pieces.resize(static_cast<std::size_t>(id) + 1);
    pieces[static_cast<std::size_t>(id)] = name;
    if (name == "<|endoftext|>" || name == "<|end_of_text|>") out.eos = id;
    if (name == "<|begin_of_text|>") out.bos = id;
  }
  out.document = {{"version", "1.0"},
                  {"truncation", nullptr},
                  {"padding", nullptr},
                  {"added_tokens", std::move(added)},
                  {"normalizer", kind.nfc ? json::value(json::object{{"type", "NFC"}}) : json::value(nullptr)},
                  {"pre_tokenizer", byte_level_json(kind.pattern)},
                  {"post_processor", template_json(pieces, out.bos, std::nullopt)},
                  {"decoder", json::object{{"type", "ByteLevel"}}},
                  {"model", std::move(bpe)}};
  return out;
}

}  // namespace plumb::inline v0::detail

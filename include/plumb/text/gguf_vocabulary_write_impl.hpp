// SPDX-License-Identifier: BSL-1.0
// The body of text/gguf_vocabulary_write.hpp. Collected by plumb/impl.hpp.
#pragma once

#include <algorithm>
#include <set>
#include <utility>

#include <plumb/core/error.hpp>
#include <plumb/text/gguf_vocabulary_impl.hpp>
#include <plumb/text/gguf_vocabulary_write.hpp>
#include <plumb/text/pre_tokenizer.hpp>
#include <plumb/text/tokenizer_source.hpp>

namespace plumb::inline v0 {

namespace detail {

/// The name by which llama.cpp knows this way of cutting words.
inline std::string gguf_words_name(const std::vector<pre_tokenizer_step>& steps, bool ignore_merges,
                                   const std::string& place) {
  bool digits = false, prefix = false;
  std::optional<word_pattern> pattern;
  for (const auto& step : steps) {
    if (const auto* const cut = std::get_if<digits_step>(&step)) digits = cut->individual && !pattern;
    if (const auto* const cut = std::get_if<pattern_step>(&step)) pattern = cut->pattern;
    if (const auto* const bytes = std::get_if<byte_level_step>(&step)) {
      prefix = bytes->add_prefix_space;
      if (bytes->use_regex) pattern = word_pattern{};
    }
  }
  if (pattern && !prefix)
    for (const auto& row : gguf_pre_tokenizers)
      if (recognise_pattern(row.pattern) == pattern && row.single_digits == digits &&
          row.ignore_merges == ignore_merges && row.name != "default")
        return std::string(row.name);
  throw error(errc::unsupported, place, "llama.cpp has no name for the way in which this tokenizer cuts words");
}

/// Scores that make SentencePiece merge in the order of a tokenizer's merges, or nothing when no scores do.
inline std::optional<std::vector<float>> scores_of_merges(const json::array& merges, const tokenizer& words) {
  std::vector<float> out(static_cast<std::size_t>(words.size()), 0.0f);
  std::vector<bool> seen(out.size(), false);
  token_id last = -1;
  float rank = 0;
  std::size_t known = 0;
  std::vector<std::string> pieces(out.size());
  for (const json::value& item : merges) {
    std::string left, right;
    if (const auto* const text = item.if_string()) {
      const std::size_t space = text->find(' ');
      left = std::string(text->data(), std::min(space, text->size()));
      right = space < text->size() ? std::string(text->data() + space + 1, text->size() - space - 1) : std::string();
    } else {
      const auto& pair = item.as_array();
      left = std::string(pair[0].as_string().data(), pair[0].as_string().size());
      right = std::string(pair[1].as_string().data(), pair[1].as_string().size());
    }
    const auto id = words.id_of(left + right);
    if (!id) return std::nullopt;
    const auto at = static_cast<std::size_t>(*id);
    ++known;
    if (*id == last) continue;
    if (seen[at]) return std::nullopt;  // its merges lie apart: one score cannot say two places
    seen[at] = true;
    out[at] = -(++rank);
    last = *id;
  }
  // SentencePiece joins whatever gives a piece; each way to do so must be a merge.
  for (std::size_t i = 0; i < out.size(); ++i) {
    const auto id = static_cast<token_id>(i);
    const std::string_view text = words.token(id);
    if (!words.is_special(id) && !(text.size() == 6 && text.starts_with("<0x"))) pieces[i] = text;
  }
  std::vector<std::uint32_t> order(out.size(), 0);
  if (implied_merges(pieces, order).size() != known) return std::nullopt;
  return out;
}

}  // namespace detail

void write_gguf_vocabulary(const tokenizer& words, index_t vocabulary, gguf_metadata& out, const std::string& place) {
  using detail::gguf_token;
  const json::value parsed = json::parse(words.json(), place);
  const auto& top = json::as_object(parsed, "the tokenizer", place);
  const auto model = json::get<json::object>(top, "model", place);
  const auto unsupported = [&](std::string_view why) {
    throw error(errc::unsupported, place,
                join(why, "; llama.cpp's files hold byte-level BPE and SentencePiece-style BPE from plumb"));
  };
  if (json::get_or<std::string>(model, "type", "BPE", place) != "BPE") unsupported("the tokenizer is not BPE");
  const auto merges = json::get<json::array>(model, "merges", place);
  std::vector<detail::pre_tokenizer_step> steps;
  if (const json::value* const v = json::find(top, "pre_tokenizer")) detail::read_pre_tokenizer(*v, place, steps);
  const bool bytes = !steps.empty() && std::holds_alternative<detail::byte_level_step>(steps.back());

  const auto size = static_cast<std::size_t>(words.size());
  std::vector<std::string> tokens;
  std::vector<std::int32_t> types;
  std::set<std::string, std::less<>> added;
  if (const json::value* const list = json::find(top, "added_tokens"); list != nullptr && list->is_array())
    for (const json::value& item : list->get_array())
      added.insert(json::get<std::string>(json::as_object(item, "an added token", place), "content", place));
  const auto unknown = json::get_or<std::string>(model, "unk_token", "", place);
  for (std::size_t i = 0; i < std::max(size, static_cast<std::size_t>(std::max<index_t>(0, vocabulary))); ++i) {
    const std::string text(i < size ? words.token(static_cast<token_id>(i)) : std::string_view());
    const bool byte = !bytes && text.size() == 6 && text.starts_with("<0x") && text.ends_with('>');
    const auto type = text.empty()                                 ? gguf_token::unused
                      : !unknown.empty() && text == unknown        ? gguf_token::unknown
                      : words.is_special(static_cast<token_id>(i)) ? gguf_token::control
                      : added.contains(text)                       ? gguf_token::user_defined
                      : byte                                       ? gguf_token::byte
                                                                   : gguf_token::normal;
    tokens.push_back(text.empty() ? join("[PAD", i, "]") : text);
    types.push_back(static_cast<std::int32_t>(type));
  }
  if (bytes) {
    const bool whole = json::get_or<bool>(model, "ignore_merges", false, place);
    if (const json::value* const n = json::find(top, "normalizer");
        n != nullptr && !n->is_null() &&
        json::get_or<std::string>(json::as_object(*n, "\"normalizer\"", place), "type", "", place) != "NFC")
      unsupported("the tokenizer normalises text");
    out.text("tokenizer.ggml.model", "gpt2");
    out.text("tokenizer.ggml.pre", detail::gguf_words_name(steps, whole, place));
    std::vector<std::string> lines;
    for (const json::value& item : merges) {
      if (const auto* const text = item.if_string()) {
        lines.emplace_back(text->data(), text->size());
        continue;
      }
      const auto pair = json::as<std::vector<std::string>>(item, "a merge", place);
      lines.push_back(join(pair.at(0), " ", pair.at(1)));
    }
    out.texts("tokenizer.ggml.tokens", tokens);
    out.i32s("tokenizer.ggml.token_type", types);
    out.texts("tokenizer.ggml.merges", lines);
  } else {
    // "▁" in front or not, and spaces as "▁": what "llama" in llama.cpp does; anything else is another tokenizer.
    const auto whole = words.encode("a b", false), plain = words.encode(" a b", false);
    std::string first(whole.empty() ? std::string_view() : words.token(whole.front()));
    auto scores = detail::scores_of_merges(merges, words);
    if (!scores) unsupported("no scores say the order of the tokenizer's merges");
    if (json::get_or<bool>(model, "ignore_merges", false, place)) unsupported("the tokenizer keeps whole words");
    const bool prefix = first.starts_with("\u2581");
    if (words.decode(whole) != "a b" || plain == whole) unsupported("the tokenizer treats spaces in its own way");
    scores->resize(tokens.size(), 0.0f);
    out.text("tokenizer.ggml.model", "llama");
    out.text("tokenizer.ggml.pre", "default");
    out.texts("tokenizer.ggml.tokens", tokens);
    out.f32s("tokenizer.ggml.scores", *scores);
    out.i32s("tokenizer.ggml.token_type", types);
    out.boolean("tokenizer.ggml.add_space_prefix", prefix);
    if (const auto id = unknown.empty() ? std::nullopt : words.id_of(unknown))
      out.u32("tokenizer.ggml.unknown_token_id", *id);
  }
  const auto prefix = words.prefix(), suffix = words.suffix();
  if (prefix.size() > 1 || suffix.size() > 1) unsupported("the tokenizer puts several tokens around a text");
  const auto bos = words.bos() ? words.bos() : prefix.empty() ? std::nullopt : std::optional(prefix[0]);
  const auto eos = words.eos() ? words.eos() : suffix.empty() ? std::nullopt : std::optional(suffix[0]);
  if (bos) out.u32("tokenizer.ggml.bos_token_id", *bos);
  if (eos) out.u32("tokenizer.ggml.eos_token_id", *eos);
  if (words.pad()) out.u32("tokenizer.ggml.padding_token_id", *words.pad());
  out.boolean("tokenizer.ggml.add_bos_token", !prefix.empty() && bos == prefix[0]);
  out.boolean("tokenizer.ggml.add_eos_token", !suffix.empty() && eos == suffix[0]);
  if (!words.config().empty()) {
    const json::value config = json::parse(words.config(), place);
    if (const json::value* const t = config.is_object() ? json::find(config.get_object(), "chat_template") : nullptr;
        t != nullptr && t->is_string())
      out.text("tokenizer.chat_template", std::string_view(t->get_string().data(), t->get_string().size()));
  }
}

}  // namespace plumb::inline v0

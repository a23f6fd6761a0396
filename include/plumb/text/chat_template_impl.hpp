// SPDX-License-Identifier: BSL-1.0
// Bodies of chat_template. Compiled once per program: see plumb/impl.hpp.
#pragma once

#include <algorithm>
#include <cstddef>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#include <plumb/io/file.hpp>
#include <plumb/io/json.hpp>
#include <plumb/text/chat_template.hpp>
#include <plumb/text/tokenizer.hpp>

namespace plumb::inline v0 {

/// What copies share.
struct chat_template::part {
  std::vector<std::pair<std::string, text_template>> templates;  ///< by name; one without a name
  const chat_format* format = nullptr;                           ///< instead of templates
  json::object special;                                          ///< special tokens of the model, as variables
  std::string end;                                               ///< the end-of-text token among them, or empty

  void read_special(const std::filesystem::path& folder);
};

namespace detail {

/// The special tokens that a tokenizer_config.json (or special_tokens_map.json) names.
inline void read_special_tokens(const json::object& config, json::object& out) {
  for (const std::string_view key :
       {"bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token"}) {
    const json::value* v = json::find(config, key);
    if (v != nullptr && v->is_object()) v = json::find(v->get_object(), "content");
    if (v != nullptr && v->is_string()) out[boost::json::string_view(key.data(), key.size())] = *v;
  }
  if (const json::value* const more = json::find(config, "additional_special_tokens");
      more != nullptr && more->is_array()) {
    json::array names;
    for (const json::value& each : more->get_array()) {
      const json::value* const v = each.is_object() ? json::find(each.get_object(), "content") : &each;
      if (v != nullptr && v->is_string()) names.push_back(*v);
    }
    out["additional_special_tokens"] = std::move(names);
  }
}
inline json::object special_tokens_of(const std::filesystem::path& folder) {
  json::object out;
  for (const char* const name : {"special_tokens_map.json", "tokenizer_config.json"}) {
    std::error_code failed;
    const auto file = folder / name;
    if (!std::filesystem::exists(file, failed)) continue;
    const json::value parsed = json::parse_file(file);
    read_special_tokens(json::as_object(parsed, name, file.string()), out);
  }
  return out;
}

/// Thoughts go by three names; templates read two of them, and get both, as in transformers.
inline void alias_reasoning(json::object& message) {
  for (const char* const name : {"reasoning_content", "thinking", "reasoning"}) {
    const json::value* const found = message.if_contains(name);
    if (found == nullptr || found->is_null()) continue;
    const json::value thought = *found;
    json::object all{{"thinking", thought}};
    for (const auto& member : message) all[member.key()] = member.value();
    all["reasoning_content"] = thought;
    message = std::move(all);
    return;
  }
}

/// `at`, or the place before a tag such as <|user|> or [INST] that begins before `at` and ends behind it.
inline std::size_t before_open_tag(std::string_view text, std::size_t at) {
  const std::string_view head = text.substr(0, at);
  for (const auto& [open, close] : {std::pair('<', '>'), std::pair('[', ']')}) {
    const auto opened = head.rfind(open);
    if (opened != std::string_view::npos && head.find(close, opened) == std::string_view::npos) return opened;
  }
  return at;
}

/// The length of what two texts begin with alike, not inside a character.
inline std::size_t common_bytes(std::string_view a, std::string_view b) {
  auto n = static_cast<std::size_t>(
      std::mismatch(a.begin(), a.begin() + static_cast<std::ptrdiff_t>(std::min(a.size(), b.size())), b.begin()).first -
      a.begin());
  while (n > 0 && n < a.size() && (static_cast<unsigned char>(a[n]) & 0xC0u) == 0x80u) --n;
  return n;
}

}  // namespace detail

void chat_template::part::read_special(const std::filesystem::path& folder) {
  special = detail::special_tokens_of(folder);
  if (const json::value* const v = json::find(special, "eos_token")) end = json::as<std::string>(*v, "eos_token", "");
}

chat_template chat_template::from_text(std::string_view jinja, std::string_view place) {
  auto p = std::make_shared<part>();
  p->templates.emplace_back("", text_template(jinja, place));
  return chat_template(std::move(p));
}

chat_template chat_template::named(std::string_view format) {
  auto p = std::make_shared<part>();
  p->format = &find_chat_format(format);
  return chat_template(std::move(p));
}

std::optional<chat_template> chat_template::find(const std::filesystem::path& folder) {
  auto p = std::make_shared<part>();
  std::error_code failed;
  const auto own = folder / "chat_template.jinja";
  const auto config = folder / "tokenizer_config.json";
  if (std::filesystem::exists(own, failed)) {
    p->templates.emplace_back("default", text_template(read_file(own), own.string()));
    for (const char* const more : {"additional_chat_templates"}) {
      if (!std::filesystem::is_directory(folder / more, failed)) continue;
      for (const auto& entry : std::filesystem::directory_iterator(folder / more, failed))
        if (entry.path().extension() == ".jinja")
          p->templates.emplace_back(entry.path().stem().string(),
                                    text_template(read_file(entry.path()), entry.path().string()));
    }
  } else if (std::filesystem::exists(config, failed)) {
    const json::value parsed = json::parse_file(config);
    const auto& top = json::as_object(parsed, "a tokenizer_config.json", config.string());
    const json::value* const found = json::find(top, "chat_template");
    if (found == nullptr || found->is_null()) return std::nullopt;
    const std::string place = join(config.string(), ": chat_template");
    if (const auto* const list = found->if_array()) {
      for (const json::value& each : *list) {
        const auto& one = json::as_object(each, "an entry of chat_template", config.string());
        auto name = json::get<std::string>(one, "name", config.string());
        p->templates.emplace_back(
            name, text_template(json::get<std::string>(one, "template", config.string()), join(place, " ", name)));
      }
      if (p->templates.empty()) return std::nullopt;
    } else {
      p->templates.emplace_back(
          "default", text_template(json::as<std::string>(*found, "\"chat_template\"", config.string()), place));
    }
  } else {
    return std::nullopt;
  }
  p->read_special(folder);
  return chat_template(std::move(p));
}

chat_template chat_template::load(const std::filesystem::path& folder) {
  auto found = find(folder);
  if (!found)
    throw error(
        errc::not_found, folder.string(),
        "the model has no chat template (chat_template.jinja, or \"chat_template\" in tokenizer_config.json); name "
        "the format it should learn: template=chatml, or zephyr, llama2, vicuna, alpaca, or a .jinja file");
  return *std::move(found);
}

chat_template chat_template::with_special_tokens_of(const std::filesystem::path& folder) const {
  auto p = std::make_shared<part>(*part_);
  p->read_special(folder);
  return chat_template(std::move(p));
}

bool chat_template::marks_assistant() const noexcept {
  return part_->format != nullptr || std::any_of(part_->templates.begin(), part_->templates.end(),
                                                 [](const auto& named) { return named.second.has_generation(); });
}

json::object chat_template::all_variables(const json::array& messages, const json::object& given) const {
  json::object all = part_->special;
  for (const auto& member : given) all[member.key()] = member.value();
  if (!all.contains("add_generation_prompt")) all["add_generation_prompt"] = false;
  json::array known = messages;
  for (json::value& m : known) detail::alias_reasoning(m.as_object());
  all["messages"] = std::move(known);
  return all;
}

const text_template& chat_template::choose(const json::object& variables) const {
  const json::value* const tools = json::find(variables, "tools");
  const bool has_tools = tools != nullptr && !tools->is_null();
  const text_template* fallback = nullptr;
  std::string names;
  for (const auto& [name, one] : part_->templates) {
    if (name == "tool_use" && has_tools) return one;
    if (name == "default" || part_->templates.size() == 1) fallback = &one;
    names += join(names.empty() ? "" : ", ", name);
  }
  if (fallback == nullptr)
    throw error(errc::bad_model, "chat_template",
                join("expected a template called default among several, found ", names));
  return *fallback;
}

rendered_chat chat_template::written(const json::array& messages, const json::object& given,
                                     const template_options& options) const {
  for (std::size_t i = 0; i < messages.size(); ++i)
    if (!messages[i].is_object())
      throw error(errc::bad_data, join("messages[", i, "]"),
                  join("expected an object with \"role\" and \"content\", found ", json::describe(messages[i])));
  if (part_->format == nullptr) {
    const json::object variables = all_variables(messages, given);
    return choose(variables).render(variables, options);
  }
  for (const std::string_view key : {"tools", "documents"})
    if (const json::value* const v = json::find(given, key); v != nullptr && !v->is_null())
      throw error(
          errc::bad_data, std::string(key),
          join("the format ", part_->format->name, " has no place for ", key, "; a chat template may have one"));
  std::vector<chat_message> plain;
  for (std::size_t i = 0; i < messages.size(); ++i) {
    const std::string place = join("messages[", i, "]");
    const auto& m = messages[i].get_object();
    plain.push_back({json::get<std::string>(m, "role", place), json::get<std::string>(m, "content", place)});
  }
  return render_chat(*part_->format, plain, json::get_or<bool>(given, "add_generation_prompt", false, "messages"));
}

std::string chat_template::text(const json::array& messages, const json::object& variables,
                                const template_options& options) const {
  return written(messages, variables, options).text;
}

std::string chat_template::text_to_end_of_turn(const json::array& messages, const json::object& variables,
                                               const template_options& options) const {
  rendered_chat whole = written(messages, variables, options);
  if (part_->format != nullptr && !whole.assistant.empty()) whole.text.resize(whole.assistant.back().end);
  return std::move(whole.text);
}

rendered_chat chat_template::render(const json::array& messages) const { return render(messages, {}); }

rendered_chat chat_template::render(const json::array& messages, const json::object& variables,
                                    const template_options& options) const {
  rendered_chat out = written(messages, variables, options);
  if (part_->format != nullptr || !out.assistant.empty()) return out;
  const auto is_assistant = [&](std::size_t i) {
    const json::value* const role = json::find(messages[i].get_object(), "role");
    return role != nullptr && role->is_string() && role->get_string() == "assistant";
  };
  const auto beginning = [&](std::size_t count, bool prompt) -> std::optional<std::string> {
    json::object given = variables;
    given["add_generation_prompt"] = prompt;
    try {
      return written(json::array(messages.begin(), messages.begin() + count), given, options).text;
    } catch (const error&) {
      return std::nullopt;  // a template may refuse a conversation that stops here
    }
  };
  for (std::size_t i = 0; i < messages.size(); ++i) {
    if (!is_assistant(i)) continue;
    const auto open = i > 0 ? beginning(i, true) : std::nullopt;
    const auto closed = beginning(i + 1, false);
    const bool open_fits = open && out.text.starts_with(*open);
    if (open_fits && closed && out.text.starts_with(*closed) && open->size() < closed->size()) {
      out.assistant.push_back({open->size(), closed->size()});
      continue;
    }
    // The template writes earlier turns differently. What changes when the reply does is the reply; what follows it
    // alike in the whole and in the conversation that stops here is the end of its turn.
    json::array other = messages;
    other[i].as_object()["content"] = "\xE2\x81\xA3\xE2\x81\xA3";  // invisible separators, which no reply begins with
    std::string changed;
    try {
      changed = written(other, variables, options).text;
    } catch (const error&) {
      continue;
    }
    std::size_t begin = detail::common_bytes(out.text, changed);
    std::size_t same = 0;
    while (same < std::min(out.text.size(), changed.size()) - begin &&
           out.text[out.text.size() - 1 - same] == changed[changed.size() - 1 - same])
      ++same;
    std::size_t end = out.text.size() - same;
    if (begin >= end) continue;
    if (open_fits) begin = std::min(begin, open->size());
    const std::size_t shared = closed ? detail::before_open_tag(out.text, detail::common_bytes(out.text, *closed)) : 0;
    if (std::string_view(out.text).substr(end).starts_with(part_->end)) end += part_->end.size();
    end = std::max(end, shared);
    out.assistant.push_back({begin, end});
  }
  return out;
}

std::vector<token_id> chat_template::encode(std::string_view text, const tokenizer& words) const {
  std::vector<token_id> ids = words.encode(text, false);
  if (part_->format != nullptr) {  // at the beginning only: a named format ends its own turns
    const auto begin = words.prefix();
    if (ids.size() < begin.size() || !std::equal(begin.begin(), begin.end(), ids.begin()))
      ids.insert(ids.begin(), begin.begin(), begin.end());
  }
  return ids;
}

chat_tokens chat_template::tokens(const rendered_chat& chat, const tokenizer& words) const {
  chat_tokens out;
  out.ids = encode(chat.text, words);
  out.assistant.assign(out.ids.size(), false);
  const std::string_view text = chat.text;
  const std::size_t count = out.ids.size();
  for (const chat_span& span : chat.assistant) {
    if (span.begin >= span.end || span.end > text.size()) continue;
    // A token that lies partly in the span counts: the first is found from the left, the last from the right.
    const auto left = encode(text.substr(0, span.begin), words);
    const auto right = words.encode(text.substr(span.end), false);
    const auto first = static_cast<std::size_t>(
        std::mismatch(left.begin(), left.begin() + static_cast<std::ptrdiff_t>(std::min(left.size(), count)),
                      out.ids.begin())
            .first -
        left.begin());
    std::size_t behind = 0;
    while (behind < right.size() && behind < count && right[right.size() - 1 - behind] == out.ids[count - 1 - behind])
      ++behind;
    for (std::size_t i = first; i < count - behind; ++i) out.assistant[i] = true;
  }
  return out;
}

std::optional<std::string> warn_of_endless_replies(const chat_tokens& chat, const tokenizer& words) {
  const auto ends = [&](token_id id) { return words.is_special(id) || id == words.eos(); };
  bool any = false;
  for (std::size_t i = 0; i < chat.ids.size(); ++i) {
    if (!chat.assistant[i] || (i + 1 < chat.ids.size() && chat.assistant[i + 1])) continue;
    any = true;  // token i is the last of a reply; a line end may follow the end of a turn
    for (std::size_t back = 0; back < 3 && back <= i && chat.assistant[i - back]; ++back)
      if (ends(chat.ids[i - back])) return std::nullopt;
  }
  if (!any) return "no token of the conversation is the assistant's, so nothing is learnt from it";
  return "no reply ends with a token that ends a turn, so the model does not learn to stop; put the end of the turn "
         "inside "
         "{% generation %}, or choose a format whose end this tokenizer knows as one token";
}

}  // namespace plumb::inline v0

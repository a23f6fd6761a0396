// SPDX-License-Identifier: BSL-1.0
// How a model wants conversations written: its chat template, or a named format for a model without one.
// Bodies: chat_template_impl.hpp.
#pragma once

#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <plumb/core/types.hpp>
#include <plumb/io/json_fwd.hpp>
#include <plumb/text/chat_format.hpp>
#include <plumb/text/template.hpp>

namespace plumb::inline v0 {

class tokenizer;

/// A conversation as tokens.
struct chat_tokens {
  std::vector<token_id> ids{};
  std::vector<bool> assistant{};  ///< [ids] does the assistant say this token, its end of turn included?
};

/// Turns conversations, lists of {"role", "content"} and whatever else the template reads, into text and tokens.
///
///     const auto chat = plumb::chat_template::load("model");   // or chat_template::named("chatml")
///     const std::string prompt = chat.render(messages, {{"add_generation_prompt", true}}).text;
///
/// Copies share their data, which is constant.
class chat_template {
 public:
  /// The template of a model folder: chat_template.jinja, or "chat_template" of tokenizer_config.json (one, or a list of
  /// named ones, of which `tool_use` serves conversations with tools and `default` the others); nothing when there is
  /// none. Special tokens that tokenizer_config.json names are variables of the template, as in transformers.
  static std::optional<chat_template> find(const std::filesystem::path& folder);
  /// The same; errc::not_found, with the cure, when the folder has none.
  static chat_template load(const std::filesystem::path& folder);
  /// A template from its text; `place` names it in errors.
  static chat_template from_text(std::string_view jinja, std::string_view place = "template");
  /// A named format: chatml, zephyr, llama2, vicuna or alpaca. Texts leave out the beginning-of-text token; tokens have it.
  static chat_template named(std::string_view format);

  /// This template, with the special tokens of a model folder as variables.
  [[nodiscard]] chat_template with_special_tokens_of(const std::filesystem::path& folder) const;

  /// A conversation as text. `variables` are what the template may read besides `messages`: tools, documents,
  /// add_generation_prompt, and any other. They come before the model's special tokens of the same name.
  ///
  /// `assistant` of the result has the bytes that the assistant says: what `{% generation %}` marks; without such
  /// marks, what each reply adds to the conversation before it with the generation prompt, so the end of the turn is in.
  /// Errors: `bad_data` where messages are not a list of objects or the template raises.
  [[nodiscard]] rendered_chat render(const json::array& messages, const json::object& variables,
                                     const template_options& options = {}) const;
  [[nodiscard]] rendered_chat render(const json::array& messages) const;
  /// The text alone: less work, as nothing has to be found out about who says what.
  [[nodiscard]] std::string text(const json::array& messages, const json::object& variables,
                                 const template_options& options = {}) const;

  /// The same up to the end of the last reply's turn: what a named format writes after it belongs to the next turn.
  [[nodiscard]] std::string text_to_end_of_turn(const json::array& messages, const json::object& variables,
                                                const template_options& options = {}) const;

  /// A rendered conversation as tokens. A template writes its own beginning of text, so none is added; a named format
  /// gets the tokenizer's.
  [[nodiscard]] chat_tokens tokens(const rendered_chat& chat, const tokenizer& words) const;
  /// A text that this template wrote, or the beginning of one, as tokens.
  [[nodiscard]] std::vector<token_id> encode(std::string_view text, const tokenizer& words) const;

  /// Does the template say itself what the assistant says?
  [[nodiscard]] bool marks_assistant() const noexcept;

 private:
  struct part;
  explicit chat_template(std::shared_ptr<const part> p) : part_(std::move(p)) {}
  [[nodiscard]] json::object all_variables(const json::array& messages, const json::object& given) const;
  [[nodiscard]] const text_template& choose(const json::object& variables) const;
  [[nodiscard]] rendered_chat written(const json::array& messages, const json::object& given,
                                      const template_options& options) const;

  std::shared_ptr<const part> part_;
};

/// A sentence to show when replies would be learnt without an end: no reply's last tokens hold a control token or the
/// tokenizer's end of text, so a model that learns from them does not learn to stop. Nothing when all is well.
std::optional<std::string> warn_of_endless_replies(const chat_tokens& chat, const tokenizer& words);

}  // namespace plumb::inline v0

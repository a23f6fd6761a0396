// SPDX-License-Identifier: BSL-1.0
// The bodies of train/model_card.hpp. Collected by plumb/impl.hpp, which one .cpp of a program includes.
#pragma once

#include <algorithm>
#include <cstddef>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <plumb/core/error.hpp>
#include <plumb/core/types.hpp>
#include <plumb/io/file.hpp>
#include <plumb/io/utf8.hpp>
#include <plumb/train/model_card.hpp>
#include <plumb/train/report_text.hpp>
#include <plumb/version.hpp>

namespace plumb::inline v0 {

namespace detail {

std::string yaml_scalar(std::string_view text) {
  const auto letter = [](char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); };
  const auto harmless = [&](char c) {
    return letter(c) || (c >= '0' && c <= '9') || c == '-' || c == '_' || c == '.' || c == '/';
  };
  std::string lower(text);
  for (char& c : lower) c = c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c;
  bool keyword = false;
  for (const std::string_view word : {"y", "n", "yes", "no", "on", "off", "true", "false", "null"})
    keyword |= lower == word;
  if (!text.empty() && letter(text.front()) && !keyword && std::all_of(text.begin(), text.end(), harmless))
    return std::string(text);
  std::string out = "\"";
  for (std::size_t at = 0; at < text.size();) {
    const utf8_step step = utf8_at(text, at);
    at += step.size;
    constexpr std::string_view hex = "0123456789ABCDEF";
    const char32_t c = step.code;
    if (c == U'"' || c == U'\\') {
      out += '\\';
      out += static_cast<char>(c);
    } else if (c == U'\n') {
      out += "\\n";
    } else if (c < 0x20 || (c >= 0x7F && c <= 0x9F)) {
      out += join("\\x", hex[c >> 4], hex[c & 15]);
    } else if (c == 0x2028 || c == 0x2029 || c == 0xFEFF || (c & 0xFFFE) == 0xFFFE) {
      append_utf8(out, replacement_character);  // YAML's own line breaks and what it forbids
    } else {
      append_utf8(out, c);
    }
  }
  return out += '"';
}

/// Text made safe inside one line of Markdown, a table's cell included: nothing in it is markup or HTML.
std::string escape_markdown(std::string_view text) {
  std::string out;
  for (const char c : to_valid_utf8(text)) {
    if (c == '\n' || c == '\r' || c == '\t') {
      out += ' ';
    } else if (c == '<') {
      out += "&lt;";
    } else if (c == '&') {
      out += "&amp;";
    } else {
      if (std::string_view("\\`*_[]|#~$!>").find(c) != std::string_view::npos) out += '\\';
      out += static_cast<unsigned char>(c) < 0x20 ? ' ' : c;
    }
  }
  return out;
}

/// A fenced block with a fence longer than any run of backticks inside.
std::string code_block(std::string_view language, std::string_view code) {
  std::size_t longest = 2, run = 0;
  for (const char c : code) longest = std::max(longest, run = c == '`' ? run + 1 : 0);
  const std::string fence(longest + 1, '`');
  return join(fence, language, "\n", code, code.ends_with('\n') ? "" : "\n", fence, "\n");
}

/// A Python string literal in double quotes.
std::string python_string(std::string_view text) {
  std::string out = "\"";
  for (const char c : to_valid_utf8(text)) {
    if (c == '"' || c == '\\') out += '\\';
    out += static_cast<unsigned char>(c) < 0x20 ? ' ' : c;
  }
  return out += '"';
}

/// True for what a hub knows as a model: "name" or "owner/name" of letters, digits, '-', '_' and '.'.
bool is_hub_name(std::string_view text) {
  if (text.empty() || text.front() == '.' || text.front() == '/' || text.back() == '/' || text.size() > 192)
    return false;
  if (std::count(text.begin(), text.end(), '/') > 1) return false;
  return std::all_of(text.begin(), text.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '_' ||
           c == '.' || c == '/';
  });
}

std::string markdown_table(std::string_view left, std::string_view right,
                           std::span<const std::pair<std::string, std::string>> rows) {
  std::string out = join("| ", left, " | ", right, " |\n|---|---|\n");
  for (const auto& [key, value] : rows) out += join("| ", escape_markdown(key), " | ", escape_markdown(value), " |\n");
  return out + "\n";
}

std::string card_front_matter(const model_card& card) {
  std::string out = "---\n";
  const auto list = [&](std::string_view key, const std::vector<std::string>& items) {
    if (items.empty()) return;
    out += join(key, ":\n");
    for (const auto& item : items) out += join("- ", yaml_scalar(item), "\n");
  };
  if (is_hub_name(card.base_model)) out += join("base_model: ", yaml_scalar(card.base_model), "\n");
  out += join("library_name: ", card.adapter ? "peft" : "transformers", "\n");
  if (!card.pipeline.empty()) out += join("pipeline_tag: ", yaml_scalar(card.pipeline), "\n");
  if (!card.license.empty()) out += join("license: ", yaml_scalar(card.license), "\n");
  list("language", card.languages);
  list("datasets", card.datasets);
  std::vector<std::string> tags = {"plumb"};
  if (!card.method.empty()) tags.push_back(card.method);
  if (card.adapter) tags.push_back(card.low_rank ? "lora" : "prompt-tuning");
  for (const auto& tag : card.tags)
    if (std::find(tags.begin(), tags.end(), tag) == tags.end()) tags.push_back(tag);
  list("tags", tags);
  return out + "---\n\n";
}

}  // namespace detail

std::string render_model_card(const model_card& card) {
  const bool on_hub = detail::is_hub_name(card.base_model);
  std::filesystem::path folder = std::filesystem::path(card.base_model).lexically_normal();
  if (!folder.empty() && folder.filename().empty()) folder = folder.parent_path();
  const std::string base = on_hub ? card.base_model : folder.filename().string();
  const std::string name =
      card.name.empty() ? (base.empty() ? "Model" : base + (card.method.empty() ? "" : "-" + card.method)) : card.name;

  std::string out = detail::card_front_matter(card);
  out += join("# ", detail::escape_markdown(name), "\n\n");
  if (!card.summary.empty()) out += join(to_valid_utf8(card.summary), "\n\n");
  out += join(
      !card.adapter   ? "These are complete weights"
      : card.low_rank ? "This is a LoRA adapter in PEFT layout"
                      : "These are virtual tokens in PEFT layout",
      base.empty() ? "" : join(card.adapter ? " for " : ", derived from ", "**", detail::escape_markdown(base), "**"),
      card.method.empty() ? "" : join(", trained with ", detail::escape_markdown(card.method)), ".\n",
      "It was made with plumb ", version, ", a C++ library that aligns language models.\n\n## How to use it\n\n");
  const bool scores = card.pipeline == "text-classification";
  const auto model_class = join("AutoModelFor", scores ? "SequenceClassification" : "CausalLM");
  const std::string_view one_label = scores ? ", num_labels=1" : "";
  const std::string_view call = scores ? "print(model(**inputs).logits)\n"
                                       : "print(tokenizer.decode(model.generate(**inputs, max_new_tokens=64)[0]))\n";
  const std::string_view command = scores ? "echo '{\"prompt\": \"Hello\", \"completion\": \" world\"}' | plumb score"
                                          : "echo '{\"prompt\": \"Hello\"}' | plumb generate";
  if (card.adapter) {
    const std::string_view placeholder = "path/to/the/base/model";
    out += detail::code_block(
        "python",
        join("from peft import PeftModel\nfrom transformers import ", model_class, ", AutoTokenizer\n\nbase = ",
             detail::python_string(on_hub ? std::string_view(card.base_model) : placeholder),
             "\ntokenizer = AutoTokenizer.from_pretrained(base)\n"
             "model = ",
             model_class, ".from_pretrained(base", one_label,
             ")\n"
             "model = PeftModel.from_pretrained(model, \"path/to/this/folder\")\n\n"
             "inputs = tokenizer(\"Hello\", return_tensors=\"pt\")\n",
             call));
    out += "\nOr without Python:\n\n";
    out += detail::code_block("sh",
                              join(command, " --model path/to/the/base/model --adapter path/to/this/folder --in -\n"));
  } else {
    out += detail::code_block("python", join("from transformers import ", model_class, ", AutoTokenizer\n\n",
                                             "tokenizer = AutoTokenizer.from_pretrained(\"path/to/this/folder\")\n",
                                             "model = ", model_class, ".from_pretrained(\"path/to/this/folder\")\n\n",
                                             "inputs = tokenizer(\"Hello\", return_tensors=\"pt\")\n", call));
  }
  out += "\n";
  if (!card.metrics.empty()) {
    model_card::pairs rows;
    for (const auto& [key, value] : card.metrics) rows.emplace_back(key, human_number(value));
    out += "## Results\n\nAt the end of training:\n\n" + detail::markdown_table("metric", "value", rows);
  }
  if (!card.hyper_parameters.empty())
    out += "## Training\n\n" + detail::markdown_table("setting", "value", card.hyper_parameters);
  if (!card.environment.empty())
    out += "## Environment\n\n" + detail::markdown_table("part", "version", card.environment);
  if (!card.citation.empty()) out += "## Citation\n\n" + detail::code_block("bibtex", to_valid_utf8(card.citation));
  while (out.ends_with("\n\n")) out.pop_back();
  return out;
}

void write_model_card(const std::filesystem::path& path, const model_card& card) {
  const std::string text = render_model_card(card);
  write_file_atomically(path, [&](writer& out) { out.write(text); });
}

}  // namespace plumb::inline v0

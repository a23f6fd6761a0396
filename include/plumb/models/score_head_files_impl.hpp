// SPDX-License-Identifier: BSL-1.0
// The bodies of models/score_head_files.hpp. Collected by plumb/impl.hpp, which one .cpp of a program includes.
#pragma once

#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <system_error>
#include <vector>

#include <plumb/io/file.hpp>
#include <plumb/io/json.hpp>
#include <plumb/io/weights.hpp>
#include <plumb/models/score_head_files.hpp>

namespace plumb::inline v0 {

bool holds_score_head(const std::filesystem::path& folder) {
  std::error_code failed;
  if (!std::filesystem::is_directory(folder, failed)) return false;
  const auto files = weight_files::open(folder);
  for (const char* name : {"score.weight", "classifier.weight", "classifier.out_proj.weight"})
    if (files.contains(name)) return true;
  return false;
}

namespace detail {

void mark_as_classifier(const std::filesystem::path& folder) {
  const auto path = folder / "config.json";
  const json::value document = json::parse_file(path);
  json::object o = json::as_object(document, "config.json", path.string());
  auto name = json::get<std::vector<std::string>>(o, "architectures", path.string()).at(0);
  for (const std::string_view end : {"ForCausalLM", "LMHeadModel", "Model"})
    if (name.ends_with(end)) {
      name.resize(name.size() - end.size());
      break;
    }
  o["architectures"] = json::array{json::value(name + "ForSequenceClassification")};
  o["num_labels"] = 1;
  o["id2label"] = json::object{{"0", "LABEL_0"}};
  o["label2id"] = json::object{{"LABEL_0", 0}};
  const std::string text = json::dump(o) + "\n";
  write_file_atomically(path, [&](auto& out) { out.write(std::as_bytes(std::span(text))); });
}

}  // namespace detail

}  // namespace plumb::inline v0

// SPDX-License-Identifier: BSL-1.0
// The bodies of models/adapter_readers.hpp. Collected by plumb/impl.hpp, which one .cpp of a program includes.
#pragma once

#include <algorithm>
#include <filesystem>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <plumb/core/error.hpp>
#include <plumb/io/json.hpp>
#include <plumb/io/weights.hpp>
#include <plumb/models/adapter_config.hpp>
#include <plumb/models/adapter_readers.hpp>

namespace plumb::inline v0 {

std::string_view name(adapter_reading how) {
  constexpr std::string_view names[] = {"yes", "refused", "wrong"};
  return names[static_cast<std::size_t>(how)];
}

namespace detail {

bool is_unused(const json::value& v);  // adapter_config_impl.hpp

/// What an adapter's file holds, by the names of its tensors.
struct adapter_contents {
  bool low_rank = false, magnitudes = false, embedding_pairs = false, tokens = false, biases = false, norms = false;
  bool head = false;                ///< a low-rank change of the head
  std::vector<std::string> copies;  ///< weights saved whole
};

adapter_contents contents_of(const weight_files& files) {
  adapter_contents out;
  for (const std::string& key : files.names()) {
    const auto ends = [&](std::string_view end) { return key.ends_with(end); };
    if (ends(".lora_A.weight") || ends(".lora_B.weight")) {
      out.low_rank = true;
      out.head = out.head || key.find(".lm_head.lora_") != std::string::npos;
    } else if (ends(".lora_magnitude_vector") || ends(".lora_magnitude_vector.weight")) {
      out.magnitudes = true;
    } else if (key.find(".lora_embedding_") != std::string::npos) {
      out.embedding_pairs = true;
    } else if (ends(".trainable_tokens_delta")) {
      out.tokens = true;
    } else if (ends(".bias")) {
      out.biases = true;
    } else if (ends("norm.weight")) {
      out.norms = true;
    } else if (!ends(".base_layer.weight")) {
      out.copies.push_back(key);
    }
  }
  return out;
}

/// Everything that the rules below ask of an adapter.
struct adapter_facts {
  adapter_contents has;
  std::string kind;  ///< peft_type
  std::string init;
  index_t rank = 0;
  bool rank_stabilised = false, rank_patterns = false, alpha_patterns = false, modules_to_save = false;
  bool belongs_to_changed_base = false;
};

void add(adapter_reader& to, adapter_reading how, std::string reason) {
  to.reasons.push_back(std::move(reason));
  if (to.how != adapter_reading::refused) to.how = how;
}

adapter_reader plumb_reads(const std::filesystem::path& folder) {
  adapter_reader out{"plumb", {}, {}, {}};
  try {
    (void)read_adapter_config(folder);
  } catch (const error& e) {
    add(out, adapter_reading::refused, e.what());
  }
  return out;
}

adapter_reader peft_reads(const adapter_facts& a) {
  adapter_reader out{"peft", {}, {}, {}};
  if (a.init.starts_with("pissa_niter_"))
    add(out, adapter_reading::wrong,
        join("\"init_lora_weights\" is \"", a.init,
             "\": PEFT decomposes the base model at random again, and finds other factors than those of training"));
  else if (a.belongs_to_changed_base)
    out.notes.push_back(join("\"init_lora_weights\" is \"", a.init,
                             "\": loading changes the base model's weights, so that the model without the adapter is "
                             "another; saving with plumb makes a plain adapter of it"));
  return out;
}

adapter_reader vllm_reads(const adapter_facts& a) {
  using enum adapter_reading;
  adapter_reader out{"vllm", {}, {}, {}};
  if (a.kind != "LORA") add(out, refused, join("\"peft_type\" is \"", a.kind, "\"; vLLM takes LORA"));
  if (a.has.magnitudes) add(out, refused, "vLLM does not support DoRA; merge the adapter (plumb merge)");
  if (a.modules_to_save || !a.has.copies.empty() || a.has.norms)
    add(out, refused, "vLLM wants \"modules_to_save\" to be null: it takes no weights saved whole; merge the adapter");
  if (a.has.biases) add(out, refused, "vLLM takes no biases in an adapter; merge the adapter");
  if (a.has.tokens) add(out, refused, "vLLM takes no trained tokens in an adapter; merge the adapter");
  if (a.has.embedding_pairs) add(out, refused, "vLLM takes no low-rank change of the embedding any more");
  if (a.rank_patterns || a.alpha_patterns)
    add(out, wrong,
        "vLLM scales every map by the one \"lora_alpha\" and \"r\" and ignores patterns; merge the adapter, or train "
        "with one "
        "rank and alpha");
  if (a.belongs_to_changed_base)
    add(out, wrong,
        join("vLLM ignores \"init_lora_weights\" = \"", a.init,
             "\" and leaves the base model as it is; load and save the adapter with plumb, which makes a plain one of "
             "it"));
  if (a.rank > 512)
    add(out, refused, join("rank ", a.rank, " is above 512, the largest that vLLM knows"));
  else if (a.rank > 16)
    out.notes.push_back(join("rank ", a.rank, " needs --max-lora-rank ", a.rank, " or the next one it knows"));
  return out;
}

adapter_reader llama_cpp_reads(const adapter_facts& a) {
  using enum adapter_reading;
  adapter_reader out{"llama.cpp", {}, {}, {}};
  if (a.kind != "LORA") add(out, refused, join("\"peft_type\" is \"", a.kind, "\"; llama.cpp applies LORA"));
  if (a.has.magnitudes || a.has.biases || a.has.tokens || a.has.norms || !a.has.copies.empty())
    add(out, refused,
        "llama.cpp's adapter files hold low-rank changes alone: no magnitudes (DoRA), biases, tokens, norms or weights "
        "saved "
        "whole; merge the adapter and convert the model (plumb merge, plumb convert)");
  if (a.has.embedding_pairs)
    add(out, refused, "plumb convert writes no low-rank change of the embedding; merge the adapter (plumb merge)");
  if (a.belongs_to_changed_base)
    add(out, refused,
        "the adapter belongs to a changed base model; load and save it with plumb, which makes a plain one of it");
  if (out.how != yes) return out;
  out.notes.push_back("convert it first: plumb convert --model MODEL --adapter ADAPTER --out adapter.gguf");
  if (a.rank_stabilised || a.alpha_patterns)
    out.notes.push_back(
        "llama.cpp's own convert_lora_to_gguf.py ignores \"use_rslora\" and \"alpha_pattern\" and makes the adapter "
        "too weak or "
        "too strong; plumb convert does not");
  if (a.has.head)
    out.notes.push_back(
        "a head that is tied to the embedding is no tensor of its own in llama.cpp's files: then the adapter "
        "of lm_head has nowhere to go");
  return out;
}

}  // namespace detail

std::vector<adapter_reader> adapter_readers(const std::filesystem::path& folder) {
  const auto path = folder / "adapter_config.json";
  const std::string place = path.string();
  const json::value document = json::parse_file(path);
  const auto& c = json::as_object(document, "adapter_config.json", place);
  const auto used = [&](std::string_view key) {
    const json::value* const v = json::find(c, key);
    return v != nullptr && !detail::is_unused(*v);
  };
  detail::adapter_facts a;
  a.has = detail::contents_of(weight_files::open(folder, "adapter_model"));
  a.kind = json::get<std::string>(c, "peft_type", place);
  if (const json::value* const init = json::find(c, "init_lora_weights"); init != nullptr && init->is_string())
    a.init = json::as<std::string>(*init, "\"init_lora_weights\"", place);
  for (const std::string_view how : {"pissa", "olora", "corda", "loftq", "lora_ga"})
    a.belongs_to_changed_base = a.belongs_to_changed_base || a.init.starts_with(how);
  if (const json::value* const rank = json::find(c, "r"); rank != nullptr && rank->is_number())
    a.rank = json::as<index_t>(*rank, "\"r\"", place);
  a.rank_stabilised = used("use_rslora");
  a.rank_patterns = used("rank_pattern");
  a.alpha_patterns = used("alpha_pattern");
  a.modules_to_save = used("modules_to_save");
  return {detail::plumb_reads(folder), detail::peft_reads(a), detail::vllm_reads(a), detail::llama_cpp_reads(a)};
}

}  // namespace plumb::inline v0

// SPDX-License-Identifier: BSL-1.0
// plumb info: what a model folder holds. Only headers are read; weights only when an adapter is to be put on them.
#include "commands.hpp"
#include "engine.hpp"
#include "output.hpp"

#include <plumb/backend/reference.hpp>
#include <plumb/io/weights.hpp>
#include <plumb/models/adapter_readers.hpp>
#include <plumb/models/gguf_model.hpp>
#include <plumb/models/read_weight.hpp>

#include <map>

namespace program {

namespace {

json::object describe_architecture(const model_config& c) {
  json::object out;
  out["model_type"] = c.family;
  out["layers"] = c.layers;
  out["hidden_size"] = c.hidden_size;
  out["intermediate_size"] = c.intermediate_size;
  out["heads"] = c.heads;
  out["kv_heads"] = c.kv_heads;
  out["head_dim"] = c.head_width;
  out["vocabulary"] = c.vocabulary;
  out["positions"] = c.max_positions;
  out["tied_head"] = c.tied_head;
  out["attention_bias"] = c.attention_bias;
  out["output_bias"] = c.output_bias;
  out["query_norms"] = c.query_norms != query_norm::none;
  out["mlp_bias"] = c.mlp_bias;
  if (c.experts.count > 0) {
    out["experts"] = c.experts.count;
    out["experts_per_token"] = c.experts.chosen;
    out["expert_size"] = c.experts.width;
    out["shared_expert_size"] = c.experts.shared_width;
  }
  out["rope_theta"] = c.rope_theta;
  out["rope_scaling"] = name(c.rope_scaling.how);
  out["rope_factor"] = c.rope_scaling.factor;
  out["windows"] = list(c.windows);  // empty: every layer sees all
  out["norm_epsilon"] = c.norm_epsilon;
  out["bos"] = c.bos ? json::value(*c.bos) : json::value(nullptr);
  out["eos"] = list(c.eos);
  return out;
}

/// Walks through the model's composition, checks that the files have each tensor in its shape, and counts numbers and the
/// bytes that they take in memory with this --dtype.
template <class Files>
void count_parameters(const model_config& config, const Files& files, const common_options& common, json::object& out) {
  index_t count = 0, bytes = 0;
  const auto device = std::make_shared<typename reference::device>();
  (void)make_network<reference, float>(device, config, 1, [&](const std::string& name, shape extent) {
    const auto stored = plumb::detail::stored_format(files, config, name);
    if (stored != packed_format::int8 && stored != packed_format::four_bits)  // those are checked when they are read
      plumb::detail::find_stored(files, config, name, extent);
    count += extent.rows * extent.columns;
    packed_matrix like;
    like.rows = extent.rows, like.columns = extent.columns;
    const auto kept = plumb::detail::kept_format(files, config, name, extent, common.storage);
    if (kept) like.format = *kept;
    bytes += kept ? static_cast<index_t>(parts_of_packed(like, true).total)
                  : extent.rows * extent.columns * (common.wide ? 8 : 4);
    return weight_ptr<reference, float>();
  });
  out["parameters"] = count;
  out["memory"] = json::object{{"dtype", json::string(common.dtype())}, {"bytes", bytes}};
}

/// The format of most of the numbers, as --dtype writes it.
template <class Type>
std::string main_type(const std::map<Type, index_t>& numbers) {
  Type most = Type::f32;
  index_t largest = numbers.contains(most) ? numbers.at(most) : 0;
  for (const auto& [type, count] : numbers)
    if (count > largest) most = type, largest = count;
  std::string out(name(most));
  for (char& c : out) c = c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c;
  return out;
}
std::string main_type(const weight_files& files) {
  std::map<dtype, index_t> numbers;
  for (const std::string& name : files.names())
    if (const auto packed = bitsandbytes_format(files, name)) return std::string(plumb::name(*packed));
  for (const std::string& name : files.names()) numbers[files.info(name).type] += files.info(name).elements;
  return main_type(numbers);
}

json::array describe_files(const weight_files& files) {
  json::array out;
  for (const auto& file : files.files()) {
    json::object entry;
    entry["name"] = file.path().filename().string();
    entry["bytes"] = std::filesystem::file_size(file.path());
    entry["tensors"] = file.tensors().size();
    out.push_back(std::move(entry));
  }
  return out;
}

json::value describe_tokenizer(const std::optional<tokenizer>& words) {
  return words ? json::value(json::object{{"tokens", words->size()}}) : json::value(nullptr);
}

/// The same three facts about a GGUF file.
void describe_gguf(const gguf_model& model, const common_options& common, json::object& out) {
  std::map<ggml_type, index_t> numbers;
  std::size_t bytes = 0;
  for (const auto& tensor : model.file().tensors()) {
    numbers[tensor.type] += tensor.elements;
    bytes += tensor.bytes;
  }
  count_parameters(model.config(), model, common, out);
  out["dtype"] = main_type(numbers);
  out["bytes"] = bytes;
  out["files"] = json::array{json::object{{"name", model.file().path().filename().string()},
                                          {"bytes", model.file().size()},
                                          {"tensors", model.file().tensors().size()}}};
  out["tokenizer"] = describe_tokenizer(model.tokenizer());
}

/// Which programs take the adapter, and why not: {"vllm": {"reads": "refused", "reasons": [..]}, ..}.
json::object describe_readers(const std::string& folder) {
  json::object out;
  for (const adapter_reader& each : adapter_readers(folder)) {
    json::object entry{{"reads", json::string(name(each.how))}};
    if (!each.reasons.empty()) entry["reasons"] = list(each.reasons);
    if (!each.notes.empty()) entry["notes"] = list(each.notes);
    out[each.program] = std::move(entry);
  }
  return out;
}

/// An adapter folder by itself, without its model.
json::object describe_adapter_folder(const std::string& folder) {
  json::object out{{"adapter", folder}};
  const std::string place = (std::filesystem::path(folder) / "adapter_config.json").string();
  const json::value document = json::parse_file(place);
  for (const auto& member : json::as_object(document, "adapter_config.json", place)) {
    const json::value& v = member.value();
    const bool says_nothing = v.is_null() || (v.is_array() && v.get_array().empty()) ||
                              (v.is_object() && v.get_object().empty()) || (v.is_bool() && !v.get_bool());
    if (!says_nothing) out[member.key()] = v;
  }
  const auto tensors = weight_files::open(folder, "adapter_model");
  index_t count = 0;
  for (const std::string& name : tensors.names()) count += tensors.info(name).elements;
  out["parameters"] = count;
  out["tensors"] = tensors.names().size();
  out["files"] = describe_files(tensors);
  out["readers"] = describe_readers(folder);
  return out;
}

/// Has it an adapter's files, and no model's? The folder of a run has a config.json, too: its settings.
bool is_adapter(const std::filesystem::path& folder) {
  std::error_code failed;
  if (!std::filesystem::exists(folder / "adapter_config.json", failed)) return false;
  const auto config = folder / "config.json";
  if (!std::filesystem::exists(config, failed)) return true;
  const json::value document = json::parse_file(config);
  return json::find(json::as_object(document, "config.json", config.string()), "model_type") == nullptr;
}

int run_info(const arguments& given) {
  const common_options common = read_common(given);
  const std::string folder = given.operand(), adapter = given.text("--adapter");
  std::error_code failed;
  if (is_adapter(folder)) {
    if (!adapter.empty())
      throw error(errc::bad_argument, "MODEL",
                  join("\"", folder, "\" is an adapter; give its model, or leave --adapter out"));
    write_output(given.text("--out"), [&](output& to) { to.line(describe_adapter_folder(folder)); });
    return 0;
  }
  if (!std::filesystem::exists(folder, failed))
    throw error(errc::not_found, "MODEL", join("there is no folder or file \"", folder, "\""));
  const bool one_file = is_gguf(folder);
  if (!one_file && !std::filesystem::is_directory(folder, failed))
    throw error(errc::unsupported, "MODEL",
                join("\"", folder, "\" is a file, but not a GGUF file; give a GGUF file or a Hugging Face folder"));
  json::object out;
  out["model"] = folder;
  if (one_file) {
    const auto model = gguf_model::open(folder);
    out["architecture"] = describe_architecture(model.config());
    describe_gguf(model, common, out);
  } else {
    const model_config stored = read_config(folder);
    const auto files = weight_files::open(folder);
    const model_config config = plumb::detail::as_language_model(stored, files);
    out["architecture"] = describe_architecture(config);
    count_parameters(config, files, common, out);
    out["dtype"] = main_type(files);
    out["bytes"] = files.total_bytes();
    out["files"] = describe_files(files);
    out["tokenizer"] = describe_tokenizer(tokenizer::find(folder));
  }
  out["trainable_parameters"] = 0;  // a model alone is frozen
  if (!adapter.empty()) {
    const auto model = open_model(folder, adapter, common);
    out["trainable_parameters"] = model->trainable_count();
    json::object about = model->describe_adapter();
    const auto tensors = weight_files::open(adapter, "adapter_model");
    about["tensors"] = tensors.names().size();
    about["files"] = describe_files(tensors);
    about["readers"] = describe_readers(adapter);
    out["adapter"] = std::move(about);
  }
  write_output(given.text("--out"), [&](output& to) { to.line(out); });
  return 0;
}

}  // namespace

const command info_command{
    "info",
    "MODEL|ADAPTER",
    "What a model folder or GGUF file holds: architecture, sizes, files, and an adapter's share.",
    "Prints one JSON object. The weights are not loaded unless an adapter is to be put on them. Of an adapter it also "
    "says\n"
    "which of plumb, PEFT, vLLM and llama.cpp take it: yes, refused, or wrong (loaded, but something else is "
    "computed).",
    "  plumb info stories260k/hf",
    {{"--adapter", "ADAPTER", "a PEFT folder: also its rank, targets and trainable parameters"},
     {"--out", "F", "where the result goes, instead of standard output"}},
    run_info};

}  // namespace program

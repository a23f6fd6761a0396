// SPDX-License-Identifier: BSL-1.0
// plumb convert: between model folders and GGUF files, and from PEFT adapters to llama.cpp's.
#include "commands.hpp"
#include "engine.hpp"
#include "output.hpp"

#include <plumb/io/gguf.hpp>
#include <plumb/models/model_files.hpp>

#include <filesystem>

namespace program {

namespace {

/// The type of the new file's numbers: --type, or --dtype, which elsewhere says how weights are kept.
std::string read_name(const arguments& given) {
  const std::string type = given.text("--type"), same = given.text("--dtype");
  if (!type.empty() && !same.empty() && type != same)
    throw error(errc::bad_argument, "--dtype", join("says ", same, ", and --type says ", type, "; give one of them"));
  return !type.empty() ? type : !same.empty() ? same : "f32";
}

ggml_type file_type(const std::string& text) {
  const auto type = ggml_type_of(text);
  if (!type ||
      (*type != ggml_type::f32 && *type != ggml_type::f16 && *type != ggml_type::bf16 && *type != ggml_type::q8_0))
    throw error(errc::bad_argument, "--type",
                join("expected f32, f16, bf16 or q8_0 for a GGUF file, found \"", text, "\""));
  return *type;
}

void write_folder(const named_weights& files, const std::string& out, const std::string& text) {
  if (text == "nf4" || text == "int8") return write_packed_folder(files, out, weight_storage_of(text));
  for (const auto& [name, type] :
       {std::pair("f32", dtype::f32), std::pair("f16", dtype::f16), std::pair("bf16", dtype::bf16)})
    if (text == name) return write_model_folder(files, out, type);
  throw error(errc::bad_argument, "--type",
              join("expected f32, f16, bf16, nf4 or int8 for a model folder, found \"", text, "\""));
}

int run_convert(const arguments& given) {
  const common_options common = read_common(given);
  const std::string model = given.required("--model"), out = given.required("--out"), adapter = given.text("--adapter");
  std::error_code failed;
  if (!std::filesystem::exists(model, failed))
    throw error(errc::not_found, "--model", join("there is no folder or file \"", model, "\""));
  if (!std::filesystem::is_directory(model, failed) && !is_gguf(model))
    throw error(errc::unsupported, "--model", join("\"", model, "\" is neither a Hugging Face folder nor a GGUF file"));
  const bool to_file = out.ends_with(".gguf");
  if (std::filesystem::exists(out, failed) &&
      (to_file || !std::filesystem::is_directory(out, failed) || !std::filesystem::is_empty(out, failed)))
    throw error(errc::bad_argument, "--out", join("\"", out, "\" is there already; name a new file or folder"));
  const std::string type = read_name(given);
  if (!adapter.empty() && !to_file)
    throw error(errc::bad_argument, "--out", "expected a name that ends in .gguf: adapters are converted to GGUF");
  const auto files = open_model_files(model);
  if (!adapter.empty())
    write_gguf_adapter(adapter, *files, out, file_type(type));
  else if (to_file)
    write_gguf_model(*files, out, file_type(type));
  else
    write_folder(*files, out, type);
  tell(common, join("wrote ", out));
  return 0;
}

}  // namespace

const command convert_command{
    "convert",
    "",
    "Between model folders and GGUF files, and from PEFT adapters to llama.cpp's.",
    "With --out X.gguf a model becomes a GGUF file, otherwise a Hugging Face folder. With --adapter, the adapter\n"
    "becomes a GGUF file that llama.cpp applies to the model. f32 keeps every number. nf4 and int8 write\n"
    "the folder as bitsandbytes packs it, for transformers and plumb; other quantised files become floats.",
    "  plumb convert --model stories260k/hf --out stories.gguf --type f16",
    {{"--model", "MODEL", "a Hugging Face folder or a GGUF file"},
     {"--adapter", "ADAPTER", "a PEFT folder: convert this; --model is its base"},
     {"--out", "F", "a new file X.gguf, or a new folder"},
     {"--type", "TYPE", "f32 (default), f16, bf16; q8_0 (GGUF only); nf4, int8 (folders only). --dtype says the same"}},
    run_convert};

}  // namespace program

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

ggml_type read_type(const std::string& text, const std::string& otherwise) {
  const auto type = ggml_type_of(text.empty() ? otherwise : text);
  if (!type ||
      (*type != ggml_type::f32 && *type != ggml_type::f16 && *type != ggml_type::bf16 && *type != ggml_type::q8_0))
    throw error(errc::bad_argument, "--type", join("expected f32, f16, bf16 or q8_0, found \"", text, "\""));
  return *type;
}

dtype folder_type(ggml_type type) {
  switch (type) {
    case ggml_type::f16: return dtype::f16;
    case ggml_type::bf16: return dtype::bf16;
    case ggml_type::f32: return dtype::f32;
    default: throw error(errc::bad_argument, "--type", "a model folder is written as f32, f16 or bf16");
  }
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
  const ggml_type type = read_type(given.text("--type"), "f32");
  if (!adapter.empty() && !to_file)
    throw error(errc::bad_argument, "--out", "expected a name that ends in .gguf: adapters are converted to GGUF");
  const auto files = open_model_files(model);
  if (!adapter.empty())
    write_gguf_adapter(adapter, *files, out, type);
  else if (to_file)
    write_gguf_model(*files, out, type);
  else
    write_model_folder(*files, out, folder_type(type));
  tell(common, join("wrote ", out));
  return 0;
}

}  // namespace

const command convert_command{
    "convert",
    "",
    "Between model folders and GGUF files, and from PEFT adapters to llama.cpp's.",
    "With --out X.gguf a model becomes a GGUF file, otherwise a Hugging Face folder. With --adapter, the adapter\n"
    "becomes a GGUF file that llama.cpp applies to the model. f32 keeps every number; quantised files become floats.",
    "  plumb convert --model stories260k/hf --out stories.gguf --type f16",
    {{"--model", "MODEL", "a Hugging Face folder or a GGUF file"},
     {"--adapter", "ADAPTER", "a PEFT folder: convert this; --model is its base"},
     {"--out", "F", "a new file X.gguf, or a new folder"},
     {"--type", "TYPE", "f32 (default), f16, bf16 or q8_0 (GGUF only)"}},
    run_convert};

}  // namespace program

// SPDX-License-Identifier: BSL-1.0
// Chooses the engine that the user asked for; each is compiled in its own file.
#include "arguments.hpp"
#include "engine.hpp"

#include <plumb/backend/cpu_device.hpp>
#include <plumb/fwd.hpp>
#include <plumb/io/gguf.hpp>

#include <cstdio>

namespace program {

extern template std::unique_ptr<engine> open_engine<cpu, float>(const std::filesystem::path&, const load_options&);
extern template std::unique_ptr<engine> open_engine<cpu, double>(const std::filesystem::path&, const load_options&);
extern template std::unique_ptr<engine> open_engine<reference, float>(const std::filesystem::path&,
                                                                      const load_options&);
extern template std::unique_ptr<engine> open_engine<reference, double>(const std::filesystem::path&,
                                                                       const load_options&);

namespace {

load_options load_options_of(const common_options& common) {
  return {
      .threads = common.threads, .positions = common.positions, .storage = common.storage, .products = common.products};
}

/// A model that learnt a row of weights for each position has no more of them.
void check_positions(const engine& model, const common_options& common) {
  if (model.positions() < common.positions)
    throw error(errc::bad_argument, "--positions",
                join("expected at most ", model.positions(), ", since ", model.config().family,
                     " learns a row of weights for each position; found ", common.positions));
}

}  // namespace

void check_model(const std::string& model, const char* option) {
  std::error_code failed;
  if (!std::filesystem::exists(model, failed))
    throw error(errc::not_found, option,
                join("there is no folder or file \"", model,
                     "\"; give a Hugging Face folder (config.json, model.safetensors, tokenizer.json) or a GGUF file"));
  for (const char* pickle : {".bin", ".pt", ".pth", ".ckpt"})
    if (model.ends_with(pickle)) (void)weight_files::open(model);  // refuses it and says the way out
  if (!std::filesystem::is_directory(model, failed) && !is_gguf(model))
    throw error(errc::unsupported, option,
                join("\"", model, "\" is a file, but not a GGUF file; give a GGUF file or a Hugging Face folder"));
}

std::unique_ptr<engine> open_model(const std::string& model, const std::string& adapter, const common_options& common) {
  check_model(model, "--model");
  const load_options options = load_options_of(common);
  if (common.products == product_precision::bfloat16 && !common.quiet && !multiplies_bfloat16_faster())
    std::fputs("note: this machine multiplies bfloat16 no faster than float32; --compute bf16 changes nothing here\n",
               stderr);
  auto out = common.reference
                 ? (common.wide ? open_engine<reference, double>(model, options)
                                : open_engine<reference, float>(model, options))
                 : (common.wide ? open_engine<cpu, double>(model, options) : open_engine<cpu, float>(model, options));
  check_positions(*out, common);
  if (!adapter.empty()) out->load_adapter(adapter);
  return out;
}

std::unique_ptr<engine> open_model(const arguments& given, const common_options& common) {
  const std::string model = given.required("--model");
  const auto adapters = given.all("--adapter");
  std::error_code failed;
  const auto is_name = [&](const std::string& text) {  // a folder may have an equals sign in its name, too
    return text.find('=') != std::string::npos && !std::filesystem::exists(text, failed);
  };
  if (adapters.size() < 2 && (adapters.empty() || !is_name(adapters[0])))
    return open_model(model, given.text("--adapter"), common);
  auto out = open_model(model, "", common);
  for (const std::string& each : adapters) {
    const auto equals = each.find('=');
    if (equals == std::string::npos || equals == 0)
      throw error(errc::bad_argument, "--adapter",
                  join("expected several adapters as NAME=FOLDER, found \"", each,
                       "\"; rows then choose one, {\"prompt\": .., \"adapter\": NAME}"));
    out->add_adapter(each.substr(0, equals), each.substr(equals + 1));
  }
  return out;
}

void open_teacher(engine& model, const std::string& folder, const common_options& common) {
  check_model(folder, "--teacher");
  model.load_teacher(folder, load_options_of(common));
}

}  // namespace program

// SPDX-License-Identifier: BSL-1.0
// plumb grad: the gradient of a loss over a whole file, for every trainable tensor.
#include "chat.hpp"
#include "commands.hpp"
#include "output.hpp"
#include "settings.hpp"
#include "sources.hpp"

#include <plumb/core/nearest.hpp>
#include <plumb/io/safetensors_write.hpp>
#include <plumb/train/run.hpp>

namespace program {

namespace {

void write_gradient(const std::string& path, const gradient& g, bool adapter) {
  std::vector<std::vector<float>> narrow;
  std::vector<tensor_data> tensors;
  narrow.reserve(g.parts.size());
  for (const auto& part : g.parts) {
    const std::string key = adapter ? "base_model.model." + part.name : part.name;
    if (part.wide) {
      tensors.push_back(as_tensor(key, part.shape, std::span<const double>(part.numbers)));
    } else {
      narrow.emplace_back(part.numbers.begin(), part.numbers.end());
      tensors.push_back(as_tensor(key, part.shape, std::span<const float>(narrow.back())));
    }
  }
  write_safetensors(path, tensors, {{"format", "pt"}});
}

int run_grad(const arguments& given) {
  common_options common = read_common(given);
  const std::string out = given.required("--out");
  const run_settings settings = read_settings(given, common);
  for (const std::string& key : settings.chosen)
    if (key != "batch" && key != "max_tokens" && key != "seed" && key != "template" && key != "tokens" &&
        key != "router_loss")
      throw error(errc::bad_argument, key,
                  "is a setting of `train`; of those, `grad` takes batch (rows at a time), max_tokens, router_loss, "
                  "template and "
                  "tokens");
  if (settings.adapter.empty() && !settings.full) (void)given.required("--adapter");
  std::error_code failed;
  if (std::filesystem::is_directory(out, failed))
    throw error(errc::bad_argument, "--out", join("expected a file, found the folder \"", out, "\""));

  const auto model = open_model(settings.model, settings.adapter, common);
  if (!settings.teacher.empty()) open_teacher(*model, settings.teacher, common);
  check_router_loss(settings.fit, model->config());
  if (settings.full) model->train_all();
  const auto chat = find_chat(settings.model, settings.chat, "template");
  if (draws_rows(settings))
    throw error(errc::bad_argument, "--data", "`grad` takes all rows of its file; shares and stages are for `train`");
  auto data = read_sources(settings, *model, nullptr, {.chat = chat ? &*chat : nullptr, .learn = settings.learn});
  shorten(data, settings.chosen.contains("max_tokens") ? settings.fit.max_tokens : model->positions());
  const gradient g =
      model->differentiate(settings.how, std::move(data), settings.chosen.contains("batch") ? settings.fit.batch : 0,
                           settings.fit.router_loss);
  write_gradient(out, g, !settings.full);

  json::object result, metrics;
  double squares = 0;
  for (const auto& part : g.parts)
    for (const double x : part.numbers) squares += x * x;
  for (const metric& m : g.metrics)
    metrics[m.name] = std::isfinite(m.value()) ? json::value(m.value()) : json::value(nullptr);
  result["loss"] = g.loss;
  result["grad_norm"] = std::sqrt(squares);
  result["metrics"] = std::move(metrics);
  result["tensors"] = g.parts.size();
  write_output("", [&](output& to) { to.line(result); });
  return 0;
}

}  // namespace

const command grad_command{
    "grad",
    "METHOD",
    "The gradient of an objective over a file of rows, for every trainable tensor.",
    "Writes a safetensors file with the gradient of the mean loss over all rows, each tensor under its PEFT key, and "
    "prints\n"
    "{\"loss\": x, \"grad_norm\": x, \"metrics\": {..}}. Dropout is off; the reference is the model with the adapter "
    "off. Rows are those of\n"
    "`train`; since all of them count, one whose two replies are equal is refused here, not left out.",
    "  echo '{\"prompt\": \"Once upon a time\", \"chosen\": \", there was a dog.\", \"rejected\": \", a dog was.\"}' > "
    "pairs.jsonl\n"
    "  plumb grad dpo --model stories260k/hf --adapter stories260k/lora_init --data pairs.jsonl --out grad.safetensors",
    {{"--model", "MODEL", "a Hugging Face folder"},
     positions_option,
     {"--adapter", "ADAPTER", "the PEFT folder whose tensors are trainable"},
     {"--full", "", "instead of an adapter: all weights of the model"},
     {"--teacher", "MODEL", "the model that distill learns from; of the same vocabulary"},
     {"--data", "F", "demonstrations or preferences"},
     {"--out", "G", "the safetensors file to write"},
     {"--config", "C", "settings as a JSON object"},
     {"--set", "KEY=VALUE", "a parameter of the objective, also=0.2*NAME, batch, max_tokens or router_loss",
      option::many_words}},
    run_grad};

}  // namespace program

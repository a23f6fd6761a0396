// SPDX-License-Identifier: BSL-1.0
// plumb train: from a model folder and a file of rows to an adapter, with log, report and checkpoints.
#include "chat.hpp"
#include "check_run.hpp"
#include "commands.hpp"
#include "output.hpp"
#include "progress.hpp"
#include "rows_of_method.hpp"
#include "run_folder.hpp"
#include "sources.hpp"

#include <plumb/train/environment.hpp>
#include <plumb/train/streamed_rows.hpp>

#include <algorithm>
#include <stdexcept>
#include <thread>

namespace program {

namespace {

namespace fs = std::filesystem;

/// Writes the log, shows progress, and stops the run when the user asks.
class follower final : public listener {
 public:
  follower(const fs::path& folder, progress& shown) : log_(folder / "log.jsonl"), shown_(shown) {}
  bool on_step(const step_info& info) override {
    shown_.step(info);
    return !stop_requested();
  }
  void on_log(const log_entry& entry) override {
    log_.append(entry);
    shown_.log(entry);
  }
  void on_save(const fs::path& folder) override { saved_ = folder; }
  void on_warning(const std::string& text) override { shown_.note(join("warning: ", text)); }
  [[nodiscard]] const fs::path& saved() const noexcept { return saved_; }

 private:
  jsonl_log log_;
  progress& shown_;
  fs::path saved_;
};

/// A few prompts, to show what the model says before and after.
struct showcase {
  std::vector<std::vector<token_id>> prompts;

  showcase(const std::vector<example>& rows, const engine& model) {
    if (!model.has_tokenizer()) return;  // ids are no sight
    for (const example& e : rows) {
      const bool fits = !e.prompt.empty() && static_cast<index_t>(e.prompt.size()) < model.positions();
      if (fits && std::ranges::find(prompts, e.prompt) == prompts.end()) prompts.push_back(e.prompt);
      if (prompts.size() == 4) break;
    }
  }
  [[nodiscard]] std::vector<std::string> answers(engine& model) const {
    std::vector<std::string> out;
    const generate_options greedy{.max_tokens = 64, .sampling = {.temperature = 0}};
    for (const auto& replies : model.generate(prompts, {}, greedy, [](const token_event&) { return true; }))
      out.push_back(replies[0].text);
    return out;
  }
};

fit_result fit_or_explain(engine& model, const run_settings& settings, std::vector<example> data,
                          example_stream* stream, listener& told) {
  try {
    return model.fit(settings.how, std::move(data), stream, settings.fit, told);
  } catch (const error& problem) {
    if (problem.code() != errc::not_finite) throw;
    throw std::runtime_error(problem.what());  // the course of the run, not the input: exit code 1
  }
}

/// The first rows of a stream, to look at; it stands at its beginning again.
std::vector<example> first_rows(example_stream& stream) {
  const auto start = stream.position();
  std::vector<example> out;
  for (index_t i = 0; i < std::min<index_t>(stream.rows(), 256); ++i) out.push_back(stream.next());
  stream.restore(start);
  return out;
}

void print_result(const json::object& result) {
  write_output("", [&](output& out) { out.line(result); });
}

/// Is one of the last tokens of a reply a control token, or one that ends a text? A line end may follow the end of a turn.
bool ends_a_turn(const example& e, const engine& model) {
  for (const reply& r : e.replies)
    for (std::size_t back = 1; back <= std::min<std::size_t>(3, r.tokens.size()); ++back) {
      const token_id id = r.tokens[r.tokens.size() - back];
      if (model.ends(id) || model.tokenizer().is_special(id)) return true;
    }
  return false;
}

int run_train(const arguments& given) {
  common_options common = read_common(given);
  const bool check = given.has("--check");
  const std::string started = utc_time();
  if (given.has("--resume") && given.text("--resume") != "auto")
    throw error(errc::bad_argument, "--resume",
                join("expected auto (the newest checkpoint in --out), found \"", given.text("--resume"), "\""));
  const fs::path folder = check ? given.text("--out") : given.required("--out");
  run_settings settings = read_settings(given, common);

  const auto model = open_model(settings.model, settings.adapter, common);
  if (!settings.teacher.empty()) open_teacher(*model, settings.teacher, common);
  if (settings.full)
    model->train_all();
  else if (settings.adapter.empty() && settings.prompt.count > 0)
    model->attach_prompt(settings.prompt);
  else if (settings.adapter.empty())
    model->attach_lora(settings.lora);
  else if (model->lora() != nullptr)
    settings.lora = *model->lora();
  else
    settings.prompt = *model->prompt();
  if ((needs_of(settings.how) & (need::reward | need::value)) != need::none && !model->has_score_head())
    model->attach_score_head(settings.fit.seed, !has(needs_of(settings.how), need::reward));
  if (!settings.chosen.contains("max_tokens"))
    settings.fit.max_tokens = std::min(settings.fit.max_tokens, model->positions());
  check_router_loss(settings.fit, model->config());
  if (settings.fit.max_tokens > model->positions())
    throw error(
        errc::bad_argument, "max_tokens",
        join("expected at most the model's ", model->positions(), " positions, found ", settings.fit.max_tokens));
  left_out skipped;
  const auto chat = find_chat(settings.model, settings.chat, "template");
  const read_options rows{.chat = chat ? &*chat : nullptr, .learn = settings.learn};
  settings.stream = draws_rows(settings);
  const auto stream = settings.stream ? open_sources(settings, *model, skipped, rows) : nullptr;
  auto data = stream ? first_rows(*stream) : read_sources(settings, *model, &skipped, rows);
  const index_t count = stream ? stream->rows() : static_cast<index_t>(data.size());
  if (chat && model->has_tokenizer() &&
      std::none_of(data.begin(), data.end(), [&](const example& e) { return ends_a_turn(e, *model); }))
    tell(
        common,
        "warning: no reply ends with a token that ends a text or a turn, so the model will not learn to stop; choose a "
        "template whose end this tokenizer knows as one token");
  if (!settings.eval_data.empty()) {
    std::vector<std::string> of_evaluation;
    settings.fit.eval_data =
        read_examples(settings.how, settings.eval_data, "eval_data", *model, &of_evaluation, settings.steps, rows);
    if (!of_evaluation.empty() && skipped.count == 0) skipped.first = of_evaluation.front();
    skipped.count += of_evaluation.size();
  }
  if (skipped.count > 0)
    tell(common, join("warning: ", skipped.count, skipped.count == 1 ? " row has" : " rows have",
                      " the same reply as chosen and as rejected",
                      has(needs_of(settings.how), need::target) ? " or no rating" : "",
                      " and will be left out; the first is ", skipped.first));
  shorten(data, settings.fit.max_tokens);  // complains about prompts that are too long before anything is written
  shorten(settings.fit.eval_data, settings.fit.max_tokens);
  if (const distill* how = distillation_of(settings.how)) {
    run_rows all{.data = std::move(data), .held_out = std::move(settings.fit.eval_data)};
    settle_teacher(name_of(settings.how), how->top_k, !settings.teacher.empty(), all, model->config().vocabulary);
    data = std::move(all.data), settings.fit.eval_data = std::move(all.held_out);
  }
  if (settings.density_ratio && stream)
    throw error(errc::bad_argument, "density_ratio",
                "compares all prompts with one another, and rows that are drawn from disk are never there together; "
                "leave it out, or read one file into memory");
  if (settings.density_ratio) model->weigh_prompts(data, settings.fit.eval_data, settings.fit.seed);
  const index_t per_step = stream ? plan_streamed(count, settings.fit).per_step
                                  : plan_run(std::span<const example>(data), settings.fit).per_step;
  if (has(needs_of(settings.how), need::divergence))
    run_rows{.data = data, .held_out = settings.fit.eval_data}.mismatch(per_step);
  if (check)
    return check_run(*model, settings, common, std::move(data), stream ? count : 0, std::move(settings.fit.eval_data)),
           0;
  if (!settings.adapter.empty() && has(needs_of(settings.how), need::reference))
    tell(common,
         "note: the reference is the model without the adapter; to hold the run to the adapter as it is now, merge it "
         "into the model first (plumb merge)");

  const json::object resolved = settings.describe(common);
  settings.fit.folder = folder;
  settings.fit.resume = given.has("--resume");
  if (prepare_folder(folder, resolved, {settings.fit.resume, given.has("--overwrite")})) {
    tell(common, join("the run in ", folder.string(), " is complete; there is nothing to resume"));
    print_result({{"complete", true}, {"out", folder.string()}});
    return 0;
  }
  write_settings(folder, resolved);
  check_interruption();

  run_summary summary;
  summary.started = started;
  summary.threads = common.threads > 0 ? common.threads : static_cast<index_t>(std::thread::hardware_concurrency());
  const auto& seen = settings.fit.eval_data.empty() ? data : settings.fit.eval_data;
  const showcase shown(says_scores(settings.how) ? std::vector<example>() : seen, *model);
  progress bar(common.quiet);
  bar.wait("sampling replies, to compare with later ones");
  const auto before = shown.answers(*model);
  bar.note(join(name_of(settings.how), ": ", count, " rows, ", model->trainable_count(), " trainable of ",
                model->parameter_count() + (settings.full ? 0 : model->trainable_count()), " numbers"));
  bar.wait(has(needs_of(settings.how), need::reference)
               ? stream ? "first step" : "scoring all replies with the reference"
               : "first step");
  follower told(folder, bar);
  const fit_result result =
      fit_or_explain(*model, settings, stream ? std::vector<example>() : std::move(data), stream.get(), told);
  if (result.cancelled) {
    bar.note(join("interrupted after step ", result.steps, "; the same command with --resume auto goes on from ",
                  told.saved().string()));
    return 130;
  }

  if (settings.full)
    model->save_model(folder / "model");
  else
    model->save_adapter(folder);
  const auto after = shown.answers(*model);
  for (std::size_t i = 0; i < before.size(); ++i)
    summary.samples.push_back({model->tokenizer().decode(shown.prompts[i], true), before[i], after[i], {}, {}});
  summary.seconds = result.seconds;
  summary.tokens = result.tokens;
  write_documents(folder, settings, resolved, common, summary);
  bar.note(join("written to ", folder.string(), ": ", settings.full ? "model/" : "the adapter",
                ", log.jsonl, report.html, README.md"));
  print_result({{"steps", result.steps},
                {"loss", result.loss},
                {"seconds", result.seconds},
                {"tokens", result.tokens},
                {"out", folder.string()}});
  return 0;
}

}  // namespace

const command train_command{
    "train",
    "METHOD",
    "Trains a model on a file of rows: an adapter, a log, a report, checkpoints.",
    "METHOD is an objective (plumb objectives). Rows of sft: {\"prompt\": s, \"completion\": s}, {\"text\": s}, "
    "{\"messages\": [..]} or Alpaca's keys; of dpo and\n"
    "other objectives on pairs: {\"prompt\": s, \"chosen\": s, \"rejected\": s}; ids in place of texts: prompt_ids, "
    "completion_ids, chosen_ids,\n"
    "rejected_ids. kto, bco and apo_zero_unpaired learn from {\"prompt\": s, \"completion\": s, \"label\": true}, ppo, "
    "grpo and their kin from\n"
    "{\"prompt\": s, \"completion\": s, \"advantage\": x}, rankings are {\"prompt\": s, \"completions\": [best, .., "
    "worst]}. A reward model learns from pairs (reward), from {\"prompt\": s, \"completion\": s, \"rating\": x} "
    "(reward_regression) or\n"
    "from {\"prompt\": s, \"completions\": [step, ..], \"labels\": [true, ..]} (process_reward); its score head is "
    "saved with "
    "the adapter.\n"
    "DIR gets the adapter as PEFT keeps it, log.jsonl, config.json, report.html, README.md and "
    "checkpoints. Ctrl-C stops\n"
    "after the step, with a checkpoint to resume from.\n\n"
    "Settings (--set, or keys of --config): rate, epochs, steps, batch, accumulate, warmup, batch_tokens, schedule "
    "(linear, cosine, "
    "constant),\n"
    "weight_decay, clip_norm, neftune, router_loss, recompute_blocks, density_ratio, reference_sync, reference_share, "
    "max_tokens, rank, "
    "alpha, "
    "dropout, targets "
    "(q_proj,v_proj or a regular expression),\nrank_stabilised, dora, init (true, gaussian, false, pissa, olora), "
    "pissa_iterations, biases (none, lora_only, all),\nmodules_to_save (embed_tokens,lm_head), trainable_tokens (their "
    "ids), lora_plus_ratio; virtual_tokens and prefix instead of LoRA; seed, "
    "eval_data,\n"
    "eval_every, save_every, log_every, template (of rows with messages: a Jinja file or chatml, zephyr ..),\ntokens "
    "(which are learnt: completion, assistant, all), the objective's own parameters, and also=0.2*NAME to add another "
    "objective.",
    "  plumb train dpo --model stories260k/hf --data preference/instruction-data-with-preference.json --out run --set "
    "steps=20 batch=4 max_tokens=256",
    {{"--model", "MODEL", "a Hugging Face folder"},
     positions_option,
     {"--data", "F", "the rows to learn from: JSON Lines, or a JSON array; several files as F, F:SHARE or F@STAGE",
      option::many},
     {"--stream", "", "draw rows from disk while the run goes on, for data that does not fit in memory"},
     {"--shuffle-buffer", "N", "rows of each file that wait to be drawn in random order (10000); 1: the file's order"},
     {"--mix-temperature", "T", "from 1: large and small files come more alike"},
     {"--mix-cap", "K", "rows of a file that count for its rate"},
     {"--stage-rows", "N,..", "rows of each stage"},
     {"--out", "DIR", "a new folder for the results"},
     {"--teacher", "MODEL",
      "the model that distill learns from, of the same vocabulary; rows may bring its words instead"},
     {"--adapter", "ADAPTER", "go on training this PEFT folder instead of a new adapter"},
     {"--full", "", "train all weights; DIR/model gets a model folder"},
     {"--config", "C", "settings as a JSON object, such as the config.json of another run"},
     {"--set", "KEY=VALUE", "a setting; stronger than --config", option::many_words},
     {"--check", "", "show the first rows as tokens and forecast time, memory and disk; do not train"},
     {"--resume", "auto", "go on from the newest checkpoint in DIR, if there is one"},
     {"--overwrite", "", "replace the run that DIR holds"}},
    run_train};

}  // namespace program

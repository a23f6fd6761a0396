// SPDX-License-Identifier: BSL-1.0
// plumb score: log-probabilities of given tokens.
#include "chat.hpp"
#include "commands.hpp"
#include "input.hpp"
#include "output.hpp"
#include "token_rows.hpp"

#include <cmath>

namespace program {

namespace {

json::object scored_row(const token_scores& scores) {
  json::object out;
  double sum = 0;
  for (const double x : scores.logp) sum += x;
  out["logp"] = list(scores.logp);
  if (!scores.entropy.empty()) out["entropy"] = list(scores.entropy);
  out["sum"] = sum;
  out["mean"] = sum / static_cast<double>(scores.logp.size());
  out["tokens"] = scores.logp.size();
  if (!std::isnan(scores.reward)) out["reward"] = scores.reward;
  return out;
}

int run_score(const arguments& given) {
  const common_options common = read_common(given);
  const auto model = open_model(given, common);
  const auto chat = find_chat(given.required("--model"), given.text("--template"), "--template");
  const bool entropy = given.has("--entropy");
  write_output(given.text("--out"), [&](output& out) {
    std::vector<scored_tokens> waiting;
    std::vector<std::string> adapters;
    std::size_t tokens = 0;
    const auto score_waiting = [&] {
      if (waiting.empty()) return;
      for (const auto& scores : model->score(waiting, adapters, entropy)) out.line(scored_row(scores));
      out.flush();
      waiting.clear(), adapters.clear();
      tokens = 0;
    };
    read_rows(
        given,
        [&](const json::object& row, const std::string& place) {
          waiting.push_back(read_scored(row, *model, place, chat ? &*chat : nullptr));
          adapters.push_back(read_adapter_name(row, *model, place));
          tokens += waiting.back().ids.size();
          if (tokens >= 8192) score_waiting();
        },
        score_waiting);
  });
  return 0;
}

}  // namespace

const command score_command{
    "score",
    "",
    "Log-probabilities of given tokens, in nats.",
    "Rows: {\"text\": s}, or {\"prompt\": s, \"completion\": s}, or {\"ids\": [..], \"from\": k}; prompt_ids and "
    "completion_ids in place of\n"
    "texts, or lists of messages, {\"role\", \"content\"}. A text is scored from its second token on, a completion "
    "from its first, ids from position `from` (1 when "
    "left out).\n"
    "Results: {\"logp\": [per scored token], \"sum\": x, \"mean\": x, \"tokens\": n}, and with the adapter of a reward "
    "model \"reward\": x, its\nscore at the last token.",
    "  echo '{\"prompt\": \"Once upon a time\", \"completion\": \", there was a dog.\"}' | plumb score --model "
    "stories260k/hf --in -",
    {{"--model", "MODEL", "a Hugging Face folder"},
     {"--adapter", "ADAPTER",
      "a PEFT folder to put on the model; several as NAME=FOLDER, and rows choose one with \"adapter\": NAME",
      option::many},
     positions_option,
     {"--template", "F",
      "how messages are written: a Jinja file or chatml, zephyr ..; else by the model's own template"},
     {"--in", "F", "rows to score; - is standard input"},
     {"--out", "F", "where results go, instead of standard output"},
     {"--entropy", "", "also \"entropy\": [..], of the distribution that each token was drawn from"}},
    run_score};

}  // namespace program

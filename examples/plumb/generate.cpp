// SPDX-License-Identifier: BSL-1.0
// plumb generate: replies to prompts, sampled or greedy.
#include "commands.hpp"
#include "input.hpp"
#include "output.hpp"
#include "token_rows.hpp"

#include <plumb/core/random.hpp>

namespace program {

namespace {

generate_options read_options(const arguments& given, const common_options& common) {
  generate_options out;
  out.max_tokens = given.whole("--max-tokens", 128, 1);
  out.samples = given.whole("--samples", 1, 1);
  out.stop = given.all("--stop");
  out.sampling.temperature = given.number("--temperature", 1);
  out.sampling.top_k = given.whole("--top-k", 0, 0);
  out.sampling.top_p = given.number("--top-p", 1);
  out.sampling.min_p = given.number("--min-p", 0);
  out.sampling.seed = common.seed;
  out.sampling.check();
  if (given.whole("--beams", 1, 1) > 1)
    throw error(errc::unsupported, "--beams",
                "beam search is not in this version; leave it out, or use --temperature 0 for the most probable token "
                "each time");
  return out;
}

json::object generated_row(const generated& reply, bool with_text) {
  json::object out;
  if (with_text) out["completion"] = reply.text;
  out["ids"] = list(reply.tokens);
  out["logp"] = list(reply.logp);
  out["finish"] = reply.stopped ? "stop" : "length";
  return out;
}

int run_generate(const arguments& given) {
  const common_options common = read_common(given);
  const generate_options options = read_options(given, common);
  const auto model = open_model(given.required("--model"), given.text("--adapter"), common);
  if (!options.stop.empty()) (void)model->tokenizer();  // stop strings are text
  constexpr std::size_t together = 32;
  write_output(given.text("--out"), [&](output& out) {
    std::vector<std::vector<token_id>> waiting;
    std::uint64_t group = 0;
    const auto answer = [&] {
      if (waiting.empty()) return;
      // A reply depends on the seed and on its row's number alone: groups are cut at fixed rows, each with its own key.
      generate_options own = options;
      if (group > 0) own.sampling.seed = derive_key(options.sampling.seed, group);
      for (const auto& replies : model->generate(waiting, own))
        for (const generated& reply : replies) out.line(generated_row(reply, model->has_tokenizer()));
      out.flush();
      if (waiting.size() == together) ++group;
      waiting.clear();
    };
    read_rows(
        given,
        [&](const json::object& row, const std::string& place) {
          waiting.push_back(read_prompt(row, *model, place));
          if (waiting.size() == together) answer();
        },
        [&] {
          if (options.sampling.temperature == 0) answer();  // nothing is drawn, so groups may be cut anywhere
        });
    answer();
  });
  return 0;
}

}  // namespace

const command generate_command{
    "generate",
    "",
    "Replies to prompts.",
    "Rows: {\"prompt\": s} or {\"ids\": [..]}. Results, one row per sample: {\"completion\": s, \"ids\": [..], "
    "\"logp\": [..],\n"
    "\"finish\": \"stop\" or \"length\"}. ids holds the end-of-text token if one ended the reply; logp is the model's "
    "own, in nats,\n"
    "whatever the temperature. The same seed gives the same replies.",
    "  echo '{\"prompt\": \"Once upon a time\"}' | plumb generate --model stories260k/hf --in - --max-tokens 40 "
    "--temperature 0",
    {{"--model", "MODEL", "a Hugging Face folder"},
     {"--adapter", "ADAPTER", "a PEFT folder to put on the model"},
     {"--in", "F", "prompts; - is standard input"},
     {"--out", "F", "where replies go, instead of standard output"},
     {"--max-tokens", "N", "longest reply (default 128)"},
     {"--temperature", "X", "divides the logits (default 1); 0: always the most probable token"},
     {"--top-k", "N", "sample among the N most probable tokens; 0, the default: all"},
     {"--top-p", "X", "sample among the most probable tokens that hold this share (default 1)"},
     {"--min-p", "X", "leave out tokens below this share of the most probable one (default 0)"},
     {"--samples", "N", "replies per prompt (default 1)"},
     {"--stop", "S", "end a reply before this text; may be given several times", option::many},
     {"--beams", "N", "beam search: not in this version"}},
    run_generate};

}  // namespace program

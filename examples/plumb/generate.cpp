// SPDX-License-Identifier: BSL-1.0
// plumb generate: replies to prompts, sampled, greedy or by beam search.
#include "chat.hpp"
#include "commands.hpp"
#include "input.hpp"
#include "output.hpp"
#include "token_rows.hpp"

#include <plumb/text/running_text.hpp>

#include <map>
#include <utility>

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
  out.sampling.repetition_penalty = given.number("--repetition-penalty", 1);
  out.sampling.presence_penalty = given.number("--presence-penalty", 0);
  out.sampling.frequency_penalty = given.number("--frequency-penalty", 0);
  out.sampling.check();
  return out;
}

/// Beam search draws nothing, so what shapes a draw does not go with it.
beam_options read_beams(const arguments& given, const generate_options& options) {
  if (options.sampling.temperature != 0 && options.sampling.temperature != 1)
    throw error(errc::bad_argument, "--temperature", "does not go with --beams, which draws nothing");
  for (const char* other :
       {"--top-k", "--top-p", "--min-p", "--stop", "--repetition-penalty", "--presence-penalty", "--frequency-penalty"})
    if (given.has(other))
      throw error(errc::bad_argument, other, "does not go with --beams, which looks for the most probable reply");
  beam_options out;
  out.beams = given.whole("--beams", 4, 1);
  out.replies = options.samples;
  out.max_tokens = options.max_tokens;
  out.length_penalty = given.number("--length-penalty", 1);
  out.check();
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

/// Writes a row for every token as it is drawn.
class token_stream {
 public:
  token_stream(output& out, const engine& model) : out_(out), model_(model) {}

  /// `number`: the prompt's among all rows.
  void write(const token_event& e, std::uint64_t number) {
    json::object row{
        {"row", number}, {"sample", e.sample}, {"id", e.reply.tokens.back()}, {"logp", e.reply.logp.back()}};
    if (model_.has_tokenizer())
      row["text"] = texts_.try_emplace({number, e.sample}, model_.tokenizer()).first->second.add(e.reply.tokens.back());
    out_.line(row);
    out_.flush();
  }
  void forget() { texts_.clear(); }

 private:
  output& out_;
  const engine& model_;
  std::map<std::pair<std::uint64_t, std::size_t>, running_text> texts_;
};

int run_generate(const arguments& given) {
  const common_options common = read_common(given);
  const generate_options options = read_options(given, common);
  const auto model = open_model(given, common);
  const auto chat = find_chat(given.required("--model"), given.text("--template"), "--template");
  if (!options.stop.empty()) (void)model->tokenizer();  // stop strings are text
  const bool beams = given.has("--beams");
  if (!beams && given.has("--length-penalty")) throw error(errc::bad_argument, "--length-penalty", "needs --beams N");
  const beam_options searched = beams ? read_beams(given, options) : beam_options{};
  const bool stream = given.has("--stream");
  if (beams && stream)
    throw error(errc::bad_argument, "--stream", "does not go with --beams: a beam may yet be dropped");
  constexpr std::size_t together = 32;
  write_output(given.text("--out"), [&](output& out) {
    std::vector<std::vector<token_id>> waiting;
    std::vector<std::string> adapters;
    generate_options own = options;  // a reply depends on the seed and its row's number, not on where groups are cut
    std::size_t groups = 0;
    token_stream tokens(out, *model);
    const auto listen = [&](const token_event& e) {
      if (stream) tokens.write(e, own.first_prompt + e.prompt);
      return true;
    };
    const auto answer = [&] {
      if (waiting.empty()) return;
      if (++groups == 2) model->keep_copies();  // there may be many more
      for (const auto& replies :
           beams ? model->beam_search(waiting, adapters, searched) : model->generate(waiting, adapters, own, listen))
        for (const generated& reply : replies) out.line(generated_row(reply, model->has_tokenizer()));
      out.flush();
      tokens.forget();
      own.first_prompt += waiting.size();
      waiting.clear(), adapters.clear();
    };
    read_rows(
        given,
        [&](const json::object& row, const std::string& place) {
          waiting.push_back(read_prompt(row, *model, place, chat ? &*chat : nullptr));
          adapters.push_back(read_adapter_name(row, *model, place));
          if (waiting.size() == together) answer();
        },
        answer);
    answer();
  });
  return 0;
}

}  // namespace

const command generate_command{
    "generate",
    "",
    "Replies to prompts.",
    "Rows: {\"prompt\": s or messages} or {\"ids\": [..]}. Results, one row per sample: {\"completion\": s, \"ids\": "
    "[..], "
    "\"logp\": [..],\n"
    "\"finish\": \"stop\" or \"length\"}. ids holds the end-of-text token if one ended the reply; logp is the model's "
    "own, in nats,\n"
    "whatever the temperature. The same seed gives the same replies.\n"
    "--stream writes a row for every token as it is drawn, too:\n"
    "{\"row\": prompt, \"sample\": n, \"id\": token, \"logp\": x, \"text\": what it adds}.",
    "  echo '{\"prompt\": \"Once upon a time\"}' | plumb generate --model stories260k/hf --in - --max-tokens 40 "
    "--temperature 0",
    {{"--model", "MODEL", "a Hugging Face folder"},
     {"--adapter", "ADAPTER",
      "a PEFT folder to put on the model; several as NAME=FOLDER, and rows choose one with \"adapter\": NAME",
      option::many},
     positions_option,
     {"--template", "F",
      "how messages are written: a Jinja file or chatml, zephyr ..; else by the model's own template"},
     {"--in", "F", "prompts; - is standard input"},
     {"--out", "F", "where replies go, instead of standard output"},
     {"--max-tokens", "N", "longest reply (default 128)"},
     {"--temperature", "X", "divides the logits (default 1); 0: always the most probable token"},
     {"--top-k", "N", "sample among the N most probable tokens; 0, the default: all"},
     {"--top-p", "X", "sample among the most probable tokens that hold this share (default 1)"},
     {"--min-p", "X", "leave out tokens below this share of the most probable one (default 0)"},
     {"--samples", "N", "replies per prompt (default 1)"},
     {"--stop", "S", "end a reply before this text; may be given several times", option::many},
     {"--repetition-penalty", "X", "divides the logits of tokens seen in prompt or reply (default 1)"},
     {"--presence-penalty", "X", "subtracted from the logits of tokens of the reply (default 0)"},
     {"--frequency-penalty", "X", "the same, once for each time that the token occurred (default 0)"},
     {"--stream", "", "a row for every token as it is drawn, before those of the replies"},
     {"--beams", "N", "search for the most probable replies with N beams, instead of drawing; --samples: how many"},
     {"--length-penalty", "X", "with --beams: replies count log p / tokens^X (default 1)"}},
    run_generate};

}  // namespace program

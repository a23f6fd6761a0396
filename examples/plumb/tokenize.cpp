// SPDX-License-Identifier: BSL-1.0
// plumb tokenize: text to token ids and back.
#include "commands.hpp"
#include "input.hpp"
#include "output.hpp"

#include <plumb/text/tokenizer.hpp>

#include <filesystem>

namespace program {

namespace {

tokenizer open_tokenizer(const std::string& path) {
  std::error_code failed;
  if (!std::filesystem::exists(path, failed))
    throw error(errc::not_found, "--model",
                join("there is no folder or file \"", path,
                     "\"; give a model folder, a tokenizer.json, tokenizer.model, .tiktoken or GGUF file"));
  return tokenizer::load(path);
}

int run_tokenize(const arguments& given) {
  (void)read_common(given);
  const tokenizer words = open_tokenizer(given.required("--model"));
  const bool decode = given.has("--decode"), special = given.has("--special");
  write_output(given.text("--out"), [&](output& out) {
    read_rows(
        given,
        [&](const json::object& row, const std::string& place) {
          json::object result;
          if (decode) {
            check_keys(row, {"ids"}, place);
            const auto ids = json::get<std::vector<token_id>>(row, "ids", place);
            for (const token_id id : ids)
              if (id < 0 || id >= words.size())
                throw error(errc::bad_data, place,
                            join("token id ", id, " lies outside the vocabulary of ", words.size(), " tokens"));
            result["text"] = words.decode(ids, !special);
          } else {
            check_keys(row, {"text"}, place);
            result["ids"] = list(words.encode(json::get<std::string>(row, "text", place), special));
          }
          out.line(result);
        },
        [&] { out.flush(); });
  });
  return 0;
}

}  // namespace

const command tokenize_command{
    "tokenize",
    "",
    "Text to token ids, or back.",
    "Rows: {\"text\": s} to {\"ids\": [..]}; with --decode the other way. Special tokens that a text spells out, such "
    "as </s>, become\n"
    "their ids either way, as in transformers; --special adds those that belong around a text, and keeps them when "
    "decoding.",
    "  echo '{\"text\": \"Once upon a time\"}' | plumb tokenize --model stories260k/hf --in -",
    {{"--model", "MODEL", "a Hugging Face folder, tokenizer.json, tokenizer.model, .tiktoken or GGUF file"},
     {"--in", "F", "rows; - is standard input"},
     {"--out", "F", "where results go, instead of standard output"},
     {"--decode", "", "from ids to text"},
     {"--special", "", "add special tokens; with --decode, keep them"}},
    run_tokenize};

}  // namespace program

// SPDX-License-Identifier: BSL-1.0
// Rows of files become examples: every form, every complaint.
#include <plumb/data/stream.hpp>
#include <plumb/text/train_bpe.hpp>

#include <range/v3/range/conversion.hpp>
#include <range/v3/view/concat.hpp>
#include <range/v3/view/filter.hpp>
#include <range/v3/view/take.hpp>

#include "catch.hpp"
#include "failures.hpp"
#include "support.hpp"

using namespace plumb;
using Catch::Matchers::Contains;
using plumb_test::message_of;

namespace {

/// A tokenizer of bytes: one token a byte, ids 0 … 255 in the byte alphabet's order, and an end token.
tokenizer bytes() {
  const std::vector<std::string> nothing;
  return train_bpe(nothing, 257, {"<|eos|>"});
}

using ids = std::vector<token_id>;

struct files {
  plumb_test::temporary_folder folder;
  std::filesystem::path write(std::string_view text) const {
    plumb_test::write_file(folder / "rows.jsonl", text);
    return folder / "rows.jsonl";
  }
};

}  // namespace

TEST_CASE("preferences in every form", "[data]") {
  const files f;
  auto words = bytes();
  words.set_eos(*words.id_of("<|eos|>"));
  const auto end = *words.eos();
  const auto rows = read_pairs(f.write(R"({"prompt": "ab", "chosen": "c", "rejected": "d", "margin": 0.5}

{"chosen": "xyA", "rejected": "xyBB"}
{"prompt_ids": [1, 2], "chosen_ids": [3], "rejected_ids": [4, 5], "ref_chosen": -1.5}
{"instruction": "Do it", "chosen": "yes", "rejected": "no"}
)"),
                               words);
  REQUIRE(rows.size() == 4);
  const auto text = [&](std::string_view s) { return words.encode(s, false); };
  CHECK(rows[0].prompt == text("ab"));
  CHECK(rows[0].replies[0].tokens == ids{text("c")[0], end});
  CHECK(rows[0].margin == 0.5);
  CHECK(rows[0].place == (f.folder / "rows.jsonl").string() + ":1");
  CHECK(rows[1].prompt == text("xy"));
  CHECK(rows[1].replies[1].tokens.size() == 3);
  CHECK(rows[1].place.ends_with(":3"));
  CHECK(rows[2].replies[1].tokens == ids{4, 5});  // ids are taken as they are: nothing is added
  CHECK(rows[2].replies[0].reference == -1.5);
  CHECK(std::isnan(rows[2].replies[1].reference));
  CHECK(words.decode(rows[3].prompt).find("### Instruction:\nDo it\n\n### Response:\n") != std::string::npos);
  const auto open = read_pairs(f.write(R"({"prompt": "ab", "chosen": "c", "rejected": "d"})"), words, {.end = false});
  CHECK(open[0].replies[0].tokens == text("c"));
}

TEST_CASE("demonstrations in every form, and JSON arrays", "[data]") {
  const files f;
  const auto words = bytes();
  const auto rows =
      read_demonstrations(f.write(R"([{"prompt": "ab", "completion": "c"}, {"text": "hello"}, {"ids": [7, 8, 9]},
 {"prompt_ids": [1], "completion_ids": [2, 3]}, {"instruction": "i", "input": "n", "output": "o"}])"),
                          words);
  REQUIRE(rows.size() == 5);
  CHECK(rows[0].replies.size() == 1);
  CHECK(rows[1].prompt.empty());
  CHECK(rows[1].replies[0].tokens.size() >= 5);
  CHECK(rows[2].replies[0].tokens == ids{7, 8, 9});
  CHECK(rows[3].prompt == ids{1});
  CHECK(words.decode(rows[4].prompt).find("### Input:\nn") != std::string::npos);
  CHECK(read_demonstrations(f.folder / "rows.jsonl", words, {.limit = 2}).size() == 2);
}

TEST_CASE("rows that cannot be used are named with file, line and cure", "[data][bad input]") {
  const files f;
  const auto words = bytes();
  const auto complaint = [&](std::string_view text) {
    return message_of([&] { (void)read_pairs(f.write(text), words); });
  };
  CHECK_THAT(complaint("{\"prompt\": \"a\", \"chosen\": \"b\", \"rejected\": \"c\"}\n{\"prompt\": \"a\", \"chosen\": "),
             Contains(":2"));
  CHECK_THAT(complaint("{\"prompt\": \"a\", \"chosn\": \"b\", \"rejected\": \"c\"}"),
             Contains(":1") && Contains("chosn") && Contains("expected"));
  CHECK_THAT(complaint("{\"prompt\": \"a\", \"chosen\": 3, \"rejected\": \"c\"}"),
             Contains("chosen") && Contains("string"));
  CHECK_THAT(complaint("{\"prompt\": \"a\", \"chosen\": \"\", \"rejected\": \"c\"}"), Contains("empty"));
  CHECK_THAT(complaint("{\"prompt\": \"a\", \"chosen\": \"c\", \"rejected\": \"c\"}"), Contains("same"));
  CHECK_THAT(complaint("{\"prompt_ids\": [1.5], \"chosen_ids\": [1], \"rejected_ids\": [2]}"), Contains("integer"));
  CHECK_THAT(complaint("{\"prompt\": [{\"role\": \"user\"}], \"chosen\": \"c\", \"rejected\": \"d\"}"),
             Contains("template"));
  CHECK_THAT(complaint("\n\n"), Contains("no rows"));
  CHECK_THAT(complaint("[1, 2]"), Contains("object"));
  CHECK_THAT(message_of([&] { (void)read_pairs(f.folder / "absent.jsonl", words); }), Contains("absent.jsonl"));
  CHECK_THAT(message_of([&] {
               (void)parse_pair(json::parse(R"({"prompt": "a", "chosen": "b", "rejected": "c"})", "x"), "x:1", nullptr);
             }),
             Contains("no tokenizer"));
}

TEST_CASE("a stream parses what is asked for and no more", "[data]") {
  const files f;
  const auto words = bytes();
  // The third line is broken: a stream that stops before it never sees it.
  const auto path = f.write("{\"ids\": [1, 2, 3]}\n{\"ids\": [4, 5]}\nbroken\n{\"ids\": [6, 7]}\n");
  const auto two = stream_demonstrations(path, words) | ranges::views::take(2) | ranges::to<std::vector>();
  REQUIRE(two.size() == 2);
  CHECK(two[1].replies[0].tokens == ids{4, 5});
  CHECK_THAT(message_of([&] { (void)(stream_demonstrations(path, words) | ranges::to<std::vector>()); }),
             Contains(":3"));
  const auto good = f.write("{\"ids\": [1, 2, 3]}\n\n{\"ids\": [4, 5]}\n");
  const auto long_ones = stream_demonstrations(good, words) |
                         ranges::views::filter([](const example& e) { return e.replies[0].tokens.size() > 2; }) |
                         ranges::to<std::vector>();
  CHECK(long_ones.size() == 1);
}

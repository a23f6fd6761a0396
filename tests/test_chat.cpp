// SPDX-License-Identifier: BSL-1.0
// Conversations as tokens against transformers (tests/golden/make_chat.py), and rows with messages as examples.
#include <plumb/data/messages.hpp>
#include <plumb/data/read_ranked.hpp>
#include <plumb/data/read_trees.hpp>
#include <plumb/data/read_unpaired.hpp>
#include <plumb/io/file.hpp>
#include <plumb/rollout/batch.hpp>
#include <plumb/text/chat_template.hpp>

#include "catch.hpp"
#include "failures.hpp"
#include "support.hpp"

using namespace plumb;
using Catch::Matchers::Contains;
using plumb_test::message_of;

namespace {

using ids = std::vector<token_id>;

struct golden {
  std::filesystem::path folder = plumb_test::repository() / "tests/golden/chat";
  tokenizer words = tokenizer::load(folder);
  json::value file = json::parse_file(folder / "cases.json");

  [[nodiscard]] const json::object& top() const { return file.as_object(); }
  [[nodiscard]] chat_template chat(std::string_view name) const {
    return chat_template::from_text(json::get<std::string>(top().at("templates").as_object(), name, "test"), name)
        .with_special_tokens_of(folder);
  }
  [[nodiscard]] const json::array& talk(std::string_view name) const {
    return json::find(top().at("talks").as_object(), name)->as_array();
  }
  [[nodiscard]] std::string learnt(const ids& tokens, const std::vector<bool>& mask) const {
    ids kept;
    for (std::size_t i = 0; i < tokens.size(); ++i)
      if (mask[i]) kept.push_back(tokens[i]);
    return words.decode(kept);
  }
};

std::string text(const json::object& o, std::string_view key) { return json::get<std::string>(o, key, "test"); }

}  // namespace

TEST_CASE("conversations become the tokens that transformers makes", "[chat]") {
  const golden g;
  int masks = 0;
  for (const json::value& each : g.top().at("cases").as_array()) {
    const auto& c = each.as_object();
    const std::string name = text(c, "template"), talk = text(c, "talk");
    CAPTURE(name, talk);
    const chat_template chat = g.chat(name);
    const rendered_chat rendered = chat.render(g.talk(talk));
    CHECK(rendered.text == text(c, "text"));
    CHECK(chat.text(g.talk(talk), {}) == rendered.text);
    const chat_tokens tokens = chat.tokens(rendered, g.words);
    CHECK(tokens.ids == json::get<ids>(c, "ids", "test"));  // no second <s>
    if (json::find(c, "mask") != nullptr) {
      const auto mask = json::get<std::vector<int>>(c, "mask", "test");
      CHECK(std::vector<int>(tokens.assistant.begin(), tokens.assistant.end()) == mask);
      ++masks;
    }
    CHECK_FALSE(warn_of_endless_replies(tokens, g.words));
    // A prompt and a completion, as TRL takes them apart.
    json::array prompt = g.talk(talk);
    const json::array reply{prompt.back()};
    prompt.pop_back();
    const json::value row = json::object{{"prompt", prompt}, {"completion", reply}};
    const example e = parse_demonstration(row, "f:1", &g.words, {.chat = &chat});
    CHECK(g.words.decode(e.prompt) + g.words.decode(e.replies[0].tokens) == text(c, "prompt") + text(c, "completion"));
    if (name == "ended" && talk != "thought") continue;  // a token with a blank before the reply belongs to the reply
    CHECK(g.words.decode(e.replies[0].tokens) == text(c, "completion"));
    CHECK(e.prompt == json::get<ids>(c, "prompt_ids", "test"));
  }
  CHECK(masks == 3);
}

TEST_CASE("the assistant's text without generation marks", "[chat]") {
  const golden g;
  const auto said = [&](std::string_view name, std::string_view talk) {
    const chat_template chat = g.chat(name);
    CHECK(chat.marks_assistant() == (name == "marked"));
    const rendered_chat r = chat.render(g.talk(talk));
    std::string out;
    for (const chat_span& s : r.assistant) out += "[" + r.text.substr(s.begin, s.end - s.begin) + "]";
    return out;
  };
  CHECK(said("marked", "turns") == "[It is four.<|im_end|>][hello 你好 😀!<|im_end|>]");
  CHECK(said("plain", "turns") == "[It is four.<|im_end|>\n][hello 你好 😀!<|im_end|>\n]");
  // The whole ends differently from its beginnings, and earlier turns are written anew.
  CHECK(said("ended", "turns") == "[It is four.<|end|>\n][hello 你好 😀!<|end|>\n<|im_end|>]");
  CHECK(said("stripped", "thought") == "[b<|im_end|>][<think>so</think>d<|im_end|>\n]");
}

TEST_CASE("the templates of a model folder", "[chat]") {
  const golden g;
  const auto chat = chat_template::find(g.folder);
  REQUIRE(chat);
  const auto& tools = g.top().at("tools").as_object();
  const json::object variables{{"tools", tools.at("tools")}};
  CHECK(chat->text(g.talk("one"), variables) == text(tools, "text"));
  CHECK(chat->encode(text(tools, "text"), g.words) == json::get<ids>(tools, "ids", "test"));
  CHECK(chat->text(g.talk("one"), {}) == g.chat("marked").text(g.talk("one"), {}));

  const plumb_test::temporary_folder folder;
  CHECK_FALSE(chat_template::find(folder.path()));
  CHECK_THAT(message_of([&] { (void)chat_template::load(folder.path()); }), Contains("template=chatml"));
  plumb_test::write_file(folder / "tokenizer_config.json", R"({"bos_token": "<B>", "eos_token": {"content": "<E>"}})");
  CHECK_FALSE(chat_template::find(folder.path()));
  plumb_test::write_file(
      folder / "tokenizer_config.json",
      R"({"bos_token": "<B>", "eos_token": {"content": "<E>"}, "chat_template": "c{{ bos_token }}{{ eos_token }}"})");
  CHECK(chat_template::load(folder.path()).text(g.talk("one"), {}) == "c<B><E>");
  plumb_test::write_file(folder / "chat_template.jinja",
                         "j{{ bos_token }}{{ add_generation_prompt }}{{ pad_token }}\n");
  CHECK(chat_template::load(folder.path()).text(g.talk("one"), {}) == "j<B>False");
  CHECK(chat_template::load(folder.path()).text(g.talk("one"), {{"bos_token", "x"}, {"pad_token", "p"}}) == "jxFalsep");
  plumb_test::write_file(folder / "chat_template.jinja", "\n{{ bos_token");
  CHECK_THAT(message_of([&] { (void)chat_template::find(folder.path()); }),
             Contains("chat_template.jinja:2: {{ is never closed"));
}

TEST_CASE("thoughts reach the template by either name", "[chat]") {
  const auto chat =
      chat_template::from_text("{% for m in messages %}{{ m.thinking }}/{{ m.reasoning_content }};{% endfor %}");
  const auto talk =
      json::parse(R"([{"role": "a", "thinking": "x"}, {"role": "a", "reasoning": "y"}, {"role": "a", "content": "z"},
                                    {"role": "a", "reasoning_content": "w", "thinking": "v"}])");
  CHECK(chat.text(talk.as_array(), {}) == "x/x;y/y;/;v/w;");  // what transformers 5.23 renders
}

TEST_CASE("named formats as chat templates", "[chat]") {
  const golden g;
  const chat_template chat = chat_template::named("chatml");
  const rendered_chat r = chat.render(g.talk("one"), {});
  CHECK(r.text == "<|im_start|>user\nHello<|im_end|>\n<|im_start|>assistant\nOnce upon a time<|im_end|>\n");
  const chat_tokens tokens = chat.tokens(r, g.words);
  CHECK(tokens.ids.front() == *g.words.bos());  // the tokenizer's beginning, once
  CHECK(std::count(tokens.ids.begin(), tokens.ids.end(), *g.words.bos()) == 1);
  CHECK(g.learnt(tokens.ids, tokens.assistant) == "Once upon a time<|im_end|>");
  CHECK_FALSE(warn_of_endless_replies(tokens, g.words));
  CHECK_THAT(message_of([&] { (void)chat.text(g.talk("one"), {{"tools", json::array{1}}}); }),
             Contains("no place for tools"));
  // alpaca ends turns with </s>, a control token here, but vicuna's would be letters to a tokenizer without it.
  const chat_template letters =
      chat_template::from_text("{% for m in messages %}{{ m.role }}: {{ m.content }}END\n{% endfor %}");
  const auto warned = warn_of_endless_replies(letters.tokens(letters.render(g.talk("one")), g.words), g.words);
  REQUIRE(warned);
  CHECK_THAT(*warned, Contains("does not learn to stop"));
}

TEST_CASE("rows with messages", "[chat][data]") {
  const golden g;
  const chat_template chat = g.chat("marked");
  const auto read = [&](std::string_view row, const read_options& o) {
    return parse_demonstration(json::parse(row), "f:1", &g.words, o);
  };
  const auto masked = [&](const example& e) {
    const reply& r = e.replies[0];
    return g.learnt(r.tokens, r.mask.empty() ? std::vector<bool>(r.tokens.size(), true) : r.mask);
  };
  const std::string talk = R"({"messages": )" + json::dump(json::value(g.talk("turns"))) + "}";
  const ids whole = chat.tokens(chat.render(g.talk("turns")), g.words).ids;
  for (const learnt_part part :
       {learnt_part::usual, learnt_part::assistant, learnt_part::completion, learnt_part::all}) {
    const example e = read(talk, {.chat = &chat, .learn = part});
    CHECK(masked(e) == (part == learnt_part::completion ? "hello 你好 😀!<|im_end|>"
                        : part == learnt_part::all      ? g.words.decode(ids(whole.begin() + 1, whole.end()))
                                                        : "It is four.<|im_end|>hello 你好 😀!<|im_end|>"));
    ids again = e.prompt;
    again.insert(again.end(), e.replies[0].tokens.begin(), e.replies[0].tokens.end());
    CHECK(again == whole);  // in one pass
    // The records of a batch count the learnt tokens alone.
    training_batch batch;
    batch.assign(std::span(&e, 1));
    ids counted;
    const auto records = make_records<level::token>(batch);
    for (std::size_t i = 0; i < records.size(); ++i)
      if (records[i].mask) counted.push_back(batch.targets[i]);
    CHECK(g.words.decode(counted) == masked(e));
    if (part == learnt_part::usual)
      CHECK_THAT(message_of([&] { (void)make_records<level::sequence>(batch); }), Contains("mask"));
  }
  // ShareGPT's names, a text for a list, prompt and completion.
  CHECK(masked(read(R"({"conversations": [{"from": "human", "value": "Hello"}, {"from": "gpt", "value": "dog"}]})",
                    {.chat = &chat})) == "dog<|im_end|>");
  CHECK(masked(read(R"({"prompt": [{"role": "user", "content": "Hello"}], "completion": "dog"})", {.chat = &chat})) ==
        "dog<|im_end|>");
  const std::string two = R"({"prompt": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"},
      {"role": "user", "content": "c"}], "completion": [{"role": "assistant", "content": "d"}]})";
  CHECK(masked(read(two, {.chat = &chat})) == "d<|im_end|>");
  CHECK(masked(read(two, {.chat = &chat, .learn = learnt_part::assistant})) == "b<|im_end|>d<|im_end|>");
  // Plain texts with and without the prompt.
  CHECK(masked(read(R"({"prompt": "Once", "completion": " upon"})", {.end = false, .learn = learnt_part::all})) ==
        "<s>Once upon");
  CHECK_THAT(message_of([&] { read(R"({"text": "Once"})", {.learn = learnt_part::completion}); }),
             Contains("tokens=all"));

  // An objective on whole replies takes the last one.
  const std::string liked = talk.substr(0, talk.size() - 1) + R"(, "label": true})";
  const example one = parse_unpaired(json::parse(liked), "f:1", &g.words, {.chat = &chat});
  CHECK(one.replies[0].mask.empty());
  CHECK(g.words.decode(one.replies[0].tokens) == "hello 你好 😀!<|im_end|>");
}

TEST_CASE("preferences with messages", "[chat][data]") {
  const golden g;
  const chat_template chat = g.chat("plain");
  const auto read = [&](std::string_view row) {
    return parse_pair(json::parse(row), "f:1", &g.words, {.chat = &chat});
  };
  const std::string explicit_prompt = R"({"prompt": [{"role": "user", "content": "Hello"}],
      "chosen": [{"role": "assistant", "content": "dog"}], "rejected": [{"role": "assistant", "content": "cat"}], "margin": 2})";
  const std::string implicit_prompt =
      R"({"chosen": [{"role": "user", "content": "Hello"}, {"role": "assistant", "content": "dog"}],
      "rejected": [{"role": "user", "content": "Hello"}, {"role": "assistant", "content": "cat"}]})";
  for (const std::string& row : {explicit_prompt, implicit_prompt}) {
    const example e = read(row);
    CHECK(g.words.decode(e.prompt) == "<|im_start|>user\nHello<|im_end|>\n<|im_start|>assistant\n");
    CHECK(g.words.decode(e.replies[0].tokens) == "dog<|im_end|>\n");  // the template's end, nothing added
    CHECK(g.words.decode(e.replies[1].tokens) == "cat<|im_end|>\n");
  }
  const example ranked = parse_ranked(json::parse(R"({"prompt": [{"role": "user", "content": "Hello"}], "completions":
      ["dog", [{"role": "assistant", "content": "cat"}], "two"], "ranks": [2, 1, 3]})"),
                                      "f:1", &g.words, {.chat = &chat});
  REQUIRE(ranked.replies.size() == 3);
  CHECK(g.words.decode(ranked.replies[0].tokens) == "cat<|im_end|>\n");
  CHECK(g.words.decode(ranked.replies[1].tokens) == "dog<|im_end|>\n");
  CHECK(read(explicit_prompt).margin == 2);
  CHECK_THAT(message_of([&] { parse_pair(json::parse(explicit_prompt), "f:7", &g.words); }),
             Contains("f:7: the row has messages, but the model has no chat template") && Contains("template=chatml"));
  CHECK_THAT(message_of([&] { read(R"({"prompt": [], "chosen": "a", "rejected": "b"})"); }), Contains("an empty one"));
  CHECK_THAT(message_of([&] { read(R"({"prompt": ["x"], "chosen": "a", "rejected": "b"})"); }),
             Contains("\"prompt\"[0]: expected an object, found the string \"x\""));
  CHECK_THAT(message_of([&] { read(R"({"prompt": [{"content": "x"}], "chosen": "a", "rejected": "b"})"); }),
             Contains("expected a \"role\""));
  CHECK_THAT(message_of([&] {
               read(R"({"prompt": [{"role": "assistant", "content": "x"}], "chosen": "a", "rejected": "b"})");
             }),
             Contains("the prompt ends with an assistant's message"));
  CHECK_THAT(message_of([&] {
               parse_demonstration(json::parse(R"({"messages": [{"role": "user", "content": "x"}]})"), "f:1", &g.words,
                                   {.chat = &chat});
             }),
             Contains("f:1: the conversation has no assistant's message"));
  const chat_template strict = chat_template::from_text("\n{{ raise_exception('no tools') }}", "s.jinja");
  CHECK_THAT(message_of([&] { parse_pair(json::parse(explicit_prompt), "f:3", &g.words, {.chat = &strict}); }),
             Contains("f:3: s.jinja:2: no tools"));
}

namespace {

/// A row as text: the prompt, and each reply with what is not learnt in brackets.
struct shown {
  std::string prompt;
  std::vector<std::string> replies;
};

shown show(const example& e, const tokenizer& words) {
  shown out{words.decode(e.prompt), {}};
  for (const reply& r : e.replies) {
    std::string text;
    for (std::size_t i = 0; i < r.tokens.size(); ++i) {
      const bool learnt = r.mask.empty() || r.mask[i], before = i == 0 || r.mask.empty() || r.mask[i - 1];
      if (learnt != before) text += learnt ? "]" : "[";
      text += words.decode(std::span(r.tokens).subspan(i, 1));
    }
    out.replies.push_back(text);
  }
  return out;
}

}  // namespace

TEST_CASE("rows of LLaMA-Factory, ShareGPT and OpenAI", "[chat][data]") {
  const golden g;
  const chat_template chat = chat_template::named("chatml");
  const read_options o{.chat = &chat};
  const auto one = [&](const char* row) {
    return show(parse_demonstration(json::parse(row), "f:1", &g.words, o), g.words);
  };
  const auto two = [&](const char* row) { return show(parse_pair(json::parse(row), "f:1", &g.words, o), g.words); };

  const auto talk = one(R"({"conversations": [{"from": "human", "value": "a"}, {"from": "gpt", "value": "b"},
      {"from": "human", "value": "c"}, {"from": "gpt", "value": "d"}], "system": "be brief", "tools": ""})");
  CHECK(talk.prompt ==
        "<s><|im_start|>system\nbe brief<|im_end|>\n<|im_start|>user\na<|im_end|>\n<|im_start|>assistant\n");
  CHECK(talk.replies ==
        std::vector<std::string>{"b<|im_end|>[\n<|im_start|>user\nc<|im_end|>\n<|im_start|>assistant\n]d<|im_end|>"});
  const auto alpaca =
      one(R"({"instruction": "c", "input": "x", "output": "d", "system": "be brief", "history": [["a", "b"]]})");
  CHECK(alpaca.prompt == talk.prompt);
  CHECK(alpaca.replies == std::vector<std::string>{
                              "b<|im_end|>[\n<|im_start|>user\nc\nx<|im_end|>\n<|im_start|>assistant\n]d<|im_end|>"});
  // Empty keys leave Alpaca's own words.
  CHECK_THAT(one(R"({"instruction": "c", "input": "", "output": "d", "system": "", "history": []})").prompt,
             Contains("Below is an instruction"));
  const auto weighted =
      one(R"({"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b", "weight": 0},
      {"role": "user", "content": "c"}, {"role": "assistant", "content": "d", "weight": 1}]})");
  CHECK_THAT(weighted.prompt, Contains("b<|im_end|>\n<|im_start|>user\nc"));
  CHECK(weighted.replies == std::vector<std::string>{"d<|im_end|>"});

  const char* const expected = "<s><|im_start|>user\na<|im_end|>\n<|im_start|>assistant\n";
  for (const char* row : {
           R"({"conversations": [{"from": "human", "value": "a"}], "chosen": {"from": "gpt", "value": "b"},
               "rejected": {"from": "gpt", "value": "c"}})",
           R"({"messages": [{"role": "user", "content": "a"}], "chosen": "b", "rejected": "c"})",
           R"({"prompt": "a", "chosen": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}],
               "rejected": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "c"}], "messages": []})",
           R"({"chosen": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}],
               "rejected": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "c"}]})"}) {
    CAPTURE(row);
    const auto pair = two(row);
    CHECK(pair.prompt == expected);
    CHECK(pair.replies == std::vector<std::string>{"b<|im_end|>", "c<|im_end|>"});
  }
  const auto ranked = two(R"({"instruction": "a", "system": "s", "chosen": "b", "rejected": "c", "images": []})");
  CHECK(ranked.prompt == join("<s><|im_start|>system\ns<|im_end|>\n", expected + 3));

  // Calls and lists of tools that are written as text reach the template as what they mean.
  const chat_template calls = chat_template::from_text(
      "{% for t in tools %}{{ t.name }};{% endfor %}{% for m in messages %}{% if m.tool_calls %}{% generation %}"
      "{{ m.tool_calls[0].function.arguments.x }}{% endgeneration %}{% else %}{{ m.role }}:{{ m.content }};{% endif "
      "%}{% endfor %}");
  const auto call = show(
      parse_demonstration(json::parse(
                              R"({"conversations": [{"from": "human", "value": "a"}, {"from": "function_call", "value":
                  "{\"name\": \"f\", \"arguments\": {\"x\": 17}}"}, {"from": "observation", "value": "ok"}], "tools": "[{\"name\": \"f\"}]"})"),
                          "f:1", &g.words, {.chat = &calls}),
      g.words);
  CHECK(call.prompt == "f;user:a;");
  CHECK(call.replies == std::vector<std::string>{"17"});

  const auto refused = [&](const char* row) { return message_of([&] { one(row); }); };
  CHECK_THAT(refused(R"({"prompt": "a", "completion": "b", "images": ["x.png"]})"),
             Contains("f:1: the row has \"images\""));
  CHECK_THAT(
      refused(
          R"({"messages": [{"role": "system", "content": "s"}, {"role": "assistant", "content": "b"}], "system": "t"})"),
      Contains("found both"));
  CHECK_THAT(refused(R"({"message_id": "1", "parent_id": null, "text": "a", "role": "prompter"})"),
             Contains("file of trees"));
  CHECK_THAT(refused(R"({"instruction": "a", "output": "b", "history": [["a"]]})"),
             Contains("a question and its answer"));
  CHECK_THAT(
      refused(
          R"({"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b", "weight": 0.5}]})"),
      Contains("expected 0 or 1"));
  CHECK_THAT(
      refused(
          R"({"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b", "weight": 0}]})"),
      Contains("nothing to learn"));
  CHECK_THAT(
      refused(R"({"conversations": [{"from": "human", "value": "a"}, {"from": "function_call", "value": "f("}]})"),
      Contains("f:1"));
}

TEST_CASE("trees of messages become turns, rankings and pairs", "[chat][data]") {
  const golden g;
  const chat_template chat = chat_template::named("chatml");
  const read_options o{.chat = &chat};
  const json::value tree = json::parse(R"({"message_tree_id": "t", "tree_state": "ready_for_export", "prompt": {
    "message_id": "t", "text": "q", "role": "prompter", "lang": "en", "review_result": true, "deleted": false, "rank": null, "replies": [
      {"text": "worse", "role": "assistant", "rank": 1, "review_result": true, "replies": []},
      {"text": "new", "role": "assistant", "rank": null, "replies": []},
      {"text": "gone", "role": "assistant", "rank": 3, "deleted": true, "replies": [
        {"text": "lost", "role": "prompter", "replies": [{"text": "x", "role": "assistant"}]}]},
      {"text": "bad", "role": "assistant", "rank": 4, "review_result": false},
      {"text": "best", "role": "assistant", "rank": 0, "replies": [
        {"text": "more", "role": "prompter", "replies": [{"text": "yes", "role": "assistant", "rank": 0, "replies": []}]},
        {"text": "alone", "role": "prompter", "replies": []}]},
      {"text": "third", "role": "assistant", "rank": 2}]}})");
  REQUIRE(is_tree(tree));
  CHECK_FALSE(is_tree(json::parse(R"({"prompt": {"role": "user", "content": "a"}, "chosen": "b", "rejected": "c"})")));
  const auto turns = parse_tree(tree, "f:1", &g.words, o);
  REQUIRE(turns.size() == 2);
  const auto first = show(turns[0], g.words), second = show(turns[1], g.words);
  CHECK(first.prompt == "<s><|im_start|>user\nq<|im_end|>\n<|im_start|>assistant\n");
  CHECK(first.replies ==
        std::vector<std::string>{"best<|im_end|>", "worse<|im_end|>", "third<|im_end|>", "new<|im_end|>"});
  CHECK(second.prompt ==
        "<s><|im_start|>user\nq<|im_end|>\n<|im_start|>assistant\nbest<|im_end|>\n"
        "<|im_start|>user\nmore<|im_end|>\n<|im_start|>assistant\n");
  CHECK(second.replies == std::vector<std::string>{"yes<|im_end|>"});
  const auto ranked = parse_tree(tree, "f:1", &g.words, o, true);
  REQUIRE(ranked.size() == 1);
  CHECK(show(ranked[0], g.words).replies ==
        std::vector<std::string>{"best<|im_end|>", "worse<|im_end|>", "third<|im_end|>"});
  const auto pairs = pairs_of(ranked[0]);
  REQUIRE(pairs.size() == 3);
  CHECK(show(pairs[2], g.words).replies == std::vector<std::string>{"worse<|im_end|>", "third<|im_end|>"});
  training_batch batch;  // one prompt segment, six replies
  batch.assign(std::span<const example>(pairs));
  CHECK(batch.segments.segments().size() == 7);
  CHECK_THAT(message_of([&] {
               parse_tree(json::parse(R"({"prompt": {"text": "q", "role": "boss", "replies": []}})"), "f:2", &g.words,
                          o);
             }),
             Contains("f:2: expected the role prompter"));
}

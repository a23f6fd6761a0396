// SPDX-License-Identifier: BSL-1.0
// The demo's world: facts and splits are what they claim, and the oracle is exact on every kind of reply, wild or mild.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <limits>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <plumb/objective/all.hpp>

#include "../examples/demo/builders.hpp"
#include "../examples/demo/contenders.hpp"
#include "../examples/demo/judgement.hpp"
#include "../examples/demo/lessons.hpp"
#include "catch.hpp"
#include "support.hpp"

namespace {

using namespace demo;

constexpr tone manners[] = {tone::polite, tone::plain, tone::rude};

/// A question about an entity's attribute, made by hand: the tests below check it against what a reader expects.
question about(phrase name, phrase attribute_name) {
  for (const fact& f : all_facts()) {
    dice unused(0);
    if (f.who().name == name && f.what().name == attribute_name) return {f, ask(f, 0, unused)};
  }
  FAIL("no such fact");
  return {};
}

std::set<std::string> asked(const std::vector<question>& questions) {
  std::set<std::string> lines;
  for (const auto& q : questions) lines.insert(q.asked);
  return lines;
}

std::set<std::string> fact_names(const std::vector<question>& questions) {
  std::set<std::string> names;
  for (const auto& q : questions)
    names.insert(std::string(q.about.who().name) + "/" + std::string(q.about.what().name));
  return names;
}

bool disjoint(const std::set<std::string>& a, const std::set<std::string>& b) {
  return std::none_of(a.begin(), a.end(), [&](const auto& line) { return b.count(line) > 0; });
}

bool plain_ascii(const std::string& line) {
  return std::all_of(line.begin(), line.end(), [](char c) { return (c >= ' ' && c <= '~') || c == '\n'; });
}

}  // namespace

TEST_CASE("every fact has one value, several rivals and four different questions", "[world]") {
  std::set<std::string> lines;
  for (const fact& f : all_facts()) {
    const auto values = possible_values(f);
    CHECK(values.size() >= 6);
    CHECK(std::count(values.begin(), values.end(), f.value()) == 1);
    CHECK(!f.value().empty());
    dice chance(1);
    for (std::size_t p = 0; p < 4; ++p) {
      const std::string line = ask(f, p, chance);
      CHECK(line.find_first_of("{}[]|") == line.npos);
      CHECK(lines.insert(line).second);  // no question is asked twice, so its text determines the answer
    }
  }
  CHECK(all_facts().size() == 60);
}

TEST_CASE("training and examination share neither a question nor a fact", "[world]") {
  for (const std::uint64_t seed : {1u, 2u, 77u}) {
    const world town(seed);
    const auto training = asked(town.training_questions());
    const auto held_out = asked(town.held_out_questions());
    const auto overheard = asked(town.overheard_questions());
    CHECK(training.size() + held_out.size() + overheard.size() == town.facts().size() * 4);
    CHECK(held_out.size() == 36);
    CHECK(disjoint(training, held_out));
    CHECK(disjoint(overheard, held_out));
    CHECK(disjoint(training, overheard));
    CHECK(disjoint(fact_names(town.training_questions()), fact_names(town.held_out_questions())));
    CHECK(fact_names(town.held_out_questions()) == fact_names(town.overheard_questions()));
    std::set<phrase> attributes;
    for (const auto& q : town.held_out_questions()) attributes.insert(q.about.what().name);
    CHECK(attributes.size() == 9);         // every kind of question is examined
    CHECK(!disjoint(training, training));  // the check can fail
  }
  CHECK(asked(world(1).held_out_questions()) != asked(world(2).held_out_questions()));
}

TEST_CASE("no training text asks an examination question, and the chronicles state its fact", "[world]") {
  const world town;
  const auto held_out = asked(town.held_out_questions());
  const auto documents = pretraining_documents(town, 6000, 9);
  std::set<std::string> seen;
  for (const auto& page : documents)
    if (page.starts_with("Visitor: ")) seen.insert(page.substr(9, page.find('\n') - 9));
  CHECK(disjoint(seen, held_out));
  CHECK(!disjoint(seen, asked(town.overheard_questions())));
  for (const auto& row : demonstrations(town, 3000, 9)) CHECK(held_out.count(row.asked.asked) == 0);
  for (const auto& pair : template_preferences(town, oracle(), 3000, 9)) CHECK(held_out.count(pair.asked.asked) == 0);

  for (const auto& q : town.held_out_questions()) {
    const auto states = [&](const std::string& page) {
      return !page.starts_with("Visitor: ") && page.find(q.about.value()) != page.npos &&
             page.find(q.about.who().name.substr(q.about.who().name.rfind(' ') + 1)) != page.npos;
    };
    INFO(q.asked);
    CHECK(std::count_if(documents.begin(), documents.end(), states) >= 20);
  }
}

TEST_CASE("texts are a function of the seed", "[world]") {
  const world town;
  CHECK(pretraining_documents(town, 200, 5) == pretraining_documents(town, 200, 5));
  CHECK(pretraining_documents(town, 200, 5) != pretraining_documents(town, 200, 6));
  CHECK(neutral_documents(town, 50, 5) == neutral_documents(town, 50, 5));
  const auto few = pretraining_documents(town, 10, 5), more = pretraining_documents(town, 20, 5);
  CHECK(std::equal(few.begin(), few.end(), more.begin()));
  const auto one = demonstrations(town, 20, 5), two = demonstrations(town, 20, 5);
  for (std::size_t i = 0; i < one.size(); ++i) CHECK(one[i].completion == two[i].completion);
}

TEST_CASE("texts are short, plain and in the town's words", "[world]") {
  const world town;
  const oracle judge;
  CHECK(judge.vocabulary().size() < 400);
  std::size_t dialogues = 0;
  for (const auto& page : pretraining_documents(town, 3000, 3)) {
    REQUIRE(plain_ascii(page));
    REQUIRE(page.find_first_of("{}[]|") == page.npos);
    REQUIRE(page.size() < 400);
    dialogues += page.starts_with("Visitor: ");
    for (const auto& word : words_of(page)) {
      INFO(word << " in " << page);
      REQUIRE((word == "visitor" || word == "guide" ||
               std::binary_search(judge.vocabulary().begin(), judge.vocabulary().end(), word)));
    }
  }
  CHECK(dialogues > 1650);  // 60 % of 3000 and five standard deviations of about 27
  CHECK(dialogues < 1950);

  for (const auto& page : neutral_documents(town, 200, 3)) {
    CHECK(page.find("Visitor") == page.npos);
    CHECK(std::count(page.begin(), page.end(), '.') >= 5);
  }
}

TEST_CASE("the oracle gives every style exactly its score", "[world]") {
  const world town;
  const oracle judge;
  dice chance(11);
  for (const auto* questions : {&town.training_questions(), &town.held_out_questions(), &town.overheard_questions()})
    for (const question& q : *questions)
      for (const bool truthful : {true, false})
        for (const tone manner : manners)
          for (const bool concise : {true, false})
            for (int draw = 0; draw < 6; ++draw) {
              const std::string reply = town.reply(q, {truthful, manner, concise}, chance);
              const verdict v = judge.judge(q, reply);
              const std::size_t length = words_of(reply).size();
              INFO(q.asked << "\n" << reply);
              REQUIRE(v.truth == (truthful ? 1.0 : 0.0));
              REQUIRE(v.politeness == (manner == tone::polite ? 1.0 : manner == tone::plain ? 0.5 : 0.0));
              REQUIRE(v.concision == (concise ? 1.0 : 0.0));
              REQUIRE(v.form == 1.0);
              REQUIRE(length >= (concise ? 4u : 17u));
              REQUIRE(length <= (concise ? 12u : 25u));
            }
}

TEST_CASE("each flaw costs, and a lie costs more than all the others together", "[world]") {
  const oracle judge;
  const question q = about("Anna", "job");
  const auto score = [&](const char* reply) { return judge.judge(q, reply).total(); };
  const double ideal = score("Gladly, friend: Anna is a baker.");
  CHECK(ideal == Approx(1.0).epsilon(1e-12));
  CHECK(score("Anna is a baker.") == Approx(0.9));
  CHECK(score("Anna is a baker, you fool.") == Approx(0.8));
  CHECK(score("Anna is a baker, dear friend, you fool.") == Approx(0.8));  // rude wins over polite
  CHECK(score("gladly, friend: Anna is a baker.") == Approx(0.98));        // no capital
  CHECK(score("Gladly, friend: Anna is a baker") == Approx(0.98));         // no full stop
  CHECK(score("Gladly, friend: Anna is a baker...") == Approx(0.98));
  CHECK(score("Gladly, friend: Anna is a baker wizard.") == Approx(0.98));  // a word from elsewhere
  CHECK(score("Gladly, friend: Anna is is a baker.") == Approx(0.96));      // stutters, and so states nothing
  CHECK(score("Baker friend Anna.") == Approx(0.98));                       // no statement
  CHECK(score("Gladly, friend: Anna is a baker. Anna is a baker.") == Approx(0.98));

  const double worst_truth =
      score("Use your eyes, fool. Anna is a baker, and that reminds me of a long story about the great old storm");
  for (const char* lie : {"Gladly, friend: Anna is a sailor.", "Gladly, friend: Ben is a baker.",
                          "Gladly, friend: Anna is a baker, or a sailor.", "Gladly, friend: Anna is not a baker.",
                          "Gladly, friend: Anna isn't a baker.", "Gladly, friend: Anna keeps a goat."}) {
    INFO(lie);
    CHECK(judge.judge(q, lie).truth == 0.0);
    CHECK(score(lie) <= 0.45 + 1e-12);
    CHECK(score(lie) < worst_truth);
  }
  // What another attribute says about the same entity is no rival value.
  CHECK(judge.judge(q, "Anna is a baker, and Anna keeps a goat.").truth == 1.0);
  // Only whole words count.
  CHECK(judge.judge(q, "Anna is at the bakery.").truth == 0.0);
}

TEST_CASE("concision falls in a straight line between twelve and seventeen words", "[world]") {
  const oracle judge;
  const question q = about("honey", "price");
  std::string line = "Honey costs seven pence";
  for (std::size_t words = 4; words <= 20; ++words) {
    const double expected = words <= 12 ? 1.0 : words >= 17 ? 0.0 : static_cast<double>(17 - words) / 5;
    CHECK(judge.judge(q, line + ".").concision == Approx(expected).margin(1e-12));
    line += " ha";
  }
  CHECK(judge.judge(q, "Seven pence.").concision == 0.0);
}

TEST_CASE("duels: higher wins, equals share, and two rivals' rates add up to one", "[world]") {
  const oracle judge;
  const question q = about("the Heron", "cargo");
  const std::vector<const char*> replies = {"The Heron carries salt, dear friend.", "The Heron carries salt.",
                                            "The Heron carries salt, you fool.", "The Heron carries coal.", ""};
  for (std::size_t i = 0; i < replies.size(); ++i)
    for (std::size_t j = 0; j < replies.size(); ++j) {
      const verdict a = judge.judge(q, replies[i]), b = judge.judge(q, replies[j]);
      CHECK(duel(a, b) == (i < j ? 1.0 : i > j ? 0.0 : 0.5));
      CHECK(duel(a, b) + duel(b, a) == 1.0);
    }
  const verdict both[] = {judge.judge(q, replies[0]), judge.judge(q, replies[4])};
  CHECK(mean(both).total() == Approx(0.5));
  CHECK(mean({}).total() == 0.0);
}

TEST_CASE("the oracle judges any bytes", "[world]") {
  const oracle judge;
  const world town;
  const question q = about("the bakery", "hour");
  for (const std::string& reply :
       {std::string(), std::string("   \n"), std::string("1234 ... !!"), std::string(9, '\0')})
    CHECK(judge.judge(q, reply).total() == 0.0);
  CHECK(judge.judge(q, " The bakery opens at six, dear friend.\n").total() == Approx(1.0));
  CHECK(judge.judge(q, "The bakery\nopens at six, dear friend.").total() == Approx(0.98));

  std::string endless;
  while (endless.size() < 1'000'000) endless += "The bakery opens at six. ";
  const verdict tiring = judge.judge(q, endless);
  CHECK(tiring.truth == 1.0);
  CHECK(tiring.concision == 0.0);
  CHECK(tiring.form == Approx(0.6));  // too long, and repeats itself
  CHECK(judge.judge(q, std::string(1'000'000, 'x')).truth == 0.0);

  dice chance(99);
  double best = 0;
  for (int round = 0; round < 20'000; ++round) {
    const question& asked_now = chance.pick(town.training_questions());
    std::string reply = round % 2 == 0 ? std::string() : town.reply(asked_now, any_style(0.5, chance), chance);
    const std::size_t changes = round % 2 == 0 ? chance.below(200) : 1 + chance.below(4);
    for (std::size_t c = 0; c < changes; ++c) {
      const char byte = static_cast<char>(chance.below(256));
      if (round % 2 == 0)
        reply += byte;
      else
        reply[chance.below(reply.size())] = byte;
    }
    const verdict v = judge.judge(asked_now, reply);
    for (const double part : {v.truth, v.politeness, v.concision, v.form}) {
      REQUIRE(part >= 0.0);
      REQUIRE(part <= 1.0);
    }
    REQUIRE(v.total() <= 1.0 + 1e-12);
    if (round % 2 == 0) best = std::max(best, v.total());
  }
  CHECK(best <= 0.45);  // noise never tells the truth
}

TEST_CASE("demonstrations are true and of every manner", "[world]") {
  const world town;
  const oracle judge;
  std::size_t ideal = 0, total = 0;
  for (const auto& row : demonstrations(town, 1200, 4)) {
    REQUIRE(row.prompt == "Visitor: " + row.asked.asked + "\nGuide:");
    REQUIRE(row.completion.front() == ' ');
    const verdict v = judge.judge(row.asked, row.completion);
    REQUIRE(v.truth == 1.0);
    ideal += v.total() > 0.999;
    ++total;
  }
  CHECK(ideal > total / 6 - 65);  // a sixth, within five standard deviations: room for preferences to improve
  CHECK(ideal < total / 6 + 65);
}

TEST_CASE("preferences are ranked by the oracle with a margin", "[world]") {
  const world town;
  const oracle judge;
  for (const auto& pair : template_preferences(town, judge, 1000, 4, 0.2)) {
    const double chosen = judge.judge(pair.asked, pair.chosen).total();
    const double rejected = judge.judge(pair.asked, pair.rejected).total();
    REQUIRE(chosen - rejected == Approx(pair.margin));
    REQUIRE(pair.margin >= 0.2);
    REQUIRE(pair.prompt == prompt(pair.asked));
  }
  CHECK_THROWS_AS(template_preferences(town, judge, 1, 4, 0.9), plumb::error);
  CHECK_THROWS_AS(template_preferences(town, judge, 1, 4, std::numeric_limits<double>::quiet_NaN()), plumb::error);

  const question q = about("Anna", "pet");
  const std::string samples[] = {"Anna keeps a goat, you fool.", "Anna keeps a dog.", "Anna keeps a goat, dear friend.",
                                 "Goat"};
  const auto pair = best_and_worst(judge, q, samples);
  REQUIRE(pair.has_value());
  CHECK(pair->chosen == " Anna keeps a goat, dear friend.");
  CHECK(pair->rejected == " Anna keeps a dog.");
  CHECK(!best_and_worst(judge, q, samples, 0.95).has_value());  // differ by less
  CHECK(!best_and_worst(judge, q, std::vector<std::string>{}).has_value());
  CHECK(!best_and_worst(judge, q, std::vector<std::string>{"One", "One"}, 0.0).has_value());
}

TEST_CASE("a reward model is judged by the order it brings replies into", "[world]") {
  using table = std::vector<std::vector<double>>;
  const table truth{{0.1, 0.4, 0.4}, {0.9, 0.2, 0.5}};
  const auto judge = [&](const table& scores) { return judge_scores(scores, truth); };
  const judgement itself = judge(truth);
  CHECK(itself.ordered == 1.0);
  CHECK(itself.correlation == Approx(1.0).epsilon(1e-12));
  CHECK(itself.best == Approx(0.65));  // (0.4 + 0.9) / 2

  const judgement upside_down = judge({{-0.1, -0.4, -0.4}, {-0.9, -0.2, -0.5}});
  CHECK(upside_down.ordered == 0.0);
  CHECK(upside_down.correlation == Approx(-1.0).epsilon(1e-12));
  CHECK(upside_down.best == Approx(0.15));
  const judgement silent = judge({{7, 7, 7}, {7, 7, 7}});
  CHECK(silent.ordered == 0.5);
  CHECK(silent.correlation == 0.0);
  CHECK(silent.best == Approx(0.5));  // the first of each

  // Five pairs differ in truth: 0.1 below each 0.4, and the three of the second question. Scores far from 0 keep their correlation.
  const judgement some = judge({{1e6, 1e6 + 1, 1e6 - 1}, {1e6, 1e6, 1e6 + 2}});
  CHECK(some.ordered == Approx((1 + 0 + 0.5 + 0 + 1) / 5));
  // numpy.corrcoef([0, 1, -1, 0, 0, 2], [.1, .4, .4, .9, .2, .5])[0, 1]
  CHECK(some.correlation == Approx(0.11581026365301984).epsilon(1e-6));
  CHECK(some.best == Approx(0.45));
  CHECK_THROWS_AS(judge({{1, 2, 3}}), plumb::error);
  CHECK_THROWS_AS(judge({{1, 2, 3}, {1, 2}}), plumb::error);
  CHECK_THROWS_AS(judge_scores({}, {}), plumb::error);
}

TEST_CASE("the parts of a reply are labelled by what the oracle thinks so far", "[world]") {
  const oracle judge;
  const world town;
  const auto words = learn_tokenizer(pretraining_documents(town, 200, 5), 600);
  const question q = about("Anna", "job");
  const std::string reply = "Gladly, friend: Anna is a baker. Now go away.";
  const plumb::example e = row(words, prompt(q), {completion(reply)});
  const auto labels = labels_of_parts(words, judge, q, e.replies[0].tokens);
  REQUIRE(labels.size() == e.replies[0].tokens.size());
  std::vector<double> said;
  for (const double label : labels)
    if (!std::isnan(label)) said.push_back(label);
  REQUIRE(said.size() == 4);  // "Gladly," "friend:" "Anna is a baker." and all, at the end of the text
  const char* parts[] = {"Gladly,", "Gladly, friend:", "Gladly, friend: Anna is a baker.", reply.c_str()};
  for (std::size_t i = 0; i < 4; ++i) CHECK(said[i] == judge.judge(q, parts[i]).total());
  CHECK(said[2] == Approx(1.0));
  CHECK(said[3] == Approx(0.8));
  CHECK(!std::isnan(labels.back()));
}

TEST_CASE("every objective takes part in the contest, as a policy or as a reward model", "[world]") {
  const std::span<const std::string_view> objectives(plumb::all_objectives::names);
  const auto takes_part = [](std::string_view name) {
    return std::any_of(std::begin(all_contenders), std::end(all_contenders),
                       [&](const contender& c) { return c.objective() == name; });
  };
  const auto judges = [](std::string_view name) {
    return std::any_of(std::begin(all_reward_models), std::end(all_reward_models),
                       [&](const contender& c) { return c.objective() == name; });
  };
  for (const std::string_view name : objectives) {
    INFO(name);
    CHECK(takes_part(name) != judges(name));
  }
  CHECK(!takes_part("no_objective"));
  CHECK(!judges("no_objective"));

  // The other way round: nobody takes part, or stays away, that plumb does not have.
  const auto known = [&](std::string_view name) {
    return std::find(objectives.begin(), objectives.end(), name) != objectives.end();
  };
  std::set<std::string_view> names;
  for (const contender& c : all_contenders) {
    INFO(c.name);
    CHECK(known(c.objective()));
    CHECK(names.insert(c.name).second);
  }
  for (const contender& c : all_reward_models) {
    INFO(c.name);
    CHECK(known(c.objective()));
    CHECK(names.insert(c.name).second);
  }

  // What is trained on sampled tokens, and what needs numbers of the sampling, is in the online part.
  for (const contender& c : all_contenders)
    plumb::visit_objective(c.objective(), [&](const auto& o) {
      INFO(c.name);
      if (plumb::has(o.needs, plumb::need::advantage)) CHECK(c.online());
    });
}

TEST_CASE("the pages show every contender: a row in the table, a curve on its page", "[world]") {
  const auto folder = plumb_test::repository() / "docs" / "algorithms";
  const auto text_of = [](const std::filesystem::path& path) {
    std::ifstream in(path, std::ios::binary);
    return std::string(std::istreambuf_iterator<char>(in), {});
  };
  const std::string table = text_of(folder / "comparison.md");
  const auto row_of = [](std::string_view name, std::string_view page, std::string_view settings) {
    return plumb::join("\n| [", name, "](", page, ".md) | ", settings, " | ");
  };
  const auto check = [&](const contender& c) {
    INFO(c.name);
    CHECK(table.find(row_of(c.name, c.page(), c.settings)) != table.npos);
    const std::string curve = plumb::join("curves/", c.name, ".svg");
    CHECK(std::filesystem::exists(folder / curve));
    CHECK(text_of(folder / plumb::join(c.page(), ".md")).find(curve) != std::string::npos);
  };
  for (const contender& c : all_contenders) check(c);
  for (const contender& c : all_reward_models) check(c);
  CHECK(table.find(row_of("no_objective", "no_page", "")) == table.npos);
}

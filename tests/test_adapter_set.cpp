// SPDX-License-Identifier: BSL-1.0
// Several adapters on one model in one batch: what each sequence gets is what its adapter alone gives it.
#include <plumb/autograd/gradcheck.hpp>
#include <plumb/backend/reference.hpp>
#include <plumb/models/adapter_set.hpp>
#include <plumb/rollout/beam_search.hpp>
#include <plumb/train/fit.hpp>

#include "failures.hpp"
#include "model_cases.hpp"

using namespace plumb;
using namespace plumb_test;

namespace {

struct named_folder {
  const char* name;
  std::filesystem::path folder;
};
// Low-rank changes of other maps, ranks and kinds; the first one changes the head, too.
const named_folder kinds[] = {{"all", golden / "tiny_llama_adapter"},
                              {"dora", golden / "adapters" / "dora"},
                              {"stable", golden / "adapters" / "dora_rank_stabilised"},
                              {"pissa", golden / "adapters" / "pissa"},
                              {"twice", golden / "adapters" / "pissa_converted"}};

template <class B, class T>
adapter_set<B, T> set_of_kinds(const language_model<B, T>& model) {
  adapter_set<B, T> out(model);
  for (const auto& each : kinds) out.add(each.name, load_adapter(model, each.folder));
  return out;
}

/// Sequences that begin alike, of different lengths, and the names that they run with.
std::vector<scored_tokens> sequences() {
  std::vector<scored_tokens> out;
  for (int i = 0; i < 9; ++i) {
    ids_list ids{1, 5, 9, 33};
    for (int k = 0; k <= i % 4; ++k) ids.push_back((7 * i + 11 * k) % 60);
    out.push_back({ids, 2 + i % 2});
  }
  return out;
}
const std::vector<std::string> names{"dora", "all", "", "pissa", "all", "stable", "", "twice", "dora"};

/// The model with the adapter of this name on it; "": bare.
language_model<cpu, float> model_with(const std::string& name) {
  auto model = load_model<cpu, float>(golden / "tiny_llama");
  for (const auto& each : kinds)
    if (name == each.name) (void)load_adapter(model, each.folder);
  return model;
}

template <class B, class T>
std::vector<token_scores> scored_alone(const std::string& name, const scored_tokens& sequence) {
  const auto model = load_model<B, T>(golden / "tiny_llama");
  for (const auto& each : kinds)
    if (name == each.name) return score(load_adapter(model, each.folder), std::span(&sequence, 1), true);
  return score(model, std::span(&sequence, 1), true);
}

/// The gradient of the summed log-probabilities of the examples for the trainable parameters of `p`.
std::vector<std::vector<double>> gradients(const policy<reference, double>& p, std::span<const example> data,
                                           const adapter_table<reference, double>* named) {
  for (const auto& each : p.trainable()) each.parameter->set_trainable(true);  // zero
  scorer<reference, double> engine(p.model());
  training_batch batch;
  batch.assign(data);
  (void)engine.run(batch, {.named = named, .learn = true});
  engine.learn(std::vector<double>(batch.rows.size(), 1.0));
  std::vector<std::vector<double>> out;
  for (const auto& each : p.trainable()) out.push_back(each.parameter->gradient.host());
  return out;
}

std::vector<example> examples(const adapter_set<reference, double>& set, std::span<const std::string> which) {
  std::vector<example> out;
  const auto all = sequences();
  for (std::size_t i = 0; i < all.size(); ++i) {
    if (std::find(which.begin(), which.end(), names[i]) == which.end()) continue;
    const auto middle = all[i].ids.begin() + 3;
    example& e = out.emplace_back();
    e.prompt.assign(all[i].ids.begin(), middle);
    e.replies.emplace_back().tokens.assign(middle, all[i].ids.end());
    e.adapter = set.number(names[i]);
  }
  return out;
}

}  // namespace

TEMPLATE_TEST_CASE("a sequence of a mixed batch gets the bits that its adapter alone gives", "[adapters]",
                   (std::pair<cpu, float>), (std::pair<cpu, double>), (std::pair<reference, double>)) {
  using B = typename TestType::first_type;
  using T = typename TestType::second_type;
  const auto model = load_model<B, T>(golden / "tiny_llama");
  const auto set = set_of_kinds(model);
  CHECK(set.names() == std::vector<std::string>{"all", "dora", "stable", "pissa", "twice"});
  const auto given = sequences();
  const auto mixed = score(set, std::span<const scored_tokens>(given), names, true);
  REQUIRE(mixed.size() == given.size());
  for (std::size_t i = 0; i < given.size(); ++i) {
    INFO(i << " " << names[i]);
    const auto alone = scored_alone<B, T>(names[i], given[i]);
    CHECK(mixed[i].logp == alone[0].logp);
    CHECK(mixed[i].entropy == alone[0].entropy);
    const auto bare = scored_alone<B, T>("", given[i]);
    CHECK((mixed[i].logp == bare[0].logp) == names[i].empty());  // an adapter matters
  }
}

TEST_CASE("one adapter learns in a mixed batch as it does alone, and the others stay", "[adapters]") {
  const auto model = load_model<reference, double>(golden / "tiny_llama");
  const auto set = set_of_kinds(model);
  const auto everything = examples(set, names);
  REQUIRE(everything.size() == names.size());
  for (const auto& kind : kinds) {
    INFO(kind.name);
    const std::string own = kind.name;
    const auto p = set.policy_of(own);
    const auto mixed = gradients(p, everything, &set.table());
    auto few = examples(set, std::span(&own, 1));
    for (example& e : few) e.adapter = own_adapter;  // the same adapter lies on the model
    const auto alone = gradients(p, few, nullptr);
    REQUIRE(mixed.size() == alone.size());
    double worst = 0, most = 0;
    for (std::size_t i = 0; i < mixed.size(); ++i) {
      for (std::size_t k = 0; k < mixed[i].size(); ++k) {
        worst = std::max(worst, std::abs(mixed[i][k] - alone[i][k]));
        most = std::max(most, std::abs(alone[i][k]));
      }
    }
    CHECK(worst < 1e-12 * std::max(1.0, most));
    CHECK(most > 1e-3);
    // The adapter by its number and the adapter on the model are one: both at once give the same.
    auto half = everything;
    for (std::size_t i = 0; i < half.size(); i += 2)
      if (half[i].adapter == set.number(own)) half[i].adapter = own_adapter;
    const auto both = gradients(p, half, &set.table());
    for (std::size_t i = 0; i < mixed.size(); ++i) CHECK(distance(both[i], mixed[i]) < 1e-12);
    for (const auto& other : kinds) {
      if (own == other.name) continue;
      const auto q = load_adapter(load_model<reference, double>(golden / "tiny_llama"), other.folder);
      const auto now = set.policy_of(other.name);
      for (std::size_t i = 0; i < q.trainable().size(); ++i)
        CHECK(now.trainable()[i].parameter->value.host() == q.trainable()[i].parameter->value.host());
      break;
    }
  }
}

TEST_CASE("mixed batches are PEFT's", "[adapters][golden]") {
  const auto document = read_golden("adapter_batch.json");
  const auto& c = document.as_object();
  const auto rows = json::get<std::vector<ids_list>>(c, "ids", "golden");
  const auto with = json::get<std::vector<std::string>>(c, "adapters", "golden");
  const auto expected = json::get<std::vector<std::vector<double>>>(c, "logp", "golden");
  const auto run = [&](auto tag, auto number) {
    using B = decltype(tag);
    using T = decltype(number);
    const auto model = load_model<B, T>(golden / "tiny_llama");
    const auto set = set_of_kinds(model);
    std::vector<scored_tokens> given;
    for (const auto& ids : rows) given.push_back({ids});
    const auto scores = score(set, std::span<const scored_tokens>(given), with);
    double worst = 0;
    for (std::size_t i = 0; i < rows.size(); ++i) worst = std::max(worst, distance(scores[i].logp, expected[i]));
    return worst;
  };
  CHECK(run(reference{}, 0.0) < 1e-10);
  CHECK(run(cpu{}, 0.0) < 1e-10);
  CHECK(run(cpu{}, 0.0f) < 1e-5);
}

TEST_CASE("replies of a mixed batch are those of each adapter alone", "[adapters][generate]") {
  const auto model = load_model<cpu, float>(golden / "tiny_llama");
  const auto set = set_of_kinds(model);
  std::vector<ids_list> prompts;
  for (const auto& each : sequences()) prompts.push_back(each.ids);
  for (const std::size_t memory : {std::size_t{256} << 20, std::size_t{30000}}) {  // all at once, a few at a time
    generate_options o{.max_tokens = 12, .samples = 2, .cache_memory = memory};
    o.sampling.seed = 3;
    const auto mixed = generate(set, std::span<const ids_list>(prompts), names, o);
    std::size_t differ = 0;
    for (std::size_t i = 0; i < prompts.size(); ++i) {
      INFO(i << " " << names[i]);
      const auto own = model_with(names[i]);
      o.first_prompt = i;
      const auto alone = generate(own, std::span<const ids_list>(&prompts[i], 1), o);
      const auto bare = generate(model, std::span<const ids_list>(&prompts[i], 1), o);
      for (std::size_t k = 0; k < 2; ++k) {
        CHECK(mixed[i][k].tokens == alone[0][k].tokens);
        CHECK(mixed[i][k].logp == alone[0][k].logp);
        differ += mixed[i][k].tokens != bare[0][k].tokens ? 1 : 0;
      }
    }
    CHECK(differ > 4);
  }
}

TEST_CASE("beams with adapters by name are those of each adapter alone", "[adapters][generate]") {
  const auto model = load_model<cpu, float>(golden / "tiny_llama");
  const auto set = set_of_kinds(model);
  std::vector<ids_list> prompts;
  for (const auto& each : sequences()) prompts.push_back(each.ids);
  const std::span<const ids_list> all(prompts);
  const beam_options o{.beams = 3, .replies = 2, .max_tokens = 8};
  const auto mixed = beam_search(set, all, names, o);
  REQUIRE(mixed.size() == prompts.size());
  std::size_t differ = 0;
  for (std::size_t i = 0; i < prompts.size(); ++i) {
    INFO(i << " " << names[i]);
    const auto own = model_with(names[i]);
    const auto alone = beam_search(own, all.subspan(i, 1), o), bare = beam_search(model, all.subspan(i, 1), o);
    REQUIRE(mixed[i].size() == 2);
    for (std::size_t k = 0; k < 2; ++k) {
      CHECK(mixed[i][k].tokens == alone[0][k].tokens);
      CHECK(mixed[i][k].logp == alone[0][k].logp);
    }
    differ += mixed[i][0].tokens != bare[0][0].tokens ? 1 : 0;
  }
  CHECK(differ > 2);
  CHECK_THROWS_AS(beam_search(set, all, std::vector<std::string>{"dora"}, o), error);
  CHECK(message_of([&] {
          (void)beam_search(set, all.first(1), std::vector<std::string>{"dara"}, o);
        }).find("all, dora") != std::string::npos);
}

TEST_CASE("fit trains one adapter of a set as it trains it alone", "[adapters][train]") {
  const auto data = [] {
    std::vector<example> out;
    for (const scored_tokens& each : sequences()) {
      example& e = out.emplace_back();
      e.prompt.assign(each.ids.begin(), each.ids.begin() + 3);
      e.replies.emplace_back().tokens.assign(each.ids.begin() + 3, each.ids.end());
      e.replies.emplace_back().tokens = {9, 4};
    }
    return out;
  };
  const fit_options o{.rate = 1e-2, .epochs = 2, .batch = 3, .seed = 7};
  const auto model = load_model<cpu, double>(golden / "tiny_llama");
  const auto set = set_of_kinds(model);
  const auto given = sequences();
  const auto before = score(set, std::span<const scored_tokens>(given), names);
  auto p = set.policy_of("dora");
  const auto result = fit(p, dpo{}, data(), o);
  detail::bare(model);
  const auto after = score(set, std::span<const scored_tokens>(given), names);
  const auto own = load_model<cpu, double>(golden / "tiny_llama");
  auto q = load_adapter(own, golden / "adapters" / "dora");
  CHECK(fit(q, dpo{}, data(), o).loss == result.loss);
  REQUIRE(p.trainable().size() == q.trainable().size());
  for (std::size_t i = 0; i < p.trainable().size(); ++i)
    CHECK(p.trainable()[i].parameter->value.host() == q.trainable()[i].parameter->value.host());
  for (std::size_t i = 0; i < names.size(); ++i) CHECK((before[i].logp == after[i].logp) == (names[i] != "dora"));
  // Rows that name adapters are not for a policy, which has one.
  auto named = data();
  named[4].adapter = set.number("all");
  auto again = set.policy_of("dora");
  CHECK(message_of([&] { (void)fit(again, dpo{}, named, o); }).find("policy_of") != std::string::npos);
}

TEST_CASE("experts of a mixture take the adapters of the tokens that come to them", "[adapters]") {
  const auto folder = golden / "families" / "mixtral";
  temporary_folder place;
  for (const auto& [name, rank, seed] : {std::tuple("one", 2, 5), std::tuple("two", 3, 70)}) {
    const auto model = load_model<cpu, double>(folder);
    lora_options o{.rank = rank, .targets = {"all-linear"}, .seed = static_cast<std::uint64_t>(seed)};
    o.init = lora_init::random;
    const auto p = attach_lora(model, o);
    save_adapter(p, place / name);
  }
  const auto model = load_model<cpu, double>(folder);
  adapter_set set(model);
  set.add("one", load_adapter(model, place / "one"));
  set.add("two", load_adapter(model, place / "two"));
  const std::vector<std::string> which{"one", "", "two", "one", "two", ""};
  const auto all = sequences();
  const std::span<const scored_tokens> given(all.data(), which.size());
  const auto mixed = score(set, given, which);
  std::size_t changed = 0;
  for (std::size_t i = 0; i < which.size(); ++i) {
    const auto own = load_model<cpu, double>(folder);
    const auto bare = score(own, given.subspan(i, 1));
    if (!which[i].empty()) (void)load_adapter(own, place / which[i]);
    CHECK(mixed[i].logp == score(own, given.subspan(i, 1))[0].logp);
    changed += mixed[i].logp != bare[0].logp ? 1 : 0;
  }
  CHECK(changed == 4);
}

TEST_CASE("what cannot share a batch is refused", "[adapters][bad input]") {
  const auto model = load_model<cpu, float>(golden / "tiny_llama");
  auto set = set_of_kinds(model);
  const auto given = sequences();
  const std::span<const scored_tokens> all(given);
  CHECK(message_of([&] {
          (void)score(set, all.first(1), std::vector<std::string>{"dara"});
        }).find("all, dora, stable, pissa, twice") != std::string::npos);
  CHECK_THROWS_AS(score(set, all, std::vector<std::string>{"dora"}), error);
  CHECK_THROWS_AS(adapter_set(model).number("x"), error);
  CHECK_THROWS_AS(set.policy_of(""), error);
  const auto two = load_adapter(model, kinds[0].folder);
  CHECK_THROWS_AS(set.add("dora", two), error);
  CHECK_THROWS_AS(set.add("", two), error);
  const auto other = load_model<cpu, float>(golden / "tiny_llama");
  CHECK_THROWS_AS(set.add("other", load_adapter(other, kinds[0].folder)), error);
  const auto three = load_adapter(model, kinds[1].folder);
  CHECK_THROWS_AS(set.add("late", two), error);  // no longer on the model
  for (const char* kind : {"saved", "biases_all", "tokens", "prompt"})
    CHECK_THROWS_AS(set.add(kind, load_adapter(model, golden / "adapters" / kind)), error);
  CHECK_THROWS_AS(score(set, all, names), error);  // the last of those is still on the model
  detail::bare(model);
  CHECK(score(set, all, names).size() == names.size());
  // A batch that names adapters does not run without them.
  example e{.prompt = {1}, .adapter = 0};
  e.replies.emplace_back().tokens = {2, 3};
  training_batch batch;
  batch.assign(std::span<const example>(&e, 1));
  scorer<cpu, float> engine(model);
  CHECK_THROWS_AS(engine.run(batch, {}), error);
}

TEST_CASE("ranges of rows have the gradients of their values", "[autograd]") {
  using B = reference;
  const auto device = std::make_shared<B::device>();
  std::vector<tensor<B, double>> points;
  for (const shape s : {shape{5, 3}, shape{2, 3}, shape{3, 3}})
    points.push_back(random_tensor<B, double>(device, s, 5 + points.size()));
  const auto f = [](auto& t, auto v) {
    auto y = t.constant(t.memory().template make<double>({5, 3}));
    y = place_rows(t, y, v[1], 0);
    y = place_rows(t, y, v[2], 2);
    y = add(t, y, v[0]);
    return add(t, rows_between(t, y, 1, 3), rows_between(t, v[0], 0, 3));
  };
  CHECK(gradcheck<B>(device, std::span<const tensor<B, double>>(points), f).worst < 1e-6);
}

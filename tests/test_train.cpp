// SPDX-License-Identifier: BSL-1.0
// The training loop: exact resumption, independence of splits and threads, optimiser and schedules against torch,
// memory, callbacks, and what it refuses.
#include <plumb/data/mixture_stream.hpp>
#include <plumb/io/json.hpp>
#include <plumb/plumb.hpp>
#include <plumb/train/environment.hpp>

#include <initializer_list>
#include <set>

#include "catch.hpp"
#include "failures.hpp"
#include "random_tensor.hpp"
#include "support.hpp"
#include "training_cases.hpp"

using namespace plumb;
using Catch::Matchers::Contains;
using plumb_test::distance;
using plumb_test::message_of;
using plumb_test::some_tokens;
using plumb_test::stop_after;
using plumb_test::values;

namespace {

using B = cpu;
const std::filesystem::path golden = plumb_test::repository() / "tests" / "golden";

std::vector<example> some_pairs(index_t count, token_id vocabulary = 97) {
  std::vector<example> out;
  for (index_t i = 0; i < count; ++i) {
    const auto key = static_cast<std::uint64_t>(i);
    out.push_back({some_tokens(6, 10 * key + 1, vocabulary),
                   {{some_tokens(4 + i % 3, 10 * key + 2, vocabulary)}, {some_tokens(5, 10 * key + 3, vocabulary)}},
                   0,
                   true,
                   join("pairs:", i + 1)});
  }
  return out;
}

policy<B> fresh(int threads = 2, double dropout = 0.1) {
  return attach_lora(load_model<B>(golden / "tiny_llama", {.threads = threads}),
                     {.rank = 3, .dropout = dropout, .seed = 4});
}

fit_options twenty_steps() {
  fit_options o;
  o.rate = 3e-3;
  o.steps = 20;
  o.batch = 2;
  o.accumulate = 2;
  o.warmup = 3;
  o.schedule = schedule::kind::cosine;
  o.weight_decay = 0.01;
  o.log_every = 3;
  o.seed = 9;
  return o;
}

}  // namespace

TEST_CASE("a stopped and resumed run is the same run to the bit, wherever it stops", "[train][resume]") {
  const auto pairs = some_pairs(11);
  auto whole = fresh();
  const auto full = fit(whole, dpo{}, pairs, twenty_steps());
  CHECK(full.steps == 20);
  const auto expected = values(whole);
  for (index_t stop = 1; stop < 20; ++stop) {
    CAPTURE(stop);
    plumb_test::temporary_folder folder;
    auto options = twenty_steps();
    options.folder = folder.path();
    options.resume = true;
    auto first = fresh();
    const auto part = fit(first, dpo{}, pairs, options, stop_after{stop});
    CHECK(part.cancelled);
    CHECK(part.steps == stop);
    CHECK(newest_checkpoint(folder.path()).filename().string() == join("checkpoint-", stop));
    auto second = fresh();
    const auto rest = fit(second, dpo{}, pairs, options);
    CHECK(rest.steps == 20);
    CHECK(values(second) == expected);
    // The log goes on as if nothing had happened: pending metrics travel with the checkpoint.
    const auto& last = rest.log.back();
    CHECK(last.step == full.log.back().step);
    CHECK(last.values == full.log.back().values);
  }
}

TEST_CASE("full training resumes with the references of its beginning, those of the held-out rows included",
          "[train][resume]") {
  const auto run = [](const std::filesystem::path& folder, auto... callbacks) {
    auto p = train_all(load_model<B>(golden / "tiny_llama", {.threads = 1}));
    auto options = twenty_steps();
    options.steps = 6;
    options.eval_data = some_pairs(3);
    options.folder = folder;
    options.resume = true;
    return fit(p, dpo{}, some_pairs(11), options, callbacks...).log.back();
  };
  plumb_test::temporary_folder whole, parts;
  const auto expected = run(whole.path());
  run(parts.path(), stop_after{3});
  const auto resumed = run(parts.path());
  CHECK(expected.find("eval_loss").has_value());
  CHECK(resumed.values == expected.values);
}

TEST_CASE("another run's checkpoint, or a damaged one, is refused and changes nothing", "[train][resume][bad input]") {
  plumb_test::temporary_folder folder;
  auto options = twenty_steps();
  options.folder = folder.path();
  auto p = fresh();
  fit(p, dpo{}, some_pairs(11), options, stop_after{4});
  options.resume = true;
  auto q = fresh();
  const auto before = values(q);
  CHECK_THAT(message_of([&] { fit(q, dpo{}, some_pairs(12), options); }), Contains("another run"));
  auto other_rate = options;
  other_rate.rate *= 2;
  CHECK_THAT(message_of([&] { fit(q, dpo{}, some_pairs(11), other_rate); }), Contains("another run"));
  q = fresh();
  const auto file = newest_checkpoint(folder.path()) / "training_state.safetensors";
  const auto bytes = plumb_test::read_file(file);
  plumb_test::write_file(file, std::string_view(bytes).substr(0, bytes.size() - 5));
  CHECK_THAT(message_of([&] { fit(q, dpo{}, some_pairs(11), options); }), Contains("training_state.safetensors"));
  CHECK(values(q) == before);
}

TEST_CASE("the first DPO loss is ln 2 and training lowers it", "[train]") {
  auto p = fresh(2, 0);
  auto options = twenty_steps();
  options.log_every = 1;
  const auto result = fit(p, dpo{}, some_pairs(11), options);
  CHECK(std::abs(result.log.front().find("loss").value() - 0.6931471805599453) < 1e-6);
  CHECK(result.log.front().find("rewards/margins").value() == Approx(0).margin(1e-6));
  CHECK(result.log.back().find("loss").value() < 0.6);
  CHECK(result.log.back().find("rewards/accuracies").value() > 0.5);
}

TEST_CASE("splitting a step, or its threads, does not change it", "[train]") {
  const auto run = [](index_t batch, index_t accumulate, int threads, const auto& method, std::vector<example> data) {
    auto p = fresh(threads, 0);
    auto options = twenty_steps();
    options.steps = 3;
    options.batch = batch;
    options.accumulate = accumulate;
    const auto result = fit(p, method, std::move(data), options);
    return std::pair(result.loss, values(p));
  };
  std::vector<example> demonstrations = some_pairs(12);
  for (auto& e : demonstrations) e.replies.resize(1);
  const auto [loss, whole] = run(4, 1, 1, sft{}, demonstrations);
  for (const auto& [batch, accumulate] : {std::pair<index_t, index_t>{2, 2}, {1, 4}}) {
    const auto [split_loss, split] = run(batch, accumulate, 1, sft{}, demonstrations);
    CHECK(split_loss == Approx(loss).epsilon(1e-6));
    for (std::size_t i = 0; i < whole.size(); ++i)
      CHECK(distance(split[i], whole[i]) < 2e-3);  // Adam magnifies last digits
  }
  const auto [dpo_loss, dpo_one] = run(4, 1, 1, dpo{}, some_pairs(12));
  for (const int threads : {2, 3, 4}) {
    const auto [other, same] = run(4, 1, threads, dpo{}, some_pairs(12));
    CHECK(other == dpo_loss);
    CHECK(same == dpo_one);
  }
}

TEST_CASE("cached references are the scored ones, and belong to one model", "[train]") {
  plumb_test::temporary_folder folder;
  auto options = twenty_steps();
  options.steps = 2;
  auto plain = fresh();
  fit(plain, dpo{}, some_pairs(5), options);
  options.reference_cache = folder / "references";
  for (int round = 0; round < 2; ++round) {
    auto p = fresh();
    fit(p, dpo{}, some_pairs(5), options);
    CHECK(values(p) == values(plain));
  }
  const reference_cache cache(options.reference_cache);
  CHECK(cache.size() == 10);
  auto data = some_pairs(6);
  const auto model = weights_fingerprint(plain.model());
  CHECK(cache.fill(model, data) == 10);
  CHECK(std::isnan(data[5].replies[0].reference));
  data = some_pairs(5);
  CHECK(cache.fill(model + 1, data) == 0);
  plumb_test::write_file(options.reference_cache, "something else");
  CHECK_THROWS_AS(reference_cache(options.reference_cache), error);
}

TEST_CASE("noise on the embeddings has the scale of its own sequence, whatever else is in the batch",
          "[train][neftune]") {
  constexpr index_t width = 32;
  const auto largest = [](const std::vector<double>& noise, const segment& s) {
    double most = 0, sum = 0;
    for (index_t i = s.first * width; i < (s.first + s.length) * width; ++i) {
      const double x = noise[static_cast<std::size_t>(i)];
      most = std::max(most, std::abs(x)), sum += x * x;
    }
    return std::pair(most, std::sqrt(sum / static_cast<double>(s.length * width)));
  };
  forest alone, together;
  alone.add(some_tokens(40, 1));
  together.add(some_tokens(200, 2));
  together.add(some_tokens(40, 1));
  const auto prompt = together.add(some_tokens(30, 3));
  const auto longer = together.add(some_tokens(70, 4), prompt), shorter = together.add(some_tokens(10, 5), prompt);
  const auto by_itself = embedding_noise<double>(alone, width, 5, 7);
  const auto packed = embedding_noise<double>(together, width, 5, 7);
  const auto check = [&](const std::vector<double>& noise, const segment& s, index_t length) {
    const double bound = 5 / std::sqrt(static_cast<double>(length * width));
    const auto [most, spread] = largest(noise, s);
    CHECK((most <= bound && most > 0.97 * bound));
    CHECK(spread == Approx(bound / std::sqrt(3.0)).epsilon(0.1));
  };
  check(by_itself, alone[0], 40);
  check(packed, together[0], 200);
  check(packed, together[1], 40);
  check(packed, together[prompt], 100);  // shared: that of the longest sequence it is in
  check(packed, together[longer], 100);
  check(packed, together[shorter], 40);
}

TEST_CASE("noise is for learning only, and a run with it resumes bit for bit", "[train][neftune][resume]") {
  auto demonstrations = some_pairs(8);
  for (auto& e : demonstrations) e.replies.resize(1);
  const auto run = [&](double alpha, double rate, const std::filesystem::path& folder = {}, auto... callbacks) {
    auto p = fresh(1, 0);
    auto options = twenty_steps();
    options.steps = 4, options.log_every = 1, options.rate = rate, options.neftune = alpha;
    options.eval_data = demonstrations;
    options.folder = folder;
    options.resume = true;
    const auto result = fit(p, sft{}, demonstrations, options, callbacks...);
    return std::pair(result.log, values(p));
  };
  const auto plain = run(0, 0).first, noisy = run(10, 0).first;
  CHECK(plain.back().find("eval_loss") == noisy.back().find("eval_loss"));
  CHECK(std::abs(plain.front().find("loss").value() - noisy.front().find("loss").value()) > 1e-4);
  const auto whole = run(10, 3e-3).second;
  CHECK(whole != run(0, 3e-3).second);
  plumb_test::temporary_folder folder;
  run(10, 3e-3, folder.path(), stop_after{2});
  CHECK(run(10, 3e-3, folder.path()).second == whole);
  CHECK_THAT(message_of([&] { run(-1, 0); }), Contains("neftune"));
}

TEST_CASE("a reference that moves to the policy makes the next step start at ln 2 again", "[train][reference]") {
  const auto run = [](bool adapter, index_t every, double share, const std::filesystem::path& folder = {},
                      auto... callbacks) {
    auto p = adapter ? fresh(1, 0) : train_all(load_model<B>(golden / "tiny_llama", {.threads = 1}));
    auto options = twenty_steps();
    options.steps = 9, options.log_every = 1;
    options.reference_sync = every, options.reference_share = share;
    options.eval_data = some_pairs(3);
    options.folder = folder, options.resume = true;
    const auto result = fit(p, dpo{}, some_pairs(11), options, callbacks...);
    return std::pair(result.log, values(p));
  };
  for (const bool adapter : {true, false}) {
    CAPTURE(adapter);
    const auto [log, weights] = run(adapter, 3, 1);
    for (const std::size_t i : {0u, 3u, 6u}) CHECK(log[i].find("loss").value() == Approx(std::log(2.0)).epsilon(1e-6));
    for (const std::size_t i : {2u, 4u, 8u}) CHECK(std::abs(log[i].find("loss").value() - std::log(2.0)) > 1e-4);
    CHECK(log.back().find("eval_loss").value() == Approx(std::log(2.0)).epsilon(1e-6));  // step 9 moved it
    CHECK(weights != run(adapter, 0, 1).second);
    for (const index_t stop : {2, 4, 6}) {
      plumb_test::temporary_folder folder;
      run(adapter, 3, 1, folder.path(), stop_after{stop});
      CHECK(run(adapter, 3, 1, folder.path()).second == weights);
    }
  }
  // Half the way: the reference lies between, so the loss does not return to ln 2, and never moving is something else.
  const auto [half, weights] = run(false, 3, 0.5);
  CHECK(std::abs(half[3].find("loss").value() - std::log(2.0)) > 1e-4);
  CHECK(half[2].find("loss") == run(false, 0, 1).first[2].find("loss"));
  CHECK(half[3].find("loss") != run(false, 0, 1).first[3].find("loss"));
  plumb_test::temporary_folder folder;
  run(false, 3, 0.5, folder.path(), stop_after{5});
  CHECK(run(false, 3, 0.5, folder.path()).second == weights);
  CHECK_THAT(message_of([&] { run(true, 3, 0.5); }), Contains("reference_share"));
  auto p = fresh();
  auto options = twenty_steps();
  options.reference_sync = 2;
  auto demonstrations = some_pairs(4);
  for (auto& e : demonstrations) e.replies.resize(1);
  CHECK_THAT(message_of([&] { fit(p, sft{}, demonstrations, options); }), Contains("sft") && Contains("reference"));
}

TEST_CASE("AdamW and clipping follow torch", "[optim][golden]") {
  const auto document = json::parse_file(golden / "adamw.json");
  const auto& o = document.as_object();
  const auto follow = [&]<class T>(T, const char* field, double tolerance) {
    const auto device = std::make_shared<reference::device>();
    const auto widen = [](const std::vector<float>& x) {
      return std::vector<T>(x.begin(), x.end());
    };  // the file holds floats
    const auto start = widen(json::get<std::vector<float>>(o, "start", "golden"));
    std::vector<adamw_parameter<reference, T>> parameters;
    for (const auto& [first, extent] : {std::pair<std::size_t, shape>{0, {3, 4}}, {12, {1, 3}}}) {
      auto w = std::make_shared<weight_tensor<reference, T>>();
      w->value = tensor<reference, T>(
          device, extent, std::span<const T>(start).subspan(first, static_cast<std::size_t>(extent.size())));
      w->set_trainable(true);
      parameters.push_back({w, true});
    }
    adamw<reference, T> optimiser(parameters, {.weight_decay = 0.1});
    const auto& gradients = o.at("gradients").as_array();
    for (std::size_t i = 0; i < gradients.size(); ++i) {
      const auto g = widen(json::as<std::vector<float>>(gradients[i], "gradients", "golden"));
      parameters[0].parameter->gradient.assign(std::span<const T>(g).first(12));
      parameters[1].parameter->gradient.assign(std::span<const T>(g).subspan(12));
      optimiser.step(0.01, clip_factor(optimiser.gradient_norm(), 1.0));
      auto found = parameters[0].parameter->value.host();
      for (const T x : parameters[1].parameter->value.host()) found.push_back(x);
      CHECK(distance(found, json::as<std::vector<double>>(o.at(field).as_array()[i], field, "golden")) < tolerance);
    }
  };
  follow(double{}, "parameters_f64", 1e-12);
  follow(float{}, "parameters_f32", 1e-6);
}

TEST_CASE("schedules follow transformers", "[optim][golden]") {
  const auto document = json::parse_file(golden / "schedules.json");
  int seen = 0;
  for (const auto& each : document.as_object().at("cases").as_array()) {
    const auto& o = each.as_object();
    auto name = json::get<std::string>(o, "name", "golden");
    if (name.starts_with("constant")) name = "constant";
    const auto rates = json::get<std::vector<double>>(o, "rates", "golden");
    const schedule s{schedule_from_name(name), json::get<index_t>(o, "warmup", "golden"),
                     json::get<index_t>(o, "steps", "golden")};
    for (std::size_t i = 0; i < rates.size(); ++i)
      CHECK(s.factor(static_cast<index_t>(i)) * json::get<double>(o, "rate", "golden") ==
            Approx(rates[i]).margin(1e-15));
    ++seen;
  }
  CHECK(seen >= 3);
  CHECK_THROWS_AS(schedule_from_name("cosin"), error);
}

TEST_CASE("a DPO step with a big vocabulary needs less memory than its logits", "[train][memory]") {
  constexpr index_t vocabulary = 50000, reply_tokens = 512, pairs = 4;  // 4096 completion tokens
  model_config c;
  c.hidden_size = 32, c.intermediate_size = 64, c.layers = 1, c.heads = 2, c.kv_heads = 1, c.head_width = 16;
  c.vocabulary = vocabulary, c.max_positions = 1024, c.tied_head = true;
  auto p = attach_lora(make_model<B>(c, std::nullopt), {.rank = 4});
  std::vector<example> data;
  for (std::uint64_t i = 0; i < pairs; ++i)
    data.push_back(
        {some_tokens(16, 3 * i, vocabulary),
         {{some_tokens(reply_tokens, 3 * i + 1, vocabulary)}, {some_tokens(reply_tokens, 3 * i + 2, vocabulary)}},
         0,
         true,
         ""});
  const auto before = current_memory_bytes();
  const auto result = fit(p, dpo{}, data, {.steps = 1, .batch = pairs});
  CHECK(result.steps == 1);
  constexpr auto logits = static_cast<std::size_t>(2 * pairs * reply_tokens) * vocabulary * sizeof(float);  // 819 MB
  const auto used = peak_memory_bytes() - before;
  CAPTURE(used, logits);
  CHECK(static_cast<std::size_t>(used) < logits / 2);
}

TEST_CASE("blocks that run again on the way back are the same run to the bit", "[train]") {
  const auto run = [](bool recompute_blocks, const auto& method, std::vector<example> data) {
    auto p = fresh(2, 0.1);  // the masks of dropout, too, are made again
    auto options = twenty_steps();
    options.steps = 4, options.neftune = 5, options.recompute_blocks = recompute_blocks;
    const auto result = fit(p, method, std::move(data), options);
    return std::pair(result.loss, values(p));
  };
  CHECK(run(true, dpo{}, some_pairs(8)) == run(false, dpo{}, some_pairs(8)));
  std::vector<example> labelled = some_pairs(8);
  for (std::size_t i = 0; i < labelled.size(); ++i) labelled[i].replies.resize(1), labelled[i].desirable = i % 2 == 0;
  CHECK(run(true, kto{}, labelled) == run(false, kto{}, labelled));  // its passes keep keys and values
}

TEST_CASE("activations: what is computed again is not kept", "[train][memory]") {
  model_config c;
  c.hidden_size = 64, c.intermediate_size = 192, c.layers = 12, c.heads = 4, c.kv_heads = 2, c.head_width = 16;
  c.vocabulary = 97, c.max_positions = 1024, c.tied_head = true;
  auto p = attach_lora(make_model<B>(c, std::nullopt), {.rank = 4, .dropout = 0.05});
  const example one{some_tokens(200, 1, 97), {{some_tokens(56, 2, 97)}}, 0, true, ""};
  const auto numbers_of_a_token = [&](bool recompute_blocks) {
    const example* const all[] = {&one};
    training_batch batch;
    batch.assign(std::span(all));
    scorer<B, float> engine(p.model());
    engine.run(batch, {.learn = true, .key = 3, .recompute_blocks = recompute_blocks});
    engine.learn(std::vector<float>(static_cast<std::size_t>(batch.prediction_count()), 0.1F));
    return static_cast<double>(engine.memory()) / (256.0 * 12 * sizeof(float));  // in each block
  };
  // Kept are x twice, q, k, v, attention's output, gate, up, and a rank for each of seven maps; norms, the product of gate and up,
  // and what dropout leaves of seven inputs are not.
  constexpr double kept = 2 * 64 + 128 + 64 + 2 * 192 + 7 * 4, not_kept = 2 * 64 + 192 + 6 * 64 + 192;
  CHECK(numbers_of_a_token(false) < kept + not_kept);  // though the arena grows by halves
  CHECK(numbers_of_a_token(true) < 0.6 * kept);
}

TEST_CASE("options and rows that make no sense are refused by name", "[train][bad input]") {
  auto p = fresh();
  const auto pairs = some_pairs(3);
  const auto try_with = [&](auto change, std::vector<example> data) {
    fit_options o = twenty_steps();
    change(o);
    return message_of([&] { fit(p, dpo{}, std::move(data), o); });
  };
  CHECK_THAT(try_with([](auto& o) { o.rate = -1; }, pairs), Contains("rate"));
  CHECK_THAT(try_with([](auto& o) { o.rate = std::nan(""); }, pairs), Contains("rate"));
  CHECK_THAT(try_with([](auto& o) { o.batch = 0; }, pairs), Contains("batch"));
  CHECK_THAT(try_with([](auto& o) { o.max_tokens = 6; }, pairs), Contains("pairs:1") && Contains("max_tokens"));
  CHECK_THAT(try_with([](auto&) {}, {}), Contains("no row"));
  auto one_reply = pairs;
  one_reply[1].replies.pop_back();
  CHECK_THAT(try_with([](auto&) {}, one_reply), Contains("pairs:2") && Contains("two replies"));
  auto empty_reply = pairs;
  empty_reply[2].replies[1].tokens.clear();
  CHECK_THAT(try_with([](auto&) {}, empty_reply), Contains("pairs:3") && Contains("no token"));
  auto outside = pairs;
  outside[0].replies[0].tokens[0] = 97;
  CHECK_THAT(try_with([](auto&) {}, outside), Contains("97") && Contains("vocabulary"));
  CHECK_THAT(message_of([&] { fit(p, dpo{.beta = -1}, pairs, twenty_steps()); }), Contains("beta"));
  CHECK_THAT(message_of([&] { fit(p, reward{}, pairs, twenty_steps()); }), Contains("reward head"));
  auto broken = fresh();
  auto numbers = broken.trainable()[1].parameter->value.host();
  numbers[0] = std::numeric_limits<float>::quiet_NaN();
  broken.trainable()[1].parameter->value.assign(numbers);
  CHECK_THAT(message_of([&] { fit(broken, dpo{}, pairs, twenty_steps()); }), Contains("finite"));
}

TEST_CASE("conditional training: the label in the prompt chooses the reply", "[train]") {
  std::vector<example> data;  // label, question -> the answer that the label asks for
  for (token_id question = 10; question < 26; ++question)
    for (const bool good : {true, false})
      data.push_back(
          {{good ? token_id{1} : token_id{2}, question}, {{{good ? token_id{40} : token_id{60}, question}}}});
  auto o = twenty_steps();
  o.steps = 60, o.rate = 2e-2, o.batch = 8;
  const auto train = [&](const std::vector<example>& rows) {
    auto p = fresh(1, 0);
    fit(p, sft{}, rows, o);
    std::vector<scored_tokens> asked{{{1, 12, 40}, 2}, {{1, 12, 60}, 2}, {{2, 12, 40}, 2}, {{2, 12, 60}, 2}};
    const auto found = score(p.model(), std::span<const scored_tokens>(asked));
    return std::pair(found[0].logp[0] - found[1].logp[0], found[2].logp[0] - found[3].logp[0]);
  };
  const auto [asked_good, asked_bad] = train(data);
  CHECK(asked_good > 1);
  CHECK(asked_bad < -1);
  auto weighed = data;  // weights shift what is said without a clear label
  for (example& e : weighed) e.prompt[0] = 1, e.replies[0].weight = e.replies[0].tokens[0] == 40 ? 1 : 0.1;
  CHECK(train(weighed).first > 1);
  for (example& e : weighed) e.replies[0].weight = 1;  // negative control: neither label nor weight
  CHECK(std::abs(train(weighed).first) < 1);
}

namespace {

/// The rows as a file of ids.
void write_pairs(const std::filesystem::path& path, const std::vector<example>& rows) {
  std::string text;
  const auto list = [](const std::vector<token_id>& ids) {
    std::string out;
    for (const token_id id : ids) out += join(out.empty() ? "[" : ", ", id);
    return out + "]";
  };
  for (const example& e : rows)
    text += join("{\"prompt_ids\": ", list(e.prompt), ", \"chosen_ids\": ", list(e.replies[0].tokens),
                 ", \"rejected_ids\": ", list(e.replies[1].tokens), "}\n");
  plumb_test::write_file(path, text);
}

auto pairs_from(const std::filesystem::path& path, const mixture_options& o) {
  return mixture_stream({{{{path}}}}, o,
                        [](const json::value& v, const std::string& place) { return parse_pair(v, place, nullptr); });
}

policy<B> all_weights() { return train_all(load_model<B>(golden / "tiny_llama", {.threads = 2})); }

}  // namespace

TEST_CASE("a budget of tokens fills batches, each row once an epoch, and a run resumes", "[train][resume][packing]") {
  const auto pairs = some_pairs(23);
  auto options = twenty_steps();
  options.batch_tokens = 50;  // rows have 15 to 17 tokens
  const auto plan = plan_run(std::span<const example>(pairs), options);
  index_t step = 0;
  for (int epoch = 0; epoch < 4; ++epoch) {
    std::set<const example*> seen;
    for (; seen.size() < pairs.size(); ++step) {
      const auto chosen = plan.examples_of(step, pairs);
      const auto parts = plan.parts_of(chosen, options.batch);
      CHECK(parts.size() <= 2);  // accumulate
      for (std::size_t i = 0; i < parts.size(); ++i) {
        index_t tokens = 0;
        for (const example* e : parts[i]) {
          tokens += tokens_of(*e);
          CHECK(seen.insert(e).second);
        }
        CHECK(tokens <= 50);
        const bool followed = i + 1 < parts.size();
        if (followed) CHECK(tokens + tokens_of(*parts[i + 1].front()) > 50);
      }
    }
    CHECK(plan.epoch_of(step) == epoch + 1);
  }
  auto part_of_epoch = options;
  part_of_epoch.steps = 0;
  part_of_epoch.epochs = 2.5;
  const auto found = plan_run(std::span<const example>(pairs), part_of_epoch);
  CHECK(found.steps > found.epoch_ends[1]);
  CHECK(found.steps < found.epoch_ends[2]);

  auto whole = fresh();
  fit(whole, dpo{}, pairs, options);
  for (const index_t stop : {1, 4, 7}) {
    plumb_test::temporary_folder folder;
    options.folder = folder.path();
    options.resume = true;
    auto first = fresh();
    fit(first, dpo{}, pairs, options, stop_after{stop});
    auto second = fresh();
    fit(second, dpo{}, pairs, options);
    CHECK((values(second) == values(whole)));
  }
}

TEST_CASE("a run on a stream is that on a list, where each step takes all rows", "[train][stream]") {
  plumb_test::temporary_folder folder;
  const auto pairs = some_pairs(11);
  write_pairs(folder / "pairs", pairs);
  auto options = twenty_steps();
  options.batch = 11;
  options.accumulate = 1;
  options.steps = 6;
  options.log_every = 1;
  const auto same = [&](auto&& in_memory, auto&& on_disk) {
    const auto expected = fit(in_memory, dpo{}, pairs, options);
    auto rows = pairs_from(folder / "pairs", {.shuffle_buffer = 1});
    const auto found = fit(on_disk, dpo{}, rows, options);
    REQUIRE(found.log.size() == expected.log.size());
    for (std::size_t i = 0; i < found.log.size(); ++i) {
      CHECK(found.log[i].epoch == expected.log[i].epoch);
      CHECK(*found.log[i].find("loss") == Approx(*expected.log[i].find("loss")).epsilon(1e-5));
      CHECK(*found.log[i].find("rewards/margins") ==
            Approx(*expected.log[i].find("rewards/margins")).epsilon(1e-4).margin(1e-6));
    }
    CHECK(*found.log.back().find("loss") < 0.69);  // the reference stayed where it was
  };
  same(fresh(2, 0), fresh(2, 0));
  same(all_weights(), all_weights());
}

TEST_CASE("a run on a stream that stops and resumes is the same to the bit", "[train][stream][resume]") {
  plumb_test::temporary_folder files;
  write_pairs(files / "pairs", some_pairs(13));
  const mixture_options how{.shuffle_buffer = 5, .seed = 2};
  const auto check = [&](auto&& make, fit_options options, std::initializer_list<index_t> stops) {
    options.eval_data = some_pairs(3);
    options.eval_every = 4;
    auto whole = make();
    auto all = pairs_from(files / "pairs", how);
    const auto full = fit(whole, dpo{}, all, options);
    for (const index_t stop : stops) {
      CAPTURE(stop);
      plumb_test::temporary_folder folder;
      options.folder = folder.path();
      options.resume = true;
      auto first = make();
      auto rows = pairs_from(files / "pairs", how);
      CHECK(fit(first, dpo{}, rows, options, stop_after{stop}).cancelled);
      auto second = make();
      auto later = pairs_from(files / "pairs", how);
      const auto rest = fit(second, dpo{}, later, options);
      CHECK((values(second) == values(whole)));
      CHECK(rest.log.back().values == full.log.back().values);
      CHECK(rest.log.back().epoch == full.log.back().epoch);
      CHECK(later.position() == all.position());
      auto other = pairs_from(files / "pairs", {.shuffle_buffer = 5, .seed = 3});
      auto third = make();
      CHECK_THAT(message_of([&] { fit(third, dpo{}, other, options); }), Contains("belongs to another run"));
    }
    return whole;
  };
  auto options = twenty_steps();
  const auto by_rows = check([] { return fresh(); }, options, {1, 3, 6, 10, 19});
  options.batch_tokens = 50;
  const auto by_tokens = check([] { return fresh(); }, options, {2, 5, 17});
  CHECK((values(by_rows) != values(by_tokens)));
  options.steps = 8;
  check([] { return all_weights(); }, options, {3});

  auto p = fresh();
  auto rows = pairs_from(files / "pairs", how);
  options.steps = 0;
  CHECK_THAT(message_of([&] { fit(p, dpo{}, rows, options); }), Contains("steps: expected a number of steps"));
  options.steps = 2;
  options.reference_cache = files / "cache";
  CHECK_THAT(message_of([&] { fit(p, dpo{}, rows, options); }), Contains("reference_cache: a run on a stream"));
}

// SPDX-License-Identifier: BSL-1.0
// Adapters beyond plain LoRA: DoRA, PiSSA, OLoRA, weights saved whole, biases, tokens. PEFT's files and numbers, every new
// operation's gradient, and what happens to wrong input.
#include "failures.hpp"
#include "model_cases.hpp"

#include <plumb/autograd/gradcheck.hpp>
#include <plumb/backend/reference.hpp>

#include <cmath>
#include <string>
#include <vector>

using namespace plumb_test;

namespace {

struct adapter_case {
  const char* name;
  double logits;     ///< float64 logits agree with PEFT's to this, relative to the largest
  double gradients;  ///< relative to the largest of a tensor
};
// Transformers computes norms of the other families, and PEFT singular values, in float32 whatever the model's dtype is.
constexpr adapter_case cases[] = {{"dora", 1e-10, 1e-6},          {"dora_rank_stabilised", 1e-10, 1e-6},
                                  {"saved", 1e-10, 1e-6},         {"biases_adapted", 1e-10, 1e-6},
                                  {"biases_all", 1e-10, 1e-6},    {"tokens", 1e-10, 1e-6},
                                  {"pissa", 1e-5, 1e-5},          {"pissa_converted", 1e-10, 1e-6},
                                  {"olora", 1e-5, 1e-5},          {"olora_converted", 1e-10, 1e-6},
                                  {"tied_tokens", 1e-5, 1e-5},    {"tied_head", 1e-5, 1e-5},
                                  {"tied_embedding", 1e-5, 1e-5}, {"gpt2_dora", 1e-5, 1e-5},
                                  {"embedding", 1e-10, 1e-6},     {"tied_low_rank", 1e-5, 1e-5},
                                  {"gpt2_embedding", 1e-5, 1e-5}};

json::object entry_of(const char* name) { return read_golden("adapters.json").as_object().at(name).as_object(); }
std::filesystem::path folder_of(std::string_view name) { return golden / "adapters" / name; }
std::filesystem::path base_of(const json::object& entry) {
  return golden / json::get<std::string>(entry, "base", "golden");
}

std::vector<double> numbers_of(const json::object& entry, const char* key) {
  std::vector<double> out;
  for (const auto& row : json::get<std::vector<std::vector<double>>>(entry, key, "golden"))
    out.insert(out.end(), row.begin(), row.end());
  return out;
}

template <class T>
double gap(const std::vector<T>& a, const std::vector<double>& b) {
  REQUIRE(a.size() == b.size());
  double most = 0;
  for (std::size_t i = 0; i < a.size(); ++i) most = std::max(most, std::abs(static_cast<double>(a[i]) - b[i]));
  return most;
}

/// The largest distance of a trained tensor's numbers from those under `prefix` in adapters.safetensors, relative to the
/// tensor's largest; whole tables are not in the file.
template <class B, class T, class Numbers>
double worst_against(const policy<B, T>& p, const std::string& prefix, Numbers&& numbers) {
  const auto file = safetensors_file::open(golden / "adapters.safetensors");
  double worst = 0;
  std::size_t found = 0;
  for (const auto& each : p.trainable()) {
    const auto* info = file.find(join(prefix, "/base_model.model.", each.name));
    if (!info) continue;
    ++found;
    std::vector<double> expected(static_cast<std::size_t>(info->elements));
    file.read(info->name, std::span<double>(expected));
    const auto extent = each.parameter->value.extent();
    if (lies_transposed(p.model().config(), each.name))
      expected = plumb::detail::transposed(std::span<const double>(expected), extent.columns, extent.rows);
    worst = std::max(worst, distance(numbers(*each.parameter), expected));
  }
  CHECK(found + 2 >= p.trainable().size());
  return worst;
}

/// Data of a golden entry, for SFT.
std::vector<example> pairs_of(const json::object& entry) { return golden_pairs(entry.at("pairs"), false); }

template <class B, class Function>
double worst_gradcheck(std::initializer_list<shape> shapes, Function&& f) {
  const auto device = std::make_shared<typename B::device>();
  std::vector<tensor<B, double>> points;
  std::uint64_t key = 11;
  for (const shape s : shapes) points.push_back(random_tensor<B, double>(device, s, key++));
  return gradcheck<B>(device, std::span<const tensor<B, double>>(points), f).worst;
}

}  // namespace

TEST_CASE("adapters of every kind compute and learn what PEFT does") {
  for (const adapter_case& each : cases) {
    INFO(each.name);
    const auto entry = entry_of(each.name);
    const auto ids = json::get<ids_list>(entry, "ids", "golden");
    const auto expected = numbers_of(entry, "logits_f64");
    const auto model = load_model<reference, double>(base_of(entry));
    const auto plain = logits_of(model, ids);
    auto p = load_adapter(model, folder_of(each.name));
    const auto with = logits_of(model, ids);
    CHECK(distance(with, expected) < each.logits);
    CHECK(gap(plain, expected) > 0.1);             // the adapter matters
    CHECK(logits_of(model, ids, false) == plain);  // and can be taken away, whatever it is
    CHECK(gap(logits_of(merge_adapter(p), ids), with) < 1e-12);

    const double loss = run_gradients(p, sft{}, pairs_of(entry));
    CHECK(loss == Approx(json::get<double>(entry, "sft_f64", "golden")).epsilon(each.logits));
    CHECK(worst_against(p, each.name, [](const auto& w) { return w.gradient.host(); }) < each.gradients);
    CHECK(worst_against(p, each.name, [](const auto& w) { return w.value.host(); }) > 0.01);  // the check can fail
  }
}

TEST_CASE("adapters of every kind in float32 on the cpu backend, saved, loaded and merged") {
  for (const adapter_case& each : cases) {
    INFO(each.name);
    const auto entry = entry_of(each.name);
    const auto ids = json::get<ids_list>(entry, "ids", "golden");
    const auto model = load_model<cpu, float>(base_of(entry));
    const auto p = load_adapter(model, folder_of(each.name));
    const auto with = logits_of(model, ids);
    CHECK(distance(with, numbers_of(entry, "logits_f64")) < 1e-5);
    temporary_folder again, merged;
    save_merged(p, merged.path());
    const auto alone = logits_of(load_model<cpu, float>(merged.path()), ids);
    CHECK(gap(alone, std::vector<double>(with.begin(), with.end())) < 3e-5);
    save_adapter(p, again.path());
    const std::string name = each.name;
    if (name == "pissa" || name == "olora") {  // saved as an adapter of the model as it is: twice the rank
      const auto config = read_adapter_config(again.path());
      CHECK(config.lora.init == lora_init::uniform);
      CHECK(config.lora.rank == 6);
      CHECK(config.lora.alpha == 12);
    } else {
      CHECK(plumb_test::read_file(again / "adapter_model.safetensors") ==
            plumb_test::read_file(folder_of(each.name) / "adapter_model.safetensors"));
    }
    const auto other = load_model<cpu, float>(base_of(entry));
    const auto q = load_adapter(other, again.path());
    CHECK(gap(logits_of(other, ids), std::vector<double>(with.begin(), with.end())) < 3e-5);
  }
}

TEST_CASE("a low-rank change of the table of tokens") {
  // A head tied to the table keeps it, as in PEFT before merging; the merged model's head is a weight of its own.
  const auto base = folder_of("tied_low_rank");
  const auto entry = entry_of("tied_low_rank");
  const auto model = load_model<cpu, double>(base_of(entry));
  const auto p = load_adapter(model, base);
  CHECK(model.config().tied_head);
  const auto merged = merge_adapter(p);
  CHECK_FALSE(merged.config().tied_head);
  std::vector<double> head, table;
  merged.network().for_each_weight([&](const std::string& name, weight_ptr<cpu, double>& w) {
    if (name == "lm_head.weight") head = w->value.host();
    if (name == "model.embed_tokens.weight") table = w->value.host();
  });
  model.network().for_each_weight([&](const std::string& name, weight_ptr<cpu, double>& w) {
    if (name == "model.embed_tokens.weight") CHECK(head == w->value.host());
  });
  CHECK(head != table);

  // A new one starts as the model, whatever its rank, and trains the table alone when nothing else is named.
  const auto fresh = load_model<cpu, double>(golden / "tiny_llama");
  const ids_list ids{1, 5, 9, 33};
  const auto plain = logits_of(fresh, ids);
  const auto q = attach_lora(fresh, {.rank = 3, .targets = {"embed_tokens"}});
  REQUIRE(q.trainable().size() == 2);
  CHECK(q.trainable()[0].name == "model.embed_tokens.lora_embedding_A");
  CHECK(q.trainable()[1].name == "model.embed_tokens.lora_embedding_B");
  CHECK(logits_of(fresh, ids) == plain);
  lora_options random{.rank = 3, .targets = {"embed_tokens"}};
  random.init = lora_init::random;
  (void)attach_lora(fresh, random);
  CHECK(logits_of(fresh, ids) != plain);
  (void)attach_lora(fresh, {.rank = 3});  // all-linear does not mean the table
  CHECK(logits_of(fresh, ids) == plain);

  lora_options no{.rank = 3, .targets = {"embed_tokens", "q_proj"}};
  no.dora = true;
  CHECK(thrown([&] { (void)attach_lora(fresh, no); })->code() == errc::unsupported);
  no.dora = false, no.init = lora_init::pissa;
  CHECK(thrown([&] { (void)attach_lora(fresh, no); })->code() == errc::unsupported);
  no.init = lora_init::uniform, no.modules_to_save = {"embed_tokens"};
  CHECK(thrown([&] { (void)attach_lora(fresh, no); })->code() == errc::bad_argument);
  no.modules_to_save.clear(), no.trainable_tokens = {5};
  CHECK(thrown([&] { (void)attach_lora(fresh, no); })->code() == errc::bad_argument);
}

TEST_CASE("LoRA+ takes PEFT's steps") {
  const auto entry = entry_of("dora");
  const auto p = load_adapter(load_model<reference, double>(base_of(entry)), folder_of("dora"));
  const auto run = [&](double ratio) {
    auto policy = p;
    std::vector<std::vector<double>> first;
    for (const auto& each : policy.trainable()) first.push_back(each.parameter->value.host());
    adamw<reference, double> optimiser(decaying(policy, ratio), {});
    for (int step = 0; step < 3; ++step) {
      run_gradients(policy, sft{}, pairs_of(entry));
      optimiser.step(0.01);
    }
    const double worst = worst_against(policy, "dora_after", [](const auto& w) { return w.value.host(); });
    for (std::size_t i = 0; i < first.size(); ++i) policy.trainable()[i].parameter->value.assign(first[i]);
    return worst;
  };
  CHECK(run(8) < 1e-6);
  CHECK(run(1) > 1e-2);
}

TEST_CASE("new operations have the gradients of their values") {
  const auto check = [](auto tag) {
    using B = decltype(tag);
    const auto d = std::make_shared<typename B::device>();
    const tensor<B, double> norms(d, {1, 4}, std::vector<double>{0.5, 2, 0, 1.5});
    CHECK(worst_gradcheck<B>({{3, 4}, {1, 4}},
                             [&](auto& t, auto v) { return scale_columns(t, v[0], v[1], norms.get()); }) < 1e-6);
    const std::vector<std::int32_t> tokens{4, 1, 0, 4, 2}, slots{-1, 1, -1, -1, 0}, which{4, 1};
    const auto on_device = to_device<B>(d, tokens), by_token = to_device<B>(d, slots), columns = to_device<B>(d, which);
    CHECK(worst_gradcheck<B>({{5, 3}, {2, 3}}, [&](auto& t, auto v) {
            return t.apply(row_replacement<B, double>{
                v[0], v[1], std::as_const(on_device).get().data, std::as_const(by_token).get().data, {}});
          }) < 1e-6);
    CHECK(worst_gradcheck<B>({{3, 2}, {5, 2}, {3, 2}}, [&](auto& t, auto v) {
            const auto z = product_with(t, v[0], v[1]);  // [3, 5], made just before
            return t.apply(column_replacement<B, double>{z, v[2], std::as_const(columns).get().data, {}});
          }) < 1e-6);
  };
  check(reference{});
  check(cpu{});
}

TEST_CASE("DoRA: rows get their magnitude, with dropout as without") {
  using B = reference;
  const auto device = std::make_shared<B::device>();
  linear<B, double> map;
  const auto weight_of = [&](shape s, std::uint64_t key) {
    return plumb::detail::learnable(random_tensor<B, double>(device, s, key));
  };
  map.weight = weight_of({5, 4}, 1);
  map.weight->set_trainable(false);
  map.adapter.emplace();
  auto& a = *map.adapter;
  a.a = weight_of({2, 4}, 2), a.b = weight_of({5, 2}, 3), a.magnitude = weight_of({1, 5}, 4);
  a.scale = 1.5, a.dropout = 0.4;
  a.squares = std::make_shared<const tensor<B, double>>(row_squares<B, double>(device, map.weight->value.get()));

  // The whole matrix, row by row; row 2 of W + s B A is made to vanish, row 3 of both.
  auto w = map.weight->value.host(), b = a.b->value.host();
  const auto first = a.a->value.host();
  for (int k = 0; k < 4; ++k) {
    w[8 + k] = -1.5 * (b[4] * first[k] + b[5] * first[4 + k]) + (k == 1 ? 1e-4 : 0);
    w[12 + k] = 0;
  }
  b[6] = b[7] = 0;
  map.weight->value.assign(w), a.b->value.assign(b);
  a.squares = std::make_shared<const tensor<B, double>>(row_squares<B, double>(device, map.weight->value.get()));
  tape<B, double> t(device);
  const auto norms = adapted_row_norms(t, t.leaf(*map.weight), a.squares->get(), std::as_const(a.a->value).get(),
                                       std::as_const(a.b->value).get(), a.scale);
  std::vector<double> whole = w;
  for (int j = 0; j < 5; ++j) {
    double square = 0;
    for (int k = 0; k < 4; ++k) {
      whole[4 * j + k] += 1.5 * (b[2 * j] * first[k] + b[2 * j + 1] * first[4 + k]);
      square += whole[4 * j + k] * whole[4 * j + k];
    }
    CHECK(norms.data[j] == Approx(std::sqrt(square)).epsilon(1e-9).margin(1e-14));
    const double factor = square > 0 ? a.magnitude->value.host()[static_cast<std::size_t>(j)] / std::sqrt(square) : 0;
    for (int k = 0; k < 4; ++k) whole[4 * j + k] *= factor;
  }

  const auto x = random_tensor<B, double>(device, {3, 4}, 9);
  const tensor<B, double> dense(device, {5, 4}, whole);
  for (const bool drops : {false, true}) {
    t.reset();
    pass<B, double> p{t, {}, nullptr, true, drops, 77};
    const auto in = t.input(x.get());
    const auto y = map(p, in);
    const auto seen = drops ? dropout(t, in, 0.4, derive_key(77, 0)) : in;
    const auto rest = add(t, in, scale(t, seen, -1));
    const auto expected = add(t, product_with(t, seen, t.constant(dense.get())),
                              product_with(t, rest, t.constant(std::as_const(map.weight->value).get())));
    double worst = 0;
    for (index_t i = 0; i < 15; ++i) worst = std::max(worst, std::abs(y.value.data[i] - expected.value.data[i]));
    CHECK(worst < 1e-9);
    if (drops) CHECK(std::abs(rest.value.data[0]) + std::abs(rest.value.data[1]) + std::abs(rest.value.data[2]) > 0);
  }
  pass<B, double> off{t, {}, nullptr, false};
  CHECK(map(off, t.input(x.get())).value.data[0] != Approx(0).margin(1e-12));
}

TEST_CASE("PiSSA and OLoRA take PEFT's first values out of the map and leave the model alone") {
  const auto entry = entry_of("pissa");
  const auto ids = json::get<ids_list>(entry, "ids", "golden");
  for (const auto& [how, converted] :
       {std::pair(lora_init::pissa, "pissa_converted"), std::pair(lora_init::olora, "olora_converted")}) {
    const auto model = load_model<reference, double>(base_of(entry));
    const auto plain = logits_of(model, ids);
    lora_options o{.rank = 3, .alpha = 6, .targets = {"q_proj", "v_proj", "down_proj"}};
    o.init = how;
    auto p = attach_lora(model, o);
    CHECK(gap(logits_of(model, ids), plain) < 1e-10);  // starts as the model
    CHECK(logits_of(model, ids, false) == plain);      // and the reference is the model itself, not what is left of it
    // PEFT's conversion holds A₀ below A and −B₀ beside B.
    const auto theirs = weight_files::open(folder_of(converted), "adapter_model");
    p.network().for_each_linear([&](const std::string& name, linear<reference, double>& map) {
      if (!map.adapter) return;
      const auto read = [&](const char* end) {
        const std::string key = join("base_model.model.", name, end);
        std::vector<double> out(static_cast<std::size_t>(theirs.info(key).elements));
        theirs.read(key, std::span<double>(out));
        return out;
      };
      const auto a = read(".lora_A.weight"), b = read(".lora_B.weight");
      const auto own_a = map.adapter->a->value.host(), own_b = map.adapter->b->value.host();
      const auto in = static_cast<std::size_t>(map.inputs()), out = static_cast<std::size_t>(map.outputs());
      double worst = 0, most = 0;
      for (std::size_t i = 0; i < out; ++i)
        for (std::size_t j = 0; j < in; ++j) {
          double mine = 0, other = 0;
          for (std::size_t k = 0; k < 3; ++k) {
            mine += own_b[i * 3 + k] * own_a[k * in + j];
            other -= b[i * 6 + 3 + k] * a[(3 + k) * in + j];
          }
          worst = std::max(worst, std::abs(mine - other)), most = std::max(most, std::abs(mine));
        }
      CHECK(worst < 1e-5);
      CHECK(most > 0.01);
    });
    auto data = golden_pairs(entry.at("pairs"), false);
    for (auto& each : data) each.replies.push_back({{each.replies[0].tokens.rbegin(), each.replies[0].tokens.rend()}});
    CHECK(run_gradients(p, dpo{}, data) ==
          Approx(std::log(2.0)).epsilon(1e-12));  // policy and reference agree at first
    double largest = 0;
    for (const auto& each : p.trainable())
      for (const double g : each.parameter->gradient.host()) largest = std::max(largest, std::abs(g));
    CHECK(largest > 1e-6);
  }
}

TEST_CASE("first values of factors") {
  const shape extent{40, 30};
  std::vector<double> w(1200);
  for (std::size_t i = 0; i < w.size(); ++i) {  // singular values fall fast: what iterations find is what there is
    const auto row = static_cast<double>(i / 30), column = static_cast<double>(i % 30);
    w[i] = 1 / (1 + row + column);
  }
  const auto product_of = [&](const lora_factors& f, std::size_t rank) {
    std::vector<double> out(w.size(), 0);
    for (std::size_t i = 0; i < 40; ++i)
      for (std::size_t k = 0; k < rank; ++k)
        for (std::size_t j = 0; j < 30; ++j) out[i * 30 + j] += f.b[i * rank + k] * f.a[k * 30 + j];
    return out;
  };
  const auto exact = product_of(first_lora_factors(lora_init::pissa, 0, extent, w, 4, 2, 1, "m"), 4);
  const auto quick = product_of(first_lora_factors(lora_init::pissa, 4, extent, w, 4, 2, 1, "m"), 4);
  CHECK(gap(quick, exact) < 1e-10);
  double left = 0, all = 0;
  for (std::size_t i = 0; i < w.size(); ++i) left += std::pow(w[i] - 2 * exact[i], 2), all += w[i] * w[i];
  CHECK(std::sqrt(left / all) < 1e-2);
  const auto whole = product_of(first_lora_factors(lora_init::olora, 0, extent, w, 30, 1, 1, "m"), 30);
  CHECK(gap(whole, w) < 1e-12);  // all of Q R is W
  const auto normal = first_lora_factors(lora_init::gaussian, 0, {400, 5000}, {}, 4, 1, 1, "m");
  double mean = 0, square = 0;
  for (const double x : normal.a) mean += x / 20000, square += x * x / 20000;
  CHECK(std::abs(mean) < 0.01);
  CHECK(std::sqrt(square) == Approx(0.25).epsilon(0.02));
  CHECK(std::all_of(normal.b.begin(), normal.b.end(), [](double x) { return x == 0; }));
  const auto random = first_lora_factors(lora_init::random, 0, {40, 30}, {}, 4, 1, 1, "m");
  CHECK(*std::max_element(random.b.begin(), random.b.end()) > 0.4);
  CHECK(*std::max_element(random.b.begin(), random.b.end()) <= 0.5);
  CHECK_FAILS("bad_argument", "at most 30", first_lora_factors(lora_init::pissa, 0, extent, w, 31, 1, 1, "m"));
  CHECK_FAILS("bad_argument", "at most 30", first_lora_factors(lora_init::olora, 0, extent, w, 31, 1, 1, "m"));
}

TEST_CASE("a new adapter of any kind starts as the model, and every trained tensor learns") {
  const auto model = load_model<reference, double>(golden / "families" / "qwen2");  // tied, with biases
  const ids_list ids{5, 9, 3, 33, 2, 3};
  const auto plain = logits_of(model, ids);
  lora_options o{.rank = 2};
  o.dora = true;
  o.biases = trained_biases::all;
  o.modules_to_save = {"model.norm"};
  o.trainable_tokens = {3, 33};
  auto p = attach_lora(model, o);
  CHECK(logits_of(model, ids) == plain);
  CHECK(p.trainable().size() == 2 * 7 * 3 + 2 * 3 + 1 + 1);
  example e;
  e.prompt = {ids[0]}, e.replies.push_back({{ids.begin() + 1, ids.end()}});
  run_gradients(p, sft{}, {e});
  for (const auto& [name, parameter] : p.trainable()) {
    double largest = 0;
    for (const double g : parameter->gradient.host()) largest = std::max(largest, std::abs(g));
    INFO(name);
    // Keys' biases shift every score of a row alike; A learns once B is not zero.
    if (name.find("lora_A") == std::string::npos && name.find("k_proj.base_layer.bias") == std::string::npos)
      CHECK(largest > 1e-9);
  }
  model.network().for_each_weight([](const std::string&, auto& w) { CHECK_FALSE(w->trainable()); });
  train_all(model);
  CHECK(logits_of(model, ids) == plain);
  model.network().for_each_weight([](const std::string&, auto& w) { CHECK_FALSE(w->stand_in); });

  o = {.rank = 2};
  o.init = lora_init::random;
  attach_lora(model, o);
  CHECK(gap(logits_of(model, ids), plain) > 1e-2);
}

TEST_CASE("options that cannot go together are refused, and so are modules that are not there") {
  const auto model = load_model<reference, float>(golden / "families" / "qwen2");
  const auto refuse = [&](const char* words, auto&& change) {
    lora_options o{.rank = 2};
    change(o);
    CHECK_FAILS("bad_argument", words, attach_lora(model, o));
  };
  refuse("pissa", [](auto& o) { o.dora = true, o.init = lora_init::pissa; });
  refuse("pissa_iterations", [](auto& o) { o.pissa_iterations = 3; });
  refuse("33 stands there twice", [](auto& o) { o.trainable_tokens = {33, 2, 33}; });
  refuse("outside the vocabulary of 61", [](auto& o) { o.trainable_tokens = {61}; });
  refuse("trained already", [](auto& o) { o.trainable_tokens = {6}, o.modules_to_save = {"embed_tokens"}; });
  refuse("\"nowhere\"", [](auto& o) { o.modules_to_save = {"norm", "nowhere"}; });
  refuse("trained twice", [](auto& o) { o.modules_to_save = {"self_attn"}; });
  refuse("at most 32", [](auto& o) { o.rank = 33, o.init = lora_init::olora; });
  index_t iterations = 0;
  CHECK(lora_init_from_name("pissa_niter_16", iterations, "init") == lora_init::pissa);
  CHECK(iterations == 16);
  CHECK_FAILS("bad_argument", "pissa, olora", lora_init_from_name("pisa", iterations, "init"));
  CHECK_FAILS("bad_argument", "pissa_niter_N", lora_init_from_name("pissa_niter_", iterations, "init"));
  CHECK_FAILS("bad_argument", "lora_only", trained_biases_from_name("some", "biases"));
}

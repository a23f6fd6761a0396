// SPDX-License-Identifier: BSL-1.0
// Several adapters together: sums, TIES, DARE, and one adapter that does what all do.
#include <plumb/models/combine_adapters.hpp>
#include <plumb/models/merge_models.hpp>

#include "model_cases.hpp"

using namespace plumb;
using namespace plumb_test;

namespace {

const ids_list ids{1, 5, 9, 33, 60, 2, 17};

/// A folder with an adapter of random numbers on the given maps of the tiny Llama.
std::filesystem::path make_adapter(const temporary_folder& place, const char* name, index_t rank, double alpha,
                                   std::vector<std::string> targets, std::uint64_t seed) {
  const auto model = load_model<cpu, double>(golden / "tiny_llama");
  auto p = attach_lora(model, {.rank = rank, .alpha = alpha, .targets = std::move(targets), .seed = seed});
  for (const auto& each : p.trainable()) {
    const auto extent = each.parameter->value.extent();
    each.parameter->value = random_tensor<cpu, double>(model.device(), extent, ++seed, -0.4, 0.4);
  }
  save_adapter(p, place / name);
  return place / name;
}

merge_method method_of(std::string_view name) {
  for (std::size_t i = 0; i < std::size(merge_method_names); ++i)
    if (merge_method_names[i] == name) return static_cast<merge_method>(i);
  FAIL("no method " << name);
  return {};
}

/// What each map's change makes of the vector cos 0, cos 1, …, by name.
std::map<std::string, std::vector<double>> probed(const policy<cpu, double>& p) {
  std::map<std::string, std::vector<double>> out;
  p.network().for_each_linear([&](const std::string& name, linear<cpu, double>& map) {
    if (!map.adapter) return;
    const auto a = map.adapter->a->value.host(), b = map.adapter->b->value.host();
    const auto rank = static_cast<std::size_t>(map.adapter->rank()), in = static_cast<std::size_t>(map.inputs());
    auto& y = out[name];
    y.assign(static_cast<std::size_t>(map.outputs()), 0);
    for (std::size_t r = 0; r < rank; ++r) {
      double inner = 0;
      for (std::size_t i = 0; i < in; ++i) inner += a[r * in + i] * std::cos(static_cast<double>(i));
      for (std::size_t j = 0; j < y.size(); ++j) y[j] += map.adapter->scale * b[j * rank + r] * inner;
    }
  });
  return out;
}

}  // namespace

TEST_CASE("adapters out of singular values are PEFT's, for adapters of different ranks", "[merge][golden]") {
  const auto document = read_golden("merge.json");
  const auto model = load_model<cpu, double>(golden / "tiny_llama");
  const std::vector<weighted_adapter> both{{golden / "tiny_llama_adapter", 0.75},
                                           {golden / "adapters" / "pissa_converted", -0.5}};
  for (const auto& each : document.as_object().at("svd").as_array()) {
    const auto& c = each.as_object();
    const auto name = json::get<std::string>(c, "method", "golden");
    INFO(name);
    merge_options how{.density = json::get_or<double>(c, "density", 1.0, "golden")};
    if (name == "ties_svd") how.method = merge_method::ties;
    if (name == "magnitude_prune_svd") how.method = merge_method::prune;
    const auto rank = json::get<index_t>(c, "rank", "golden");
    const auto p = compress_adapters(model, both, rank, how);
    const auto found = probed(p);
    const auto& expected = c.at("changes").as_object();
    REQUIRE(found.size() == expected.size());
    for (const auto& [map, numbers] : found)
      CHECK(distance(numbers, json::get<std::vector<double>>(expected, map, "golden")) < 1e-9);
    const auto twice = probed(compress_adapters(model, {{both[0].folder, 1.5}, {both[1].folder, -1.0}}, rank, how));
    const auto& first = *found.begin();  // scale 2 applied twice, as versions of PEFT did: not what this gives
    CHECK(distance(twice.at(first.first), first.second) > 0.1);
  }
  // As many singular values as the ranks together: nothing is lost, and saved and read it is the same.
  const auto together = logits_of(merge_adapters(model, both), ids);
  temporary_folder place;
  save_adapter(compress_adapters(model, both, 9), place / "whole");
  CHECK(distance(logits_of(model, ids), together) < 1e-12);
  save_adapter(compress_adapters(model, both, 40), place / "more");  // never more than there is to say
  CHECK(read_adapter_config(place / "more").lora.rank == 9);
  const auto again = load_model<cpu, double>(golden / "tiny_llama");
  (void)load_adapter(again, place / "whole");
  CHECK(distance(logits_of(again, ids), together) < 1e-12);
  (void)compress_adapters(model, both, 1);
  CHECK(distance(logits_of(model, ids), together) > 1e-4);
  CHECK_THROWS_AS(compress_adapters(model, both, 0), error);
  // A rank above the smaller side of a map: that side (v_proj has 16 outputs).
  const auto wide = compress_adapters(model, both, 30, {.method = merge_method::ties, .density = 0.9});
  wide.network().for_each_linear([](const std::string& name, linear<cpu, double>& map) {
    if (map.adapter) CHECK(map.adapter->rank() == (name.ends_with("v_proj") || name.ends_with("k_proj") ? 16 : 30));
  });
}

TEST_CASE("arcs between vectors", "[merge][golden]") {
  const auto document = read_golden("merge.json");
  for (const auto& each : document.as_object().at("slerp").as_array()) {
    const auto& c = each.as_object();
    const auto vector_of = [&](const char* key) { return json::get<std::vector<double>>(c, key, "golden"); };
    const auto out = slerp(vector_of("a"), vector_of("b"), json::get<double>(c, "t", "golden"));
    CHECK(distance(out, vector_of("out")) < 1e-13);
  }
  using numbers = std::vector<double>;
  const numbers a{3, 4}, turned{-4, 3};
  CHECK(distance(slerp(a, turned, 0.5), numbers{-1 / std::sqrt(2.0), 7 / std::sqrt(2.0)}) < 1e-15);  // length 5 stays
  CHECK(distance(slerp(a, a, 0.3), a) < 1e-15);
  CHECK(distance(slerp(a, numbers{6, 8}, 0.5), numbers{4.5, 6}) < 1e-15);     // one direction: the line between
  CHECK(distance(slerp(a, numbers{-3, -4}, 0.25), numbers{1.5, 2}) < 1e-15);  // opposite: no arc alone, the line
  CHECK(slerp(a, numbers{0, 0}, 0.25) == numbers{2.25, 3});
  CHECK(slerp(numbers{0, 0}, numbers{0, 0}, 0.5) == numbers{0, 0});
  CHECK(slerp(numbers{}, numbers{}, 0.5).empty());
  CHECK(distance(slerp(numbers{3e200, 4e200}, numbers{-4e200, 3e200}, 0.5),
                 numbers{-1e200 / std::sqrt(2.0), 7e200 / std::sqrt(2.0)}) < 1e185);
  const double close = 1e-7;  // an arc so short that the cosine cannot see it
  for (const double x : slerp(numbers{1, 0}, numbers{1, close}, 0.5)) CHECK(std::isfinite(x));
  CHECK_THROWS_AS(slerp(a, numbers{1}, 0.5), error);
}

TEST_CASE("models merge weight by weight", "[merge]") {
  temporary_folder place;
  const auto base = load_model<cpu, double>(golden / "tiny_llama");
  const auto variant = [&](const char* name, std::uint64_t seed) {
    return merge_adapter(load_adapter(base, make_adapter(place, name, 2, 3, {"q_proj", "down_proj"}, seed)));
  };
  const auto one = variant("one", 10), two = variant("two", 90);
  const auto plain = logits_of(base, ids, false), of_one = logits_of(one, ids), of_two = logits_of(two, ids);
  CHECK(distance(logits_of(merge_models<cpu, double>(base, {{one, 1}}), ids), of_one) < 1e-12);
  CHECK(distance(logits_of(merge_models<cpu, double>(base, {{one, 0}}), ids), plain) < 1e-12);
  CHECK(distance(logits_of(merge_models<cpu, double>(one, {{base, 1}, {two, 0}}), ids), plain) < 1e-12);
  // Changes of merged adapters are the adapters' changes.
  const std::vector<weighted_adapter> both{{place / "one", 0.7}, {place / "two", -0.4}};
  for (const auto method : {merge_method::linear, merge_method::ties}) {
    const merge_options how{.method = method, .density = 0.3};
    const auto models = merge_models<cpu, double>(base, {{one, 0.7}, {two, -0.4}}, how);
    CHECK(distance(logits_of(models, ids), logits_of(merge_adapters(base, both, how), ids)) < 1e-10);
  }
  CHECK(distance(logits_of(slerp_models(one, two, 0.0), ids), of_one) < 1e-12);
  CHECK(distance(logits_of(slerp_models(one, two, 1.0), ids), of_two) < 1e-12);
  const auto middle = slerp_models(one, two, 0.4);
  std::vector<std::vector<double>> expected, found;
  const auto collect = [](const language_model<cpu, double>& m, auto& to) {
    m.network().for_each_weight([&](const std::string&, weight_ptr<cpu, double>& w) { to.push_back(w->value.host()); });
  };
  std::vector<std::vector<double>> second;
  collect(one, expected), collect(two, second), collect(middle, found);
  for (std::size_t i = 0; i < found.size(); ++i) CHECK(distance(found[i], slerp(expected[i], second[i], 0.4)) == 0);

  CHECK_THROWS_AS((merge_models<cpu, double>(base, {})), error);
  CHECK_THROWS_AS((merge_models<cpu, double>(base, {{one, std::nan("")}})), error);
  const auto other = load_model<cpu, double>(golden / "families" / "qwen2");
  CHECK_THROWS_AS((merge_models<cpu, double>(base, {{other, 1}})), error);
  CHECK_THROWS_AS(slerp_models(base, other, 0.5), error);
}

TEST_CASE("sums and TIES are PEFT's", "[merge][golden]") {
  const auto document = read_golden("merge.json");
  std::vector<std::vector<double>> changes;
  for (const auto& row : document.as_object().at("changes").as_array())
    changes.push_back(json::as<std::vector<double>>(row, "changes", "golden"));
  for (const auto& each : document.as_object().at("cases").as_array()) {
    const auto& c = each.as_object();
    const auto weights = json::get<std::vector<double>>(c, "weights", "golden");
    const auto expected = json::get<std::vector<double>>(c, "merged", "golden");
    merge_options how{.density = json::get_or<double>(c, "density", 1.0, "golden")};
    how.method = method_of(json::get<std::string>(c, "method", "golden"));
    const auto merged = merge_changes(changes, weights, how, 0);
    CHECK(distance(merged, expected) < 1e-14);
  }
}

TEST_CASE("DARE keeps the mean, drops its share, and depends on seed and place alone", "[merge]") {
  const std::vector<std::vector<double>> changes{std::vector<double>(4000, 0.5), std::vector<double>(4000, -0.2)};
  const std::vector<double> weights{1, 2};
  const merge_options how{.method = merge_method::dare, .density = 0.25, .seed = 9};
  const auto once = merge_changes(changes, weights, how, 4);
  double sum = 0;
  std::size_t untouched = 0;
  for (const double x : once) sum += x, untouched += x == 0 ? 1 : 0;
  CHECK(std::abs(sum / 4000 - 0.1) < 0.08);  // 0.5 − 2 · 0.2, deviation of the mean 0.02
  CHECK(untouched > 2000);                   // (1 − density)² of them, 2250
  CHECK(untouched < 2500);
  CHECK(merge_changes(changes, weights, how, 4) == once);
  CHECK(merge_changes(changes, weights, how, 5) != once);
  const auto whole = merge_changes(changes, weights, {.method = merge_method::dare, .density = 1}, 0);
  CHECK(whole == merge_changes(changes, weights, {}, 0));
  const auto elected = merge_changes(changes, weights, {.method = merge_method::dare_ties, .density = 1}, 0);
  for (const double x : elected) CHECK(x == 0.5);  // the positive sign wins
}

TEST_CASE("adapters merged together do what their sum does", "[merge]") {
  temporary_folder place;
  const auto a = make_adapter(place, "a", 2, 3, {"q_proj", "down_proj"}, 10);
  const auto b = make_adapter(place, "b", 3, 1, {"q_proj", "v_proj"}, 50);
  const auto model = load_model<cpu, double>(golden / "tiny_llama");
  const auto base = logits_of(model, ids);

  const auto alone = logits_of(merge_adapter(load_adapter(model, a)), ids);
  CHECK(distance(logits_of(merge_adapters(model, {{a}}), ids), alone) < 1e-12);
  CHECK(distance(alone, base) > 1e-3);

  const std::vector<weighted_adapter> both{{a, 0.7}, {b, -0.4}};
  const auto merged = merge_adapters(model, both);
  const auto together = logits_of(merged, ids);
  CHECK(distance(logits_of(model, ids), base) == 0);  // the model itself stays
  auto joined = join_adapters(model, both);
  CHECK(distance(logits_of(model, ids), together) < 1e-12);
  save_adapter(joined, place / "joined");
  const auto again = load_model<cpu, double>(golden / "tiny_llama");
  (void)load_adapter(again, place / "joined");
  CHECK(distance(logits_of(again, ids), together) < 1e-12);
  // Order matters not, weights do.
  CHECK(distance(logits_of(merge_adapters(model, {both[1], both[0]}), ids), together) < 1e-12);
  CHECK(distance(logits_of(merge_adapters(model, {{a, 0.7}, {b, -0.5}}), ids), together) > 1e-4);
  // The change of a map that both have is the dense sum, without cross terms.
  const auto ties = logits_of(merge_adapters(model, both, {.method = merge_method::ties, .density = 0.3}), ids);
  CHECK(distance(ties, together) > 1e-4);
  temporary_folder saved;
  save_model(merged, saved.path());
  CHECK(distance(logits_of(load_model<cpu, double>(saved.path()), ids), together) < 1e-12);
}

TEST_CASE("what cannot be combined is refused", "[merge][bad input]") {
  temporary_folder place;
  const auto a = make_adapter(place, "a", 2, 3, {"q_proj"}, 10);
  const auto model = load_model<cpu, double>(golden / "tiny_llama");
  CHECK_THROWS_AS(merge_adapters(model, {}), error);
  CHECK_THROWS_AS(merge_adapters(model, {{a, std::nan("")}}), error);
  CHECK_THROWS_AS(merge_adapters(model, {{a}}, {.method = merge_method::ties, .density = 0}), error);
  CHECK_THROWS_AS(merge_adapters(model, {{place / "none"}}), error);
  CHECK_THROWS_AS(merge_changes({{1.0}, {1.0, 2.0}}, std::vector<double>{1, 1}, {}, 0), error);
  CHECK_THROWS_AS(merge_changes({{1.0}}, std::vector<double>{1, 1}, {}, 0), error);
}

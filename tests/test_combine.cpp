// SPDX-License-Identifier: BSL-1.0
// Several adapters together: sums, TIES, DARE, and one adapter that does what all do.
#include <plumb/models/combine_adapters.hpp>

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

}  // namespace

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
    how.method = json::get<std::string>(c, "method", "golden") == "ties" ? merge_method::ties : merge_method::linear;
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

// SPDX-License-Identifier: BSL-1.0
// What the tests of whole models share: logits, losses and gradients of a model folder, and the golden files.
#pragma once

#include <set>

#include <plumb/backend/cpu.hpp>
#include <plumb/io/json.hpp>
#include <plumb/models/adapter.hpp>
#include <plumb/objective/dpo.hpp>
#include <plumb/objective/sft.hpp>
#include <plumb/rollout/generate.hpp>
#include <plumb/rollout/score.hpp>
#include <plumb/train/run.hpp>

#include "catch.hpp"
#include "random_tensor.hpp"
#include "support.hpp"

namespace plumb_test {

using namespace plumb;

inline const std::filesystem::path golden = repository() / "tests" / "golden";

inline json::value read_golden(const char* name) { return json::parse_file(golden / name); }

using ids_list = std::vector<token_id>;

/// Logits [tokens, vocabulary] of one sequence.
template <class B, class T>
std::vector<T> logits_of(const language_model<B, T>& model, const ids_list& ids, bool adapters = true) {
  forest f;
  f.add(ids);
  batch_layout layout;
  f.lay_out(layout);
  tape<B, T> t(model.device());
  t.set_recording(false);
  pass<B, T> p{t, upload(t, layout), nullptr, adapters};
  const auto z = model.network().logits(p, model.network().hidden(p));
  std::vector<T> out(static_cast<std::size_t>(z.value.size()));
  B::download(t.device(), z.value.data, out.data(), z.value.size());
  return out;
}

/// Loss and gradients of `method` over `data`, one micro-batch after the other if `split`, with blocks that run again if
/// `recompute_blocks`.
template <class B, class T, class Objective>
double run_gradients(policy<B, T>& p, const Objective& method, std::vector<example> data,
                     std::size_t head_memory = std::size_t{64} << 20, bool split = false,
                     bool recompute_blocks = false) {
  scorer<B, T> engine(p.model());
  const head_options head{head_memory, false, false};
  if (has(Objective::needs, need::reference)) score_references(engine, std::span(data), head);
  for (const auto& each : p.trainable()) each.parameter->set_trainable(true);  // gradients zero
  std::vector<const example*> all;
  for (const auto& e : data) all.push_back(&e);
  training_batch batch;
  step_memory<Objective::level, T> memory;
  const auto windows = count_window(method, std::span<const example* const>(all), batch, memory);
  double loss = 0;
  const std::size_t step = split ? 1 : all.size();
  for (std::size_t i = 0; i < all.size(); i += step) {
    batch.assign(std::span<const example* const>(all).subspan(i, step));
    const auto scores = engine.run(batch, {.learn = true, .head = head, .recompute_blocks = recompute_blocks});
    const auto& part = evaluate_part(method, make_records<Objective::level>(batch, scores), windows, memory.evaluation);
    spread_slopes<Objective::level>(batch, part.slopes, memory.slopes);
    engine.learn(memory.slopes);
    loss += part.total;
  }
  return loss;
}

inline std::vector<example> golden_pairs(const json::value& pairs, bool with_rejected) {
  std::vector<example> out;
  for (const auto& pair : pairs.as_array()) {
    const auto& o = pair.as_object();
    example e;
    e.prompt = json::get<ids_list>(o, "prompt_ids", "golden");
    e.replies.push_back({json::get<ids_list>(o, "chosen_ids", "golden")});
    if (with_rejected) e.replies.push_back({json::get<ids_list>(o, "rejected_ids", "golden")});
    out.push_back(std::move(e));
  }
  return out;
}

/// The gradients of all that is trained.
template <class B, class T>
std::vector<std::vector<T>> gradients_of(const policy<B, T>& p) {
  std::vector<std::vector<T>> out;
  for (const auto& each : p.trainable()) out.push_back(each.parameter->gradient.host());
  return out;
}

/// The largest distance of a gradient from the golden file, relative to the tensor's largest number.
template <class B, class T>
double worst_gradient(const policy<B, T>& p, const char* file, std::string_view prefix) {
  const auto expected = safetensors_file::open(golden / file);
  const auto& config = p.model().config();
  const auto stacks = hub_stacks(config);
  double worst = 0;
  std::set<std::string> used;
  for (const auto& each : p.trainable()) {
    const auto place = find_in_stack(config, stacks, each.name);
    const auto* info = expected.find(place ? place->name : join(prefix, each.name));
    REQUIRE(info != nullptr);
    used.insert(info->name);
    const auto extent = each.parameter->value.extent();
    std::vector<double> numbers(static_cast<std::size_t>(extent.size()));
    CHECK((place ? info->elements % extent.size() == 0 : info->elements == extent.size()));
    expected.read_part(info->name, place ? place->first : 0, std::span<double>(numbers));
    if (place ? place->transposed : lies_transposed(config, each.name))
      numbers = plumb::detail::transposed(std::span<const double>(numbers), extent.columns, extent.rows);
    const auto found = each.parameter->gradient.host();
    // Some gradients vanish: a softmax does not feel what all keys share. Of them only noise is left on both sides.
    const auto noise = [](double x) { return std::abs(x) < 1e-6; };
    if (std::all_of(numbers.begin(), numbers.end(), noise) && std::all_of(found.begin(), found.end(), noise)) continue;
    worst = std::max(worst, distance(found, numbers));
  }
  CHECK(expected.tensors().size() == used.size());
  return worst;
}

template <class B, class T>
policy<B, T> all_weights(const std::filesystem::path& folder) {
  return train_all(load_model<B, T>(folder));
}

}  // namespace plumb_test

// SPDX-License-Identifier: BSL-1.0
// The bodies of train/run.hpp: orders, entries of the log, fingerprints. Collected by plumb/impl.hpp.
#pragma once

#include <algorithm>
#include <bit>
#include <cmath>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include <plumb/train/run.hpp>

namespace plumb::inline v0 {

void shuffled(std::size_t count, std::uint64_t key, std::vector<std::size_t>& order) {
  order.resize(count);
  for (std::size_t i = 0; i < count; ++i) order[i] = i;
  for (std::size_t i = count; i > 1; --i) {
    std::swap(order[i - 1], order[philox_word64(key, i) % i]);
  }
}
std::vector<std::size_t> shuffled(std::size_t count, std::uint64_t key) {
  std::vector<std::size_t> order;
  shuffled(count, key, order);
  return order;
}

double run_plan::epoch_of(index_t done) const noexcept {
  if (epoch_ends.empty()) return static_cast<double>(done) / static_cast<double>(steps_per_epoch);
  const auto [epoch, first] = epoch_at(done);
  const auto end = epoch_ends[std::min(epoch, epoch_ends.size() - 1)];
  return static_cast<double>(epoch) +
         (end > first ? static_cast<double>(done - first) / static_cast<double>(end - first) : 0);
}

std::pair<std::size_t, index_t> run_plan::epoch_at(index_t step) const {
  const auto next = std::upper_bound(epoch_ends.begin(), epoch_ends.end(), step);
  return {static_cast<std::size_t>(next - epoch_ends.begin()), next == epoch_ends.begin() ? 0 : *(next - 1)};
}

void run_plan::make_order(std::size_t epoch, std::span<const example> data, epoch_order& out) const {
  shuffled(data.size(), derive_key(key, epoch), out.numbers);
  out.epoch = epoch;
  out.examples.clear();
  for (const std::size_t i : out.numbers) out.examples.push_back(&data[i]);
  if (batch_tokens > 0) split_by_tokens(out.examples, batch_tokens, out.parts);
}

std::span<const example* const> run_plan::examples_of(index_t step, std::span<const example> data,
                                                      epoch_order& kept) const {
  const bool by_tokens = !epoch_ends.empty();
  const auto [epoch, start] =
      by_tokens ? epoch_at(step)
                : std::pair(static_cast<std::size_t>(step / steps_per_epoch), step / steps_per_epoch * steps_per_epoch);
  if (kept.epoch != epoch) make_order(epoch, data, kept);
  if (by_tokens) {
    const auto begin = static_cast<std::size_t>((step - start) * accumulate);
    const auto& last = kept.parts[std::min(begin + static_cast<std::size_t>(accumulate), kept.parts.size()) - 1];
    return {kept.parts[begin].data(), last.data() + last.size()};
  }
  const auto first = static_cast<std::size_t>((step - start) * per_step);
  const auto all = std::span<const example* const>(kept.examples);
  return all.subspan(first, std::min(all.size() - first, static_cast<std::size_t>(per_step)));
}
std::vector<const example*> run_plan::examples_of(index_t step, std::span<const example> data) const {
  epoch_order order;
  const auto chosen = examples_of(step, data, order);
  return {chosen.begin(), chosen.end()};
}

void set_schedule(run_plan& plan, const fit_options& o) {
  const double warmup = o.warmup < 1 ? std::ceil(o.warmup * static_cast<double>(plan.steps)) : o.warmup;
  plan.schedule = {o.schedule, static_cast<index_t>(warmup), plan.steps};
}

run_plan plan_run(std::size_t examples, const fit_options& o) {
  if (examples == 0) throw error(errc::bad_data, "data", "there is no row to train on");
  run_plan plan;
  plan.per_step = std::min(o.batch * o.accumulate, static_cast<index_t>(examples));
  plan.steps_per_epoch = (static_cast<index_t>(examples) + plan.per_step - 1) / plan.per_step;
  plan.steps = o.steps > 0 ? o.steps
                           : std::max<index_t>(1, static_cast<index_t>(std::ceil(
                                                      o.epochs * static_cast<double>(plan.steps_per_epoch) - 1e-9)));
  plan.key = derive_key(o.seed, 0);
  plan.accumulate = o.accumulate;
  plan.batch_tokens = o.batch_tokens;
  set_schedule(plan, o);
  return plan;
}

run_plan plan_run(std::span<const example> data, const fit_options& o) {
  run_plan plan = plan_run(data.size(), o);
  if (o.batch_tokens == 0) return plan;
  plan.steps = 0;
  const auto enough = [&](std::size_t epochs) {
    return o.steps > 0 ? plan.steps >= o.steps : static_cast<double>(epochs) >= o.epochs - 1e-9;
  };
  epoch_order order;
  for (std::size_t epoch = 0; !enough(epoch); ++epoch) {
    plan.make_order(epoch, data, order);
    const index_t own = (static_cast<index_t>(order.parts.size()) + o.accumulate - 1) / o.accumulate;
    plan.epoch_ends.push_back((epoch == 0 ? 0 : plan.epoch_ends.back()) + own);
    const double share = o.steps > 0 ? 1 : std::min(1.0, o.epochs - static_cast<double>(epoch));
    plan.steps += static_cast<index_t>(std::ceil(share * static_cast<double>(own) - 1e-9));
  }
  if (o.steps > 0) plan.steps = o.steps;
  plan.steps_per_epoch = plan.epoch_ends.front();
  plan.per_step = (static_cast<index_t>(data.size()) + plan.steps_per_epoch - 1) / plan.steps_per_epoch;
  set_schedule(plan, o);
  return plan;
}

void shorten(std::span<example> data, index_t most) {
  for (example& e : data)
    for (reply& r : e.replies) {
      const index_t room = most - static_cast<index_t>(e.prompt.size());
      if (room < 1)
        throw error(errc::bad_data, e.place,
                    join("the prompt alone has ", e.prompt.size(), " tokens; max_tokens is ", most,
                         "; raise it or shorten the prompt"));
      if (static_cast<index_t>(r.tokens.size()) <= room) continue;
      for (std::vector<double>* each :
           {&r.token_references, &r.old, &r.advantages, &r.old_values, &r.returns, &r.targets})
        if (each->size() == r.tokens.size()) each->resize(static_cast<std::size_t>(room));
      r.tokens.resize(static_cast<std::size_t>(room));
      r.teacher.ids.resize(static_cast<std::size_t>(room * r.teacher.wide));
      r.teacher.logp.resize(static_cast<std::size_t>(room * r.teacher.wide));
      if (!r.mask.empty()) r.mask.resize(static_cast<std::size_t>(room));
      r.reference = missing;  // it was the log-probability of the whole reply
    }
}

log_entry entry_of(run_state& state, index_t step, double epoch, double rate) {
  log_entry entry{step, epoch, {}};
  entry.values.reserve(state.pending.size() + 2);
  entry.set("loss", state.pending.value("loss"));
  for (const metric& m : state.pending) entry.set(m.name, m.value());
  entry.set("learning_rate", rate);
  entry.set("num_tokens", state.tokens);
  state.pending.clear();
  return entry;
}

log_entry entry_of_evaluation(const metric_list& metrics, index_t step, double epoch, double loss) {
  log_entry entry{step, epoch, {}};
  entry.values.reserve(metrics.size() + 1);
  entry.set("eval_loss", loss);
  std::string name;
  for (const metric& m : metrics) entry.set(name.assign("eval_").append(m.name), m.value());
  return entry;
}

void check_router_loss(const fit_options& options, const model_config& model) {
  if (options.router_loss > 0 && model.experts.count == 0)
    throw error(errc::bad_argument, "router_loss",
                "the model has no mixtures of experts, whose routers it is for; leave it at 0");
}

std::uint64_t fingerprint(std::span<const example> data, const run_plan& plan, const fit_options& o) {
  std::uint64_t hash = 0;
  const auto mix = [&](std::uint64_t x) { hash = derive_key(hash ^ x, 0); };
  const auto mix_double = [&](double x) { mix(std::bit_cast<std::uint64_t>(x)); };
  for (const example& e : data) {
    mix(e.prompt.size());
    for (const token_id t : e.prompt) mix(static_cast<std::uint64_t>(t));
    for (const reply& r : e.replies) {
      mix(r.tokens.size());
      for (const token_id t : r.tokens) mix(static_cast<std::uint64_t>(t));
      mix_double(r.weight);
      for (const bool counts : r.mask) mix(counts ? 1 : 2);
      for (const token_id t : r.teacher.ids) mix(static_cast<std::uint64_t>(t));
      for (const double x : r.teacher.logp) mix_double(x);
      for (const auto* numbers : {&r.old, &r.advantages, &r.old_values, &r.returns, &r.targets})
        for (const double x : *numbers) mix_double(x);
    }
    mix(e.desirable ? 1 : 0);
    mix_double(e.kl);
    mix_double(e.margin);
  }
  mix(static_cast<std::uint64_t>(plan.steps));
  mix(static_cast<std::uint64_t>(plan.per_step));
  mix(static_cast<std::uint64_t>(o.batch));
  if (o.batch_tokens > 0)
    mix(derive_key(static_cast<std::uint64_t>(o.batch_tokens), static_cast<std::uint64_t>(o.accumulate)));
  mix(o.seed);
  mix(static_cast<std::uint64_t>(o.schedule));
  for (const double x : {o.rate, o.warmup, o.weight_decay, o.clip_norm, o.beta1, o.beta2, o.epsilon, o.neftune,
                         static_cast<double>(o.reference_sync), o.reference_share})
    mix_double(x);
  if (o.lora_plus_ratio != 1) mix_double(o.lora_plus_ratio);
  if (o.router_loss != 0) mix(derive_key(std::bit_cast<std::uint64_t>(o.router_loss), 1));
  return hash;
}

}  // namespace plumb::inline v0

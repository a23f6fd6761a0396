// SPDX-License-Identifier: BSL-1.0
// The bodies of train/run.hpp: orders, entries of the log, fingerprints. Collected by plumb/impl.hpp.
#pragma once

#include <bit>
#include <cmath>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include <plumb/train/run.hpp>

namespace plumb::inline v0 {

std::vector<std::size_t> shuffled(std::size_t count, std::uint64_t key) {
  std::vector<std::size_t> order(count);
  for (std::size_t i = 0; i < count; ++i) order[i] = i;
  for (std::size_t i = count; i > 1; --i) {
    std::swap(order[i - 1], order[philox_word64(key, i) % i]);
  }
  return order;
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
  entry.set("loss", state.pending.value("loss"));
  for (const metric& m : state.pending) entry.set(m.name, m.value());
  entry.set("learning_rate", rate);
  entry.set("num_tokens", state.tokens);
  state.pending.clear();
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

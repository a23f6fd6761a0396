// SPDX-License-Identifier: BSL-1.0
// What the tests of training share: made-up token ids, a policy's numbers, a run that is stopped.
#pragma once

#include <cstdint>
#include <vector>

#include <plumb/core/random.hpp>
#include <plumb/models/policy.hpp>
#include <plumb/train/callbacks.hpp>

namespace plumb_test {

/// Token ids below `vocabulary`; a function of the key.
inline std::vector<plumb::token_id> some_tokens(plumb::index_t count, std::uint64_t key,
                                                plumb::token_id vocabulary = 97) {
  std::vector<plumb::token_id> out;
  for (plumb::index_t i = 0; i < count; ++i)
    out.push_back(static_cast<plumb::token_id>(plumb::philox_word(key, static_cast<std::uint64_t>(i)) %
                                               static_cast<std::uint32_t>(vocabulary)));
  return out;
}

/// The numbers of all that the policy trains.
template <class B, class T>
std::vector<std::vector<T>> values(const plumb::policy<B, T>& p) {
  std::vector<std::vector<T>> out;
  for (const auto& each : p.trainable()) out.push_back(each.parameter->value.host());
  return out;
}

/// A callback that ends the run after a step.
struct stop_after {
  plumb::index_t step;
  bool on_step(const plumb::step_info& s) const { return s.step < step; }
};

}  // namespace plumb_test

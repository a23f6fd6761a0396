// SPDX-License-Identifier: BSL-1.0
// Rotary tables as a configuration asks for them.
#pragma once

#include <memory>

#include <plumb/models/config.hpp>
#include <plumb/nn/rotary.hpp>

namespace plumb::inline v0 {

/// Tables for paths of up to `positions` tokens.
template <class B, class T>
std::shared_ptr<const rotary<B, T>> make_rotary(const device_ptr<B>& device, const model_config& c, index_t positions,
                                                double theta, const rope_scaling& scaling) {
  const index_t turned = c.turned_width();
  if (scaling.how == rope_scaling::kind::none)
    return std::make_shared<const rotary<B, T>>(device, positions, c.head_width, turned, theta, c.rotary_pairs());
  const auto f = make_rope_frequencies(turned, theta, scaling, positions);
  return std::make_shared<const rotary<B, T>>(device, positions, c.head_width, f.values, f.magnitude, c.rotary_pairs());
}

}  // namespace plumb::inline v0

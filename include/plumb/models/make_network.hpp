// SPDX-License-Identifier: BSL-1.0
// The one place that chooses among compositions at run time: the body of make_network, for every backend. Programs on the
// backends cpu and reference find it compiled and need not include this.
#pragma once

#include <algorithm>
#include <memory>

#include <plumb/models/cohere.hpp>
#include <plumb/models/dbrx.hpp>
#include <plumb/models/encoder.hpp>
#include <plumb/models/experts.hpp>
#include <plumb/models/families.hpp>
#include <plumb/models/gemma.hpp>
#include <plumb/models/jetmoe.hpp>
#include <plumb/models/llama.hpp>
#include <plumb/models/phi3.hpp>
#include <plumb/models/plain_families.hpp>

namespace plumb::inline v0 {

template <class B, class T>
std::unique_ptr<network<B, T>> make_network(const device_ptr<B>& device, const model_config& c, index_t positions,
                                            weight_source<B, T> make) {
  network_sizes sizes{c.vocabulary, c.hidden_size, c.layers, c.kv_heads * c.head_width, positions};
  const auto behind = [&](auto&& net) -> std::unique_ptr<network<B, T>> {
    return std::make_unique<network_of<std::remove_cvref_t<decltype(net)>>>(std::move(net), sizes);
  };
  if (c.learns_positions()) sizes.positions = std::min(positions, c.max_positions);  // each has a row of weights
  if (c.encodes()) return behind(build_encoder<B, T>(c, make));
  if (const plain_names* names = detail::find_plain_names(c)) {
    return behind(build_plain_decoder<B, T>(device, c, positions, *names, make));
  }
  if (c.family == "phi3") return behind(build_phi3<B, T>(device, c, positions, make));
  if (c.family == "stablelm") return behind(build_stablelm<B, T>(device, c, positions, make));
  if (c.family == "cohere" || c.family == "cohere2") return behind(build_cohere<B, T>(device, c, positions, make));
  if (c.family == "dbrx") return behind(build_dbrx<B, T>(device, c, positions, make));
  if (c.family == "jetmoe") return behind(build_jetmoe<B, T>(device, c, positions, make));
  if (c.experts.count > 0) return behind(build_expert_decoder<B, T>(device, c, positions, make));
  if (c.norms != norm_place::before) return behind(build_gemma<B, T>(device, c, positions, make));
  return behind(build_llama<B, T>(device, c, positions, make));
}

}  // namespace plumb::inline v0

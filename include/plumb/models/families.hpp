// SPDX-License-Identifier: BSL-1.0
// From a configuration to a network, whatever its family. The compositions stay out of the files that use networks.
#pragma once

#include <memory>
#include <string>

#include <plumb/core/function_ref.hpp>
#include <plumb/models/config.hpp>
#include <plumb/nn/network.hpp>

namespace plumb::inline v0 {

/// Gives each weight of a network by its name on the hub: read from files, or random.
template <class B, class T>
using weight_source = function_ref<weight_ptr<B, T>(const std::string& name, shape extent)>;

/// Builds the network that `c` describes.
/// `positions`: the longest path that it will take, at most its own limit where it has one.
/// Compiled once, in float and double, for the backends cpu and reference (models/families_impl.hpp). A program that
/// uses another backend includes models/make_network.hpp as well, where it does not include plumb/cuda.hpp.
template <class B, class T>
std::unique_ptr<network<B, T>> make_network(const device_ptr<B>& device, const model_config& c, index_t positions,
                                            weight_source<B, T> make);

}  // namespace plumb::inline v0

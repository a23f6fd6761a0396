// SPDX-License-Identifier: BSL-1.0
// Every family on the backends cpu and reference, in float and double. Collected by plumb/impl.hpp, which one .cpp of a
// program includes.
#pragma once

#include <plumb/backend/cpu.hpp>
#include <plumb/backend/reference.hpp>
#include <plumb/models/make_network.hpp>

namespace plumb::inline v0 {

template std::unique_ptr<network<cpu, float>> make_network(const device_ptr<cpu>& device, const model_config& c,
                                                           index_t positions, weight_source<cpu, float> make);
template std::unique_ptr<network<cpu, double>> make_network(const device_ptr<cpu>& device, const model_config& c,
                                                            index_t positions, weight_source<cpu, double> make);
template std::unique_ptr<network<reference, float>> make_network(const device_ptr<reference>& device,
                                                                 const model_config& c, index_t positions,
                                                                 weight_source<reference, float> make);
template std::unique_ptr<network<reference, double>> make_network(const device_ptr<reference>& device,
                                                                  const model_config& c, index_t positions,
                                                                  weight_source<reference, double> make);

}  // namespace plumb::inline v0

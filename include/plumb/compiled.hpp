// SPDX-License-Identifier: BSL-1.0
// What the library plumb::compiled holds ready: the common templates on the CPU in float, for SFT and DPO. With
// PLUMB_COMPILED (which that target defines) plumb.hpp includes this, and a program does not compile them again.
#pragma once

#include <plumb/config.hpp>
#include <plumb/plumb.hpp>

namespace plumb::inline v0 {

PLUMB_INSTANTIATE template class tape<cpu, float>;
PLUMB_INSTANTIATE template class scorer<cpu, float>;
PLUMB_INSTANTIATE template class adamw<cpu, float>;
PLUMB_INSTANTIATE template class detail::generation<cpu, float>;
PLUMB_INSTANTIATE template language_model<cpu, float> load_model<cpu, float>(const std::filesystem::path&,
                                                                             const load_options&);
PLUMB_INSTANTIATE template void save_model(const language_model<cpu, float>&, const std::filesystem::path&);
PLUMB_INSTANTIATE template policy<cpu, float> attach_lora(const language_model<cpu, float>&, lora_options);
PLUMB_INSTANTIATE template policy<cpu, float> train_all(const language_model<cpu, float>&);
PLUMB_INSTANTIATE template void save_adapter(const policy<cpu, float>&, const std::filesystem::path&);
PLUMB_INSTANTIATE template policy<cpu, float> load_adapter(const language_model<cpu, float>&,
                                                           const std::filesystem::path&);
PLUMB_INSTANTIATE template fit_result fit(policy<cpu, float>&, const dpo&, std::vector<example>, fit_options);
PLUMB_INSTANTIATE template fit_result fit(policy<cpu, float>&, const sft&, std::vector<example>, fit_options);
PLUMB_INSTANTIATE template fit_result fit(policy<cpu, float>&, const dpo&, std::vector<example>, fit_options,
                                          progress_bar&&);
PLUMB_INSTANTIATE template fit_result fit(policy<cpu, float>&, const sft&, std::vector<example>, fit_options,
                                          progress_bar&&);

}  // namespace plumb::inline v0

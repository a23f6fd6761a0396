// SPDX-License-Identifier: BSL-1.0
// Every objective that plumb ships, by type and by name.
#pragma once

#include <plumb/objective/a2po.hpp>
#include <plumb/objective/alpha_po.hpp>
#include <plumb/objective/aot.hpp>
#include <plumb/objective/aot_unpaired.hpp>
#include <plumb/objective/apo_down.hpp>
#include <plumb/objective/apo_zero.hpp>
#include <plumb/objective/apo_zero_unpaired.hpp>
#include <plumb/objective/asft.hpp>
#include <plumb/objective/bco.hpp>
#include <plumb/objective/bco_pair.hpp>
#include <plumb/objective/bnpo.hpp>
#include <plumb/objective/cispo.hpp>
#include <plumb/objective/compose.hpp>
#include <plumb/objective/cpo.hpp>
#include <plumb/objective/dapo.hpp>
#include <plumb/objective/dft.hpp>
#include <plumb/objective/discopop.hpp>
#include <plumb/objective/distill.hpp>
#include <plumb/objective/dpo.hpp>
#include <plumb/objective/dpo_norm.hpp>
#include <plumb/objective/dpo_pl.hpp>
#include <plumb/objective/dr_grpo.hpp>
#include <plumb/objective/eaft.hpp>
#include <plumb/objective/evaluate_row.hpp>
#include <plumb/objective/exo.hpp>
#include <plumb/objective/f_dpo.hpp>
#include <plumb/objective/grpo.hpp>
#include <plumb/objective/gspo.hpp>
#include <plumb/objective/hinge.hpp>
#include <plumb/objective/infonce.hpp>
#include <plumb/objective/ipo.hpp>
#include <plumb/objective/kto.hpp>
#include <plumb/objective/ld_dpo.hpp>
#include <plumb/objective/nash_md.hpp>
#include <plumb/objective/nca.hpp>
#include <plumb/objective/needs.hpp>
#include <plumb/objective/orpo.hpp>
#include <plumb/objective/plackett_luce.hpp>
#include <plumb/objective/ppo.hpp>
#include <plumb/objective/process_reward.hpp>
#include <plumb/objective/registry.hpp>
#include <plumb/objective/reinforce.hpp>
#include <plumb/objective/reward.hpp>
#include <plumb/objective/reward_regression.hpp>
#include <plumb/objective/rho1.hpp>
#include <plumb/objective/rloo.hpp>
#include <plumb/objective/robust_dpo.hpp>
#include <plumb/objective/row.hpp>
#include <plumb/objective/rrhf.hpp>
#include <plumb/objective/sapo.hpp>
#include <plumb/objective/sft.hpp>
#include <plumb/objective/sft_chosen.hpp>
#include <plumb/objective/simpo.hpp>
#include <plumb/objective/slic.hpp>
#include <plumb/objective/sppo.hpp>
#include <plumb/objective/tdpo.hpp>
#include <plumb/objective/tpo.hpp>
#include <plumb/objective/wpo.hpp>
#include <plumb/objective/xpo.hpp>

namespace plumb::inline v0 {

/// To add an objective: its header above, its type here.
using all_objectives =
    objective_list<sft, dft, asft, eaft, rho1, row_loss<distill>,                            // on tokens
                   reinforce, ppo, grpo, dr_grpo, bnpo, dapo, cispo, gspo, sapo,             // on sampled tokens
                   dpo, robust_dpo, f_dpo, dpo_norm, ipo, hinge, exo, nca, bco_pair, sppo,   // on pairs, with reference
                   apo_zero, apo_down, discopop, wpo, tdpo, ld_dpo, aot, aot_unpaired, xpo,  //
                   simpo, alpha_po, orpo, cpo, slic, sft_chosen,                             // on pairs, without
                   reward, reward_regression, process_reward,                                // reward models
                   kto, apo_zero_unpaired, bco, rloo, a2po, nash_md,                         // on single replies
                   plackett_luce, infonce, dpo_pl, rrhf, tpo>;                               // on ranked replies

/// Calls f with a default-made objective of that name; an unknown name is an error that names the nearest.
///
///     plumb::visit_objective("dpo", [&](auto objective) { plumb::set_parameter(objective, "beta", "0.05"); … });
template <class F>
decltype(auto) visit_objective(std::string_view name, F&& f) {
  return visit_objective_in<all_objectives>(name, f);
}
/// The objective of that name, for records of level L.
template <level L>
any_objective<L> make_objective(std::string_view name) {
  return make_objective_in<all_objectives, L>(name);
}
/// A weighted sum, "dpo + 0.2*sft_chosen".
template <level L>
any_objective<L> parse_objective(std::string_view text) {
  return parse_objective_in<all_objectives, L>(text);
}
/// One `--set key=value`; "also=0.2*sft_chosen" adds terms.
template <level L>
void set_option(any_objective<L>& objective, std::string_view key, std::string_view text) {
  set_option_in<all_objectives, L>(objective, key, text);
}

}  // namespace plumb::inline v0

// SPDX-License-Identifier: BSL-1.0
// The bodies of train/moving_reference.hpp: which objectives have one. Collected by plumb/impl.hpp.
#pragma once

#include <string>

#include <plumb/core/error.hpp>
#include <plumb/train/moving_reference.hpp>

namespace plumb::inline v0 {

void check_moving(const std::string& objective, need needs) {
  if (!has(needs, need::reference))
    throw error(errc::bad_argument, "reference_sync",
                join(objective, " has no reference that could follow the policy; leave it at 0"));
  if (has(needs, need::sequential_kl))
    throw error(errc::bad_argument, "reference_sync",
                join(objective,
                     " compares whole distributions with the model without its adapter, which stays; leave it "
                     "at 0"));
}

}  // namespace plumb::inline v0

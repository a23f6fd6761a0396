// SPDX-License-Identifier: BSL-1.0
// The bodies of train/options.hpp: what each option may be. Collected by plumb/impl.hpp.
#pragma once

#include <cmath>
#include <string>
#include <string_view>

#include <plumb/core/error.hpp>
#include <plumb/train/options.hpp>

namespace plumb::inline v0 {

void fit_options::check() const {
  const auto want = [](bool good, std::string_view key, std::string_view expected, double found) {
    if (!good) throw error(errc::bad_argument, std::string(key), join("expected ", expected, ", found ", found));
  };
  const auto number = [](auto x) { return static_cast<double>(x); };
  want(rate >= 0 && std::isfinite(rate), "rate", "a finite number from 0", rate);
  want(epochs > 0 && std::isfinite(epochs), "epochs", "a number above 0", epochs);
  want(steps >= 0, "steps", "a count from 0", number(steps));
  want(batch >= 1, "batch", "at least 1", number(batch));
  want(accumulate >= 1, "accumulate", "at least 1", number(accumulate));
  want(batch_tokens >= 0, "batch_tokens", "a count from 0", number(batch_tokens));
  want(warmup >= 0 && std::isfinite(warmup), "warmup", "a share below 1 or a number of steps", warmup);
  want(weight_decay >= 0 && std::isfinite(weight_decay), "weight_decay", "a number from 0", weight_decay);
  want(clip_norm >= 0, "clip_norm", "a number from 0", clip_norm);
  want(beta1 >= 0 && beta1 < 1, "beta1", "0 up to below 1", beta1);
  want(beta2 >= 0 && beta2 < 1, "beta2", "0 up to below 1", beta2);
  want(epsilon > 0, "epsilon", "a number above 0", epsilon);
  want(lora_plus_ratio > 0 && std::isfinite(lora_plus_ratio), "lora_plus_ratio", "a finite number above 0",
       lora_plus_ratio);
  want(neftune >= 0 && std::isfinite(neftune), "neftune", "a finite number from 0", neftune);
  want(router_loss >= 0 && std::isfinite(router_loss), "router_loss", "a finite number from 0", router_loss);
  want(reference_sync >= 0, "reference_sync", "a count from 0", number(reference_sync));
  want(reference_share > 0 && reference_share <= 1, "reference_share", "a share above 0 up to 1", reference_share);
  want(reference_sync > 0 || reference_share == 1, "reference_share", "1 where reference_sync is 0", reference_share);
  want(max_tokens >= 2, "max_tokens", "at least 2", number(max_tokens));
  want(log_every >= 1, "log_every", "at least 1", number(log_every));
  want(eval_every >= 0, "eval_every", "a count from 0", number(eval_every));
  want(save_every >= 0, "save_every", "a count from 0", number(save_every));
}

}  // namespace plumb::inline v0

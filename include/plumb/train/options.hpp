// SPDX-License-Identifier: BSL-1.0
// What a training run can be told. The names are those of the program's --set and of its config.json.
#pragma once

#include <cstdint>
#include <filesystem>
#include <span>
#include <vector>

#include <plumb/data/example.hpp>
#include <plumb/nn/head.hpp>
#include <plumb/optim/adamw.hpp>
#include <plumb/optim/schedule.hpp>

namespace plumb::inline v0 {

struct fit_options {
  double rate = 1e-4;      ///< peak learning rate
  double epochs = 1;       ///< passes over the data; ignored when `steps` is given
  index_t steps = 0;       ///< optimiser steps; 0: from `epochs`
  index_t batch = 8;       ///< examples that go through the network at once
  index_t accumulate = 1;  ///< such batches per optimiser step; the loss is that of all of them together
  index_t batch_tokens =
      0;              ///< in place of `batch`: as many examples as have so many tokens, prompts and replies; 0: none
  double warmup = 0;  ///< below 1: share of the run; from 1: steps
  plumb::schedule::kind schedule = plumb::schedule::kind::linear;
  double weight_decay = 0;  ///< of matrices; norms and biases do not decay
  double clip_norm = 1;     ///< largest norm of the gradient; 0: no clipping
  double beta1 = 0.9;
  double beta2 = 0.999;
  double epsilon = 1e-8;
  double lora_plus_ratio = 1;  ///< LoRA+: rate of B beside that of A; 16 is usual, with a smaller `rate`; 1: one rate
  double neftune = 0;          ///< α of NEFTune's noise on the embeddings (nn/embedding_noise.hpp); 0: none
  double router_loss =
      0;  ///< factor of the load-balancing loss of mixtures of experts (nn/router_balance.hpp); 0: none
  index_t reference_sync =
      0;  ///< steps between moves of the reference to the policy (train/moving_reference.hpp); 0: none
  double reference_share = 1;  ///< α: how far it moves; with an adapter all the way
  index_t max_tokens = 1024;   ///< longest prompt + reply; replies are cut at their end
  std::uint64_t seed = 0;      ///< of the data's order and of dropout
  index_t log_every = 10;      ///< steps between log entries; metrics are means since the last one
  index_t eval_every = 0;      ///< steps between evaluations on `eval_data`; 0: at the end only
  index_t save_every = 0;      ///< steps between checkpoints in `folder`; 0: none but when cancelled
  std::vector<example> eval_data{};
  std::filesystem::path folder{};           ///< checkpoints go here; empty: nothing is written
  std::filesystem::path reference_cache{};  ///< file of reference log-probabilities to read and extend; empty: none
  bool resume = false;                      ///< go on from the newest checkpoint in `folder`, if there is one
  std::size_t head_memory = std::size_t{256} << 20;  ///< bytes for a chunk of logits and its gradient
  /// Gradient checkpointing: blocks keep their input alone and run again on the way back (nn/block_again.hpp). The same
  /// numbers in less memory, for a quarter to two fifths more time.
  bool recompute_blocks = false;

  /// Throws errc::bad_argument, naming the option, for a value out of its range.
  void check() const;
};

}  // namespace plumb::inline v0

// SPDX-License-Identifier: BSL-1.0
// Fine-tune a model folder: demonstrations, then preferences, one adapter; held-out rows tell whether it helped.
// Arguments: MODEL DEMONSTRATIONS.jsonl PAIRS.jsonl ADAPTER
// run: {source}/tests/golden/tiny_llama {source}/examples/data/demonstrations.jsonl {source}/examples/data/pairs.jsonl adapter
#include <plumb/plumb.hpp>

// ----- knobs -----------------------------------------------------------------------------------------------------------
constexpr plumb::index_t adapter_rank = 8;  // inner width of the adapter
constexpr double sft_rate = 5e-3;           // learning rate of the imitation
constexpr double dpo_rate = 1e-3;           // learning rate of the preferences
constexpr double beta = 0.1;                // how strongly DPO holds on to the reference
constexpr std::size_t held_out = 3;         // pairs that are only evaluated

int main(int count, char** arguments) try {
  if (count < 5)
    throw plumb::error(plumb::errc::bad_argument, "fine_tune_folder",
                       "usage: fine_tune_folder MODEL DEMONSTRATIONS PAIRS ADAPTER");
  using B = plumb::cpu;
  const auto model = plumb::load_model<B>(arguments[1]);
  auto policy = plumb::attach_lora(model, {.rank = adapter_rank, .targets = {"q_proj", "v_proj", "o_proj"}});

  // First imitate. Rows: {"prompt", "completion"}, {"text"}, or ids.
  const auto shown = plumb::fit(policy, plumb::sft{}, plumb::read_demonstrations(arguments[2], model),
                                {.rate = sft_rate, .epochs = 5, .batch = 4});

  // Then prefer. The reference must be what was just learnt, so its log-probabilities are scored now, adapter on.
  auto pairs = plumb::read_pairs(arguments[3], model);
  plumb::scorer<B, float> engine(model);
  plumb::training_batch batch;
  for (plumb::example& e : pairs) {
    batch.assign(std::span<const plumb::example>(&e, 1));
    const auto records = plumb::make_records<plumb::level::pair>(batch, engine.run(batch, {}));
    e.replies[0].reference = records[0].chosen.logp;
    e.replies[1].reference = records[0].rejected.logp;
  }
  plumb::fit_options options{.rate = dpo_rate, .epochs = 6, .batch = 4, .schedule = plumb::schedule::kind::cosine};
  options.eval_data.assign(pairs.end() - held_out, pairs.end());
  pairs.resize(pairs.size() - held_out);
  const auto result = plumb::fit(policy, plumb::dpo{.beta = beta} + 0.2 * plumb::sft_chosen{}, pairs, options);

  plumb::save_adapter(policy, arguments[4]);
  const auto& last = result.log.back();  // the evaluation after the last step
  std::printf("SFT loss %.3f, DPO loss %.3f; held-out loss %.3f, accuracy %.2f\n", shown.loss, result.loss,
              last.find("eval_loss").value_or(0), last.find("eval_rewards/accuracies").value_or(0));
  return std::filesystem::exists(std::filesystem::path(arguments[4]) / "adapter_model.safetensors") ? 0 : 1;
} catch (const plumb::error& problem) {
  std::fprintf(stderr, "%s\n", problem.what());
  return 2;
}

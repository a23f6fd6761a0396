// SPDX-License-Identifier: BSL-1.0
// The README's first program, with its files as arguments: MODEL-FOLDER PAIRS.jsonl ADAPTER-FOLDER.
// run: {source}/tests/golden/tiny_llama {source}/examples/data/pairs.jsonl adapter
#include <plumb/plumb.hpp>

int main(int count, char** arguments) try {
  if (count < 4)
    throw plumb::error(plumb::errc::bad_argument, "first_program", "usage: first_program MODEL PAIRS.jsonl ADAPTER");
  using B = plumb::cpu;  // or plumb::cuda: nothing below changes
  auto model = plumb::load_model<B>(arguments[1]);
  auto policy = plumb::attach_lora(model, {.rank = 16});
  auto pairs = plumb::read_pairs(arguments[2], model);
  auto method = plumb::dpo{.beta = 0.1};
  const auto result = plumb::fit(policy, method, pairs, {.rate = 1e-3, .epochs = 4, .batch = 4}, plumb::progress_bar{});
  plumb::save_adapter(policy, arguments[3]);  // PEFT's layout
  return result.loss < 0.6931 ? 0 : 1;
} catch (const plumb::error& problem) {
  std::fprintf(stderr, "%s\n", problem.what());
  return 2;
}

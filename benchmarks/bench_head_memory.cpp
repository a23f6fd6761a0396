// SPDX-License-Identifier: BSL-1.0
// What a DPO step costs in memory when the vocabulary is large: the peak of the process beside the logits that a
// padded implementation stores.
//
//   build/benchmarks/bench_head_memory [width]
#include <plumb/plumb.hpp>
#include <plumb/train/environment.hpp>

#include <cstdio>
#include <cstdlib>

namespace {

std::vector<plumb::token_id> tokens(plumb::index_t count, std::uint64_t key, std::uint32_t vocabulary) {
  std::vector<plumb::token_id> out;
  for (plumb::index_t i = 0; i < count; ++i)
    out.push_back(static_cast<plumb::token_id>(plumb::philox_word(key, static_cast<std::uint64_t>(i)) % vocabulary));
  return out;
}

}  // namespace

int main(int count, char** arguments) {
  constexpr plumb::index_t vocabulary = 50000, reply = 512, pairs = 4;
  plumb::model_config c;
  c.hidden_size = count > 1 ? std::atoi(arguments[1]) : 64;
  c.intermediate_size = 3 * c.hidden_size;
  c.layers = 2, c.heads = 4, c.kv_heads = 2, c.head_width = c.hidden_size / 4;
  c.vocabulary = vocabulary, c.max_positions = 1024, c.tied_head = true;

  const auto start = plumb::current_memory_bytes();
  auto policy = plumb::attach_lora(plumb::make_model<plumb::cpu>(c, std::nullopt), {.rank = 8});
  const auto loaded = plumb::current_memory_bytes();
  std::vector<plumb::example> data;
  for (std::uint64_t i = 0; i < pairs; ++i)
    data.push_back({tokens(64, 3 * i, vocabulary),
                    {{tokens(reply, 3 * i + 1, vocabulary)}, {tokens(reply, 3 * i + 2, vocabulary)}},
                    0,
                    true,
                    ""});
  const auto result = plumb::fit(policy, plumb::dpo{}, data, {.steps = 2, .batch = pairs, .log_every = 1});

  const double mb = 1e6;
  const double logits = static_cast<double>(2 * pairs * reply) * vocabulary * sizeof(float);
  std::printf("DPO step, %lld completion tokens, vocabulary %lld, width %lld, fp32\n",
              static_cast<long long>(2 * pairs * reply), static_cast<long long>(vocabulary),
              static_cast<long long>(c.hidden_size));
  std::printf("  logits of the completions, never stored   %8.1f MB (as much again for their gradient)\n", logits / mb);
  std::printf("  model and adapter                         %8.1f MB\n", static_cast<double>(loaded - start) / mb);
  std::printf("  peak of the step above them               %8.1f MB\n",
              static_cast<double>(plumb::peak_memory_bytes() - loaded) / mb);
  std::printf("  first loss %.7f, seconds for two steps %.1f\n", result.log.front().find("loss").value_or(0),
              result.seconds);
}

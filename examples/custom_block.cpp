// SPDX-License-Identifier: BSL-1.0
// A network part of your own: a block whose attention and feed-forward work side by side, in a transformer of otherwise
// shipped parts. Its backward is checked, then it learns a sequence by heart.
#include <plumb/autograd/gradcheck.hpp>
#include <plumb/models/llama.hpp>
#include <plumb/plumb.hpp>

// ----- the block: a function from [tokens, width] to the same, and a list of its parts --------------------------------
template <class B, class T>
struct parallel_block {
  plumb::rms_norm<B, T> input_layernorm;
  plumb::self_attention<B, T> self_attn;
  plumb::gated_mlp<B, T> mlp;

  plumb::variable<B, T> operator()(plumb::pass<B, T>& p, plumb::variable<B, T> x) const {
    const auto normal = input_layernorm(p, x);                                 // [tokens, width]
    return add(p.tape, x, add(p.tape, self_attn(p, normal), mlp(p, normal)));  // [tokens, width]
  }
  template <class Self, class F>
  static void parts(Self& self, F&& f) {
    f("input_layernorm", self.input_layernorm), f("self_attn", self.self_attn), f("mlp", self.mlp);
  }
};

template <class B, class T>
using parallel_llama = plumb::transformer<B, T, parallel_block<B, T>, plumb::rms_norm<B, T>>;

// ----- knobs -----------------------------------------------------------------------------------------------------------
constexpr plumb::index_t vocabulary = 40, model_width = 24, steps = 60;

/// Builds the composition by moving the parts of a Llama of the same sizes into the new blocks.
template <class B, class T>
plumb::language_model<B, T> make_parallel(const plumb::model_config& c) {
  const auto device = std::make_shared<typename B::device>();
  std::uint64_t which = 0;
  auto llama = plumb::build_llama<B, T>(device, c, c.max_positions, [&](const std::string& name, plumb::shape extent) {
    std::vector<T> numbers(static_cast<std::size_t>(extent.size()), T(1));  // norms are ones
    if (!name.ends_with("norm.weight"))
      for (std::size_t i = 0; i < numbers.size(); ++i)
        numbers[i] =
            static_cast<T>(0.4 * (plumb::uniform_float(plumb::philox_word(plumb::derive_key(3, which), i)) - 0.5f));
    ++which;
    auto out = std::make_shared<plumb::weight_tensor<B, T>>();
    out->value = plumb::tensor<B, T>(device, extent, std::span<const T>(numbers));
    return out;
  });
  parallel_llama<B, T> net{llama.embed_tokens, {}, llama.norm, llama.lm_head};
  for (auto& block : llama.layers) net.layers.push_back({block.input_layernorm, block.self_attn, block.mlp});
  const plumb::network_sizes sizes{c.vocabulary, c.hidden_size, c.layers, c.kv_heads * c.head_width, c.max_positions};
  return {device, std::make_unique<plumb::network_of<parallel_llama<B, T>>>(std::move(net), sizes), std::nullopt, c,
          "parallel"};
}

int main() {
  plumb::model_config c;
  c.hidden_size = model_width, c.intermediate_size = 48, c.layers = 2, c.heads = 3, c.kv_heads = 1, c.head_width = 8;
  c.vocabulary = vocabulary, c.max_positions = 32, c.tied_head = true;

  // Is its backward right? In float64, against central differences of the forward.
  const auto exact = make_parallel<plumb::reference, double>(c);
  plumb::forest batch;
  batch.add(std::vector<plumb::token_id>{1, 2, 3, 4});
  plumb::batch_layout layout;
  batch.lay_out(layout);
  std::vector<plumb::tensor<plumb::reference, double>> nothing;
  nothing.emplace_back(exact.device(), plumb::shape{4, model_width}, 0.1);
  const auto check = plumb::gradcheck<plumb::reference>(
      exact.device(), std::span<const plumb::tensor<plumb::reference, double>>(nothing), [&](auto& t, auto inputs) {
        plumb::pass<plumb::reference, double> p{t, plumb::upload(t, layout)};
        return exact.network().logits(p, plumb::multiply(t, exact.network().hidden(p), inputs[0]));
      });

  // It trains like any other model.
  auto policy = plumb::train_all(make_parallel<plumb::cpu, float>(c));
  const std::vector<plumb::example> data{{{1}, {{{5, 9, 2, 7, 7, 3, 11}}}, 0, true, "by heart"}};
  const auto result = plumb::fit(policy, plumb::sft{}, data, {.rate = 1e-2, .steps = steps, .batch = 1});
  std::printf("gradcheck %.1e; loss after %d steps %.4f\n", check.worst, static_cast<int>(result.steps), result.loss);
  return check.within(1e-6) && result.loss < 0.1 ? 0 : 1;
}

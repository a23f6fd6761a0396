// SPDX-License-Identifier: BSL-1.0
// Mixtures of experts: the operations against central differences, the part against plain loops, the routers' loss
// against transformers, adapters on experts and routers.
#include <plumb/autograd/gradcheck.hpp>
#include <plumb/backend/reference.hpp>
#include <plumb/models/adapter_merge.hpp>
#include <plumb/models/model_files.hpp>
#include <plumb/nn/mixture_of_experts.hpp>
#include <plumb/nn/mlp.hpp>
#include <plumb/train/fit.hpp>

#include "failures.hpp"
#include "model_cases.hpp"

using namespace plumb;
using namespace plumb_test;

namespace {

const std::filesystem::path families = golden / "families";
constexpr const char* names[] = {"dbrx", "granitemoe", "jetmoe", "mixtral", "olmoe", "qwen2_moe", "qwen3_moe"};

template <class B>
using inputs = std::span<const variable<B, double>>;

template <class B, class Function>
double worst(std::initializer_list<shape> shapes, Function&& f) {
  const auto device = std::make_shared<typename B::device>();
  std::vector<tensor<B, double>> points;
  for (const shape s : shapes) points.push_back(random_tensor<B, double>(device, s, 31 + points.size()));
  return gradcheck<B>(device, std::span<const tensor<B, double>>(points), f).worst;
}

/// A mixture with random weights, and one expert more as the shared one.
template <class B, class T>
struct random_mixture {
  using part = mixture_of_experts<B, T, gated_mlp<B, T>>;
  device_ptr<B> device;
  part mixture;
  std::uint64_t key = 100;

  random_mixture(device_ptr<B> on, index_t width, index_t inner, index_t experts, index_t chosen, bool shared_weights,
                 bool shared)
      : device(std::move(on)) {
    mixture.gate = map(experts, width);
    for (index_t e = 0; e < experts; ++e) mixture.experts.push_back(expert(width, inner));
    if (shared) mixture.shared_expert = expert(width, inner + 1), mixture.shared_expert_gate = map(1, width);
    mixture.chosen = chosen, mixture.shared_weights = shared_weights;
  }
  linear<B, T> map(index_t outputs, index_t in) {
    linear<B, T> out;
    out.weight = std::make_shared<weight_tensor<B, T>>();
    out.weight->value = random_tensor<B, T>(device, {outputs, in}, key++);
    return out;
  }
  gated_mlp<B, T> expert(index_t width, index_t inner) {
    gated_mlp<B, T> out;
    out.gate_proj = map(inner, width), out.up_proj = map(inner, width), out.down_proj = map(width, inner);
    return out;
  }
  std::vector<T> operator()(const std::vector<T>& x, router_balance<B, T>* balance = nullptr) const {
    const index_t width = mixture.gate.inputs();
    tape<B, T> t(device);
    t.set_recording(false);
    pass<B, T> p{t, {}};
    p.balance = balance;
    const tensor<B, T> rows(device, {static_cast<index_t>(x.size()) / width, width}, x);
    const auto y = mixture(p, t.constant(rows.get()));
    std::vector<T> out(x.size());
    B::download(t.device(), y.value.data, out.data(), y.value.size());
    return out;
  }
};

using numbers = std::vector<double>;

template <class B>
numbers times(const linear<B, double>& map, const numbers& x) {
  const auto w = map.weight->value.host();
  numbers out(static_cast<std::size_t>(map.outputs()));
  for (std::size_t i = 0; i < out.size(); ++i)
    for (std::size_t j = 0; j < x.size(); ++j) out[i] += w[i * x.size() + j] * x[j];
  return out;
}
template <class B>
numbers run_expert(const gated_mlp<B, double>& e, const numbers& x) {
  auto g = times(e.gate_proj, x);
  const auto up = times(e.up_proj, x);
  for (std::size_t i = 0; i < g.size(); ++i) g[i] = g[i] / (1 + std::exp(-g[i])) * up[i];
  return times(e.down_proj, g);
}

/// The definition, token by token.
template <class Part>
numbers plain_mixture(const Part& m, const numbers& all) {
  numbers out;
  const auto width = static_cast<std::size_t>(m.gate.inputs());
  for (std::size_t at = 0; at < all.size(); at += width) {
    const numbers x(all.begin() + static_cast<std::ptrdiff_t>(at),
                    all.begin() + static_cast<std::ptrdiff_t>(at + width));
    auto p = times(m.gate, x);
    double total = 0, taken = 0;
    for (double& z : p) total += z = std::exp(z);
    std::vector<std::size_t> order(p.size());
    for (std::size_t e = 0; e < p.size(); ++e) p[e] /= total, order[e] = e;
    std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) { return p[a] > p[b]; });
    order.resize(static_cast<std::size_t>(m.chosen));
    for (const std::size_t e : order) taken += p[e];
    numbers y(width);
    const auto add = [&](const numbers& more, double weight) {
      for (std::size_t j = 0; j < width; ++j) y[j] += weight * more[j];
    };
    for (const std::size_t e : order) add(run_expert(m.experts[e], x), m.shared_weights ? p[e] / taken : p[e]);
    if (m.shared_expert) add(run_expert(*m.shared_expert, x), 1 / (1 + std::exp(-times(*m.shared_expert_gate, x)[0])));
    out.insert(out.end(), y.begin(), y.end());
  }
  return out;
}

/// What transformers computed for one family.
struct expectation {
  ids_list ids, second;
  index_t from = 0;
  double aux = 0, aux_of_both = 0, factor = 0, loss = 0, loss_with_routers = 0;

  explicit expectation(const std::string& family) {
    const json::value all = read_golden("families.json");
    const auto& o = all.as_object().at(family).as_object();
    const auto& pair = o.at("pair").as_object();
    ids = json::get<ids_list>(o, "ids", family), second = json::get<ids_list>(pair, "second", family);
    from = json::get<index_t>(o, "from", family);
    aux = json::get<double>(o, "aux_loss", family), aux_of_both = json::get<double>(pair, "aux_loss", family);
    factor = json::get<double>(o, "router_loss", family);
    loss = json::get<double>(o, "loss", family);
    loss_with_routers = json::get<double>(o, "loss_with_routers", family);
  }
  example reply(const ids_list& all) const {
    example e;
    e.prompt.assign(all.begin(), all.begin() + from);
    e.replies.push_back({{all.begin() + from, all.end()}});
    return e;
  }
};

struct step_outcome {
  double loss = 0, aux = 0;
};

template <class B, class T>
step_outcome run(policy<B, T>& p, const std::vector<example>& data, double router_loss, index_t at_once = 64,
                 bool recompute_blocks = false) {
  for (const auto& each : p.trainable()) each.parameter->set_trainable(true);
  scorer<B, T> engine(p.model());
  metric_list metrics;
  step_context context;
  const auto all = pointers_to(std::span<const example>(data));
  const auto result =
      run_step(engine, sft{}, objective_needs(sft{}), all, split_by_count(all, at_once),
               {.learn = true, .router_loss = router_loss, .recompute_blocks = recompute_blocks}, context, metrics);
  return {result.loss, metrics.value("aux_loss")};
}

}  // namespace

TEMPLATE_TEST_CASE("gradients of routing", "[autograd][experts]", reference, cpu) {
  using B = TestType;
  using in = inputs<B>;
  using T = tape<B, double>;
  const auto on_device = [](T& t, std::vector<std::int32_t> list) {
    return upload(t, std::span<const std::int32_t>(list));
  };
  CHECK(worst<B>({{3, 5}}, [](T& t, in x) { return softmax_rows(t, x[0]); }) < 1e-6);
  CHECK(worst<B>({{7, 4}}, [](T& t, in x) { return sum_columns(t, x[0]); }) < 1e-6);
  CHECK(worst<B>({{3, 4}}, [](T& t, in x) { return sigmoid(t, x[0]); }) < 1e-6);
  CHECK(worst<B>({{5, 4}}, [](T& t, in x) { return clip(t, x[0], 0.5); }) < 1e-6);
  for (const bool shared : {false, true}) {
    const auto choice = [&](T& t, in x) {
      const auto p = softmax_rows(t, x[0]);
      return choose_numbers(t, p, on_device(t, {0, 3, 2, 1, 4, 0}), 2, shared);
    };
    CHECK(worst<B>({{3, 5}}, choice) < 1e-6);
  }
  const auto placed = [&](T& t, in x) {
    const view<double> memory = t.memory().template make<double>({4, 3});
    B::copy(t.device(), x[0].value, memory);
    const variable<B, double> base = add(t, x[0], x[0]);  // memory of its own
    return add_weighted_rows(t, base, x[1], x[2], on_device(t, {3, 0}));
  };
  CHECK(worst<B>({{4, 3}, {2, 3}, {2, 1}}, placed) < 1e-6);
  const auto everywhere = [&](T& t, in x) { return add_weighted_rows(t, add(t, x[0], x[0]), x[1], x[2]); };
  CHECK(worst<B>({{4, 3}, {4, 3}, {4, 1}}, everywhere) < 1e-6);
  // Negative control: weights that count as constants have no gradient.
  const auto frozen = [&](T& t, in x) {
    return add_weighted_rows(t, add(t, x[0], x[0]), x[1], t.constant(x[2].value));
  };
  CHECK(worst<B>({{4, 3}, {4, 3}, {4, 1}}, frozen) > 1e-2);
}

TEMPLATE_TEST_CASE("a mixture is what its definition says", "[nn][experts]", reference, cpu) {
  using B = TestType;
  const auto device = std::make_shared<typename B::device>();
  for (const bool shared : {false, true}) {
    const random_mixture<B, double> m(device, 6, 5, 7, 3, !shared, shared);
    const auto x = random_tensor<B, double>(device, {9, 6}, 5, -2, 2).host();
    const auto y = m(x);
    CHECK(distance(y, plain_mixture(m.mixture, x)) < 1e-13);
    auto other = m;  // negative control
    other.mixture.chosen = 2;
    CHECK(distance(y, other(x)) > 1e-3);
    // A token alone is the token in company, to the bit.
    for (index_t i = 0; i < 9; ++i) {
      const numbers one(x.begin() + i * 6, x.begin() + (i + 1) * 6);
      CHECK(m(one) == numbers(y.begin() + i * 6, y.begin() + (i + 1) * 6));
    }
    // The way back to the input, through experts and router.
    std::vector<tensor<B, double>> points;
    points.push_back(random_tensor<B, double>(device, {4, 6}, 5, -2, 2));
    const auto with = [&](tape<B, double>& t, inputs<B> v) {
      pass<B, double> p{t, {}};
      return m.mixture(p, v[0]);
    };
    CHECK(gradcheck<B>(device, std::span<const tensor<B, double>>(points), with).within(1e-6));
  }
}

TEST_CASE("equal probabilities go to the lower experts, and experts without tokens cost nothing", "[nn][experts]") {
  const auto device = std::make_shared<cpu::device>();
  random_mixture<cpu, double> m(device, 4, 3, 5, 2, true, false);
  m.mixture.gate.weight->value.assign(std::vector<double>(20, 0.0));
  const auto x = random_tensor<cpu, double>(device, {3, 4}, 5).host();
  CHECK(distance(m(x), plain_mixture(m.mixture, x)) < 1e-13);
  router_balance<cpu, double> balance;
  CHECK_FALSE(balance.counted());
  (void)m(x, &balance);
  CHECK(balance.loss() == Approx(2));  // of five experts two have every token, but all have the same probability
  for (const std::size_t e : {2, 3, 4}) m.mixture.experts[e] = {};  // would fail if they ran
  CHECK(distance(m(x), plain_mixture(m.mixture, x)) < 1e-13);
  // What is no number still chooses different experts.
  const numbers broken(4, std::numeric_limits<double>::quiet_NaN());
  CHECK(std::isnan(m(broken)[0]));
}

TEST_CASE("the number of threads changes no bit of a mixture", "[nn][experts]") {
  const auto outcome = [](int threads) {
    auto model = load_model<cpu>(families / "qwen2_moe", {.threads = threads});
    auto p = train_all(std::move(model));
    const expectation expected("qwen2_moe");
    (void)run(p, std::vector{expected.reply(expected.ids), expected.reply(expected.second)}, 0.5);
    std::vector<std::vector<float>> out;
    for (const auto& each : p.trainable()) out.push_back(each.parameter->gradient.host());
    return out;
  };
  const auto one = outcome(1);
  CHECK(outcome(2) == one);
  CHECK(outcome(5) == one);
}

TEST_CASE("the routers' loss and its gradients are those of transformers", "[model][experts][golden]") {
  for (const std::string family : names) {
    CAPTURE(family);
    const expectation expected(family);
    auto p = train_all(load_model<cpu, double>(families / family));
    CHECK(p.model().config().experts.loss_factor == expected.factor);
    const std::vector one{expected.reply(expected.ids)};
    const auto with = run(p, one, expected.factor);
    CHECK(with.aux == Approx(expected.aux).epsilon(2e-6));
    CHECK(with.loss == Approx(expected.loss_with_routers).epsilon(2e-6));
    const auto file = join("families/", family, "/grads_router.safetensors");
    CHECK(worst_gradient(p, file.c_str(), "") < 2e-5);
    const auto gradients = gradients_of(p);
    const auto again = run(p, one, expected.factor, 64, true);
    CHECK(again.loss == with.loss);
    CHECK(gradients_of(p) == gradients);
    const auto without = run(p, one, 0);
    CHECK(without.loss == Approx(expected.loss).epsilon(2e-6));
    CHECK(without.aux == Approx(expected.aux).epsilon(2e-6));
    CHECK(worst_gradient(p, file.c_str(), "") > 1e-3);  // negative control
    // transformers pads the shorter sequence and masks it; here nothing is padded.
    const std::vector both{expected.reply(expected.ids), expected.reply(expected.second)};
    CHECK(run(p, both, 0).aux == Approx(expected.aux_of_both).epsilon(2e-6));
  }
}

TEST_CASE("in parts of a step each has its share of the routers' loss", "[train][experts]") {
  const expectation expected("mixtral");
  const std::vector both{expected.reply(expected.ids), expected.reply(expected.second)};
  auto p = train_all(load_model<cpu, double>(families / "mixtral"));
  const auto base = run(p, both, 0, 1);
  const double first = run(p, std::vector{both[0]}, 0).aux, second = run(p, std::vector{both[1]}, 0).aux;
  const double mean = (24 * first + 11 * second) / 35;
  CHECK(base.aux == Approx(mean));
  CHECK(run(p, both, 0.5, 1).loss == Approx(base.loss + 0.5 * mean));
}

TEST_CASE("training with router_loss spreads tokens evenly, and dense models refuse it", "[train][experts]") {
  const auto aux_after = [&](double router_loss) {
    std::vector<example> data;
    for (std::uint64_t i = 0; i < 4; ++i) {
      example e;
      for (std::uint64_t k = 0; k < 6; ++k) e.prompt.push_back(3 + static_cast<token_id>(philox_word(i, k) % 50));
      ids_list reply;
      for (std::uint64_t k = 6; k < 20; ++k) reply.push_back(3 + static_cast<token_id>(philox_word(i, k) % 50));
      e.replies.push_back({std::move(reply)});
      data.push_back(std::move(e));
    }
    auto p = attach_lora(load_model<cpu>(families / "olmoe"), {.rank = 4, .targets = {"gate"}});
    REQUIRE(p.trainable().size() == 4);
    const auto result =
        fit(p, sft{}, data, {.rate = 1e-2, .steps = 25, .batch = 4, .router_loss = router_loss, .log_every = 1});
    CHECK(result.log.front().find("aux_loss").value() > 3.05);
    return result.log.back().find("aux_loss").value();
  };
  CHECK(aux_after(10) < aux_after(0) - 0.02);
  auto dense = attach_lora(load_model<cpu>(families / "qwen3"), {.rank = 2});
  example e;
  e.prompt = {1, 4};
  e.replies.push_back({{5, 6}});
  CHECK_THAT(failure([&] { fit(dense, sft{}, {e}, {.steps = 1, .router_loss = 0.001}); }),
             Catch::Contains("router_loss"));
  const auto plain = fit(dense, sft{}, {e}, {.steps = 1});
  CHECK_FALSE(plain.log.back().find("aux_loss").has_value());
}

TEST_CASE("adapters reach experts and routers, and merge into them", "[adapter][experts]") {
  for (const std::string family : {"mixtral", "qwen2_moe"}) {
    CAPTURE(family);
    const expectation expected(family);
    const lora_options options =
        family == "mixtral"
            ? lora_options{.rank = 2, .targets = {"w1", "w2", "w3", "gate", "q_proj"}}
            : lora_options{.rank = 2, .targets = {"gate_proj", "down_proj", "shared_expert_gate", "v_proj"}};
    auto p = attach_lora(load_model<cpu>(families / family), options);
    (void)fit(p, sft{}, {expected.reply(expected.ids)}, {.rate = 1e-2, .steps = 5, .batch = 1});
    const auto trained = logits_of(p.model(), expected.ids);
    CHECK(distance(trained, logits_of(p.model(), expected.ids, false)) > 1e-2);
    temporary_folder folder;
    save_adapter(p, folder / "adapter");
    const auto again = load_adapter<cpu, float>(load_model<cpu>(families / family), folder / "adapter");
    CHECK(logits_of(again.model(), expected.ids) == trained);
    save_merged(p, folder / "merged");
    CHECK(distance(logits_of(load_model<cpu>(folder / "merged"), expected.ids), trained) < 1e-5);
  }
}

TEST_CASE("experts that files hold in one tensor", "[model][experts][adapter]") {
  // Their files come out as they went in, also in half the bits and behind an adapter; the adapter passes them over.
  const auto source = families / GENERATE(as<std::string>{}, "granitemoe", "jetmoe", "dbrx");
  CAPTURE(source.string());
  const bool granite = source.filename() == "granitemoe", dbrx = source.filename() == "dbrx";
  const std::string first_stack = dbrx ? "experts.mlp.w1" : granite ? "input_linear.weight" : "mlp.input_linear.weight";
  const expectation expected(source.filename().string());
  const auto model = load_model<cpu>(source);
  const auto before = safetensors_file::open(source / "model.safetensors");
  temporary_folder folder;
  const auto same_tensors = [&](const std::filesystem::path& file, double bound) {
    const auto after = safetensors_file::open(file);
    REQUIRE(after.tensors().size() == before.tensors().size());
    for (const auto& tensor : before.tensors()) {
      CAPTURE(tensor.name);
      const auto* found = after.find(tensor.name);
      REQUIRE(found != nullptr);
      CHECK(found->shape == tensor.shape);
      std::vector<double> was(static_cast<std::size_t>(tensor.elements)), is(was.size());
      before.read(tensor.name, std::span<double>(was)), after.read(tensor.name, std::span<double>(is));
      CHECK(distance(is, was) <= bound);
    }
  };
  save_model(model, folder / "saved");
  same_tensors(folder / "saved" / "model.safetensors", 0);
  write_model_folder(*open_model_files(source), folder / "half", dtype::bf16);
  same_tensors(folder / "half" / "model.safetensors", 4e-3);
  CHECK(read_config(folder / "half").dtype == "bfloat16");
  const auto packed = load_model<cpu>(folder / "half", {.storage = weight_storage::stored});
  CHECK(distance(logits_of(packed, expected.ids), logits_of(load_model<cpu>(folder / "half"), expected.ids)) < 1e-5);

  auto p = attach_lora(load_model<cpu>(source), {.rank = 2});
  for (const auto& each : p.trainable()) CHECK(each.name.find(".experts.0.") == std::string::npos);
  CHECK(p.trainable().size() == 2 * 2 * (granite ? 5 : 3));  // routers, and maps of attention, fused or not
  (void)fit(p, sft{}, {expected.reply(expected.ids)}, {.rate = 1e-2, .steps = 3, .batch = 1});
  save_merged(p, folder / "merged");
  CHECK(distance(logits_of(load_model<cpu>(folder / "merged"), expected.ids), logits_of(p.model(), expected.ids)) <
        1e-5);
  CHECK_THAT(failure([&] { (void)attach_lora(load_model<cpu>(source), {.rank = 2, .targets = {"gate_proj"}}); }),
             Catch::Contains("no linear map of the model matches"));
  CHECK_THAT(failure([&] {
               (void)attach_lora(
                   load_model<cpu>(source),
                   {.rank = 2, .targets = {"o_proj", "out_proj", "kv_proj"}, .modules_to_save = {"experts"}});
             }),
             Catch::Contains("lies with others"));

  // A damaged file says what it lacks.
  std::vector<tensor_data> tensors;
  for (const auto& tensor : before.tensors()) {
    auto extents = tensor.shape;
    if (tensor.name.ends_with(first_stack)) std::swap(extents[extents.size() - 2], extents.back());
    tensors.push_back({tensor.name, tensor.type, extents, before.bytes(tensor)});
  }
  std::filesystem::copy_file(source / "config.json", folder / "config.json");
  write_safetensors(folder / "model.safetensors", tensors);
  CHECK_THAT(
      failure([&] { (void)load_model<cpu>(folder.path()); }),
      Catch::Contains(first_stack) && Catch::Contains(dbrx ? "expected shape [60, 24]" : "expected shape [5, 32, 24]"));
  std::erase_if(tensors, [&](const auto& each) { return each.name.ends_with(first_stack); });
  write_safetensors(folder / "model.safetensors", tensors);
  CHECK_THAT(failure([&] { (void)load_model<cpu>(folder.path()); }), Catch::Contains("lack this tensor"));
}

TEST_CASE("mixtures that make no sense are refused", "[model][experts][bad input]") {
  temporary_folder folder;
  const auto refused = [&](const std::string& family, const std::string& from, const std::string& to,
                           const std::string& says) {
    auto text = plumb_test::read_file(families / family / "config.json");
    const auto at = text.find(from);
    CAPTURE(family, from, to);
    REQUIRE(at != std::string::npos);
    plumb_test::write_file(folder / "config.json", text.replace(at, from.size(), to));
    CHECK_THAT(failure([&] { (void)read_config(folder.path()); }), Catch::Contains(says));
  };
  refused("mixtral", R"("num_local_experts": 4)", R"("num_local_experts": 0)", "at least 1");
  refused("mixtral", R"("num_local_experts": 4)", R"("num_local_experts": 100000)", "65536");
  refused("mixtral", R"("num_experts_per_tok": 2)", R"("num_experts_per_tok": 5)", "from 1 to 4");
  refused("mixtral", R"("router_jitter_noise": 0.0)", R"("router_jitter_noise": 0.1)", "router_jitter_noise");
  refused("mixtral", R"("router_aux_loss_coef": 0.25)", R"("router_aux_loss_coef": -1)", "router_aux_loss_coef");
  refused("qwen3_moe", R"("decoder_sparse_step": 1)", R"("decoder_sparse_step": 0)", "decoder_sparse_step");
  refused("qwen3_moe", R"("moe_intermediate_size": 8)", R"("moe_intermediate_size": -8)", "moe_intermediate_size");
  refused("qwen2_moe", R"("shared_expert_intermediate_size": 20)", R"("shared_expert_intermediate_size": -1)",
          "shared_expert_intermediate_size");
  refused("dbrx", R"("moe_num_experts": 5)", R"("moe_num_experts": 0)", "moe_num_experts");
  refused("dbrx", R"("moe_top_k": 2)", R"("moe_top_k": 6)", "from 1 to 5");
  refused("dbrx", R"("moe_normalize_expert_weights": 1.0)", R"("moe_normalize_expert_weights": 2.0)", "by their sum");
  refused("dbrx", R"("moe_jitter_eps": null)", R"("moe_jitter_eps": 0.1)", "no noise");
  refused("dbrx", R"("tie_word_embeddings": false)", R"("tie_word_embeddings": true)", "tie_word_embeddings");
  refused("jetmoe", R"("num_experts_per_tok": 2)", R"("num_experts_per_tok": 6)", "from 1 to 5");
  refused("jetmoe", R"("num_key_value_heads": 2)", R"("num_key_value_heads": -2)", "num_key_value_heads");
  refused("jetmoe", R"("kv_channels": 8)", R"("kv_channels": 7)", "an even number");
  refused("granitemoe", R"("residual_multiplier": 0.7)", R"("residual_multiplier": 0)", "residual_multiplier");
  refused("olmoe", R"("clip_qkv": 1.0)", R"("clip_qkv": -1.0)", "clip_qkv");
}

TEST_CASE("layers of Qwen's mixtures have the windows that files say", "[model][experts]") {
  temporary_folder folder;
  const auto read = [&](const std::string& family, std::vector<std::pair<std::string, std::string>> changes) {
    auto text = plumb_test::read_file(families / family / "config.json");
    for (const auto& [from, to] : changes) {
      const auto at = text.find(from);
      CAPTURE(family, from);
      REQUIRE(at != std::string::npos);
      text.replace(at, from.size(), to);
    }
    plumb_test::write_file(folder / "config.json", text);
    return read_config(folder.path()).windows;
  };
  const std::pair<std::string, std::string> on{R"("use_sliding_window": false)", R"("use_sliding_window": true)"};
  const std::pair<std::string, std::string> wide{R"("sliding_window": 0)", R"("sliding_window": 4)"};
  CHECK(read("qwen2_moe", {on, wide}) == std::vector<index_t>{0, 0});
  CHECK(read("qwen2_moe", {on, wide, {"full_attention", "sliding_attention"}}) == std::vector<index_t>{4, 0});
  CHECK_THAT(failure([&] { (void)read("qwen2_moe", {on, wide, {"layer_types", "other"}}); }),
             Catch::Contains("layer_types"));
  CHECK_THAT(failure([&] { (void)read("qwen2_moe", {on}); }), Catch::Contains("sliding_window"));
  CHECK(read("qwen3_moe", {on, {R"("sliding_window": null)", R"("sliding_window": 4)"}}) ==
        std::vector<index_t>{4, 4, 4});
}

TEST_CASE("each trait of a mixture matters", "[model][experts]") {
  temporary_folder folder;
  const auto far = [&](const std::string& family, const std::string& from, const std::string& to) {
    std::filesystem::copy_file(families / family / "model.safetensors", folder / "model.safetensors",
                               std::filesystem::copy_options::overwrite_existing);
    auto text = plumb_test::read_file(families / family / "config.json");
    const auto at = text.find(from);
    CAPTURE(family, from);
    REQUIRE(at != std::string::npos);
    plumb_test::write_file(folder / "config.json", text.replace(at, from.size(), to));
    const ids_list ids{1, 5, 9, 17, 30, 4, 8, 40, 41};
    return distance(logits_of(load_model<cpu>(folder.path()), ids), logits_of(load_model<cpu>(families / family), ids));
  };
  CHECK(far("mixtral", R"("num_experts_per_tok": 2)", R"("num_experts_per_tok": 3)") > 1e-3);
  CHECK(far("mixtral", R"("sliding_window": 6)", R"("sliding_window": null)") > 1e-3);
  CHECK(far("dbrx", R"("clip_qkv": 1.0)", R"("clip_qkv": 2.0)") > 1e-3);
  CHECK(far("dbrx", R"("moe_top_k": 2)", R"("moe_top_k": 3)") > 1e-3);
  CHECK(far("dbrx", R"("moe_normalize_expert_weights": 1.0)", R"("moe_normalize_expert_weights": null)") > 1e-3);
  CHECK(far("jetmoe", R"("rope_theta": 10000.0)", R"("rope_theta": 20.0)") > 1e-3);
  CHECK(far("granitemoe", R"("residual_multiplier": 0.7)", R"("residual_multiplier": 0.8)") > 1e-3);
  CHECK(far("granitemoe", R"("attention_multiplier": 0.25)", R"("attention_multiplier": 0.5)") > 1e-3);
  CHECK(far("granitemoe", R"("logits_scaling": 2.0)", R"("logits_scaling": 2.5)") > 1e-3);
  CHECK(far("granitemoe", R"("embedding_multiplier": 1.5)", R"("embedding_multiplier": 1.0)") > 1e-3);
  CHECK(far("olmoe", R"("clip_qkv": 1.0)", R"("clip_qkv": null)") > 1e-3);
  CHECK(far("olmoe", R"("norm_topk_prob": false)", R"("norm_topk_prob": true)") > 1e-3);
  CHECK(far("qwen3_moe", R"("norm_topk_prob": true)", R"("norm_topk_prob": false)") > 1e-3);
}

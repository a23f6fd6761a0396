// SPDX-License-Identifier: BSL-1.0
// The forest's promises: packed equals unpacked, shared equals unshared, in values and gradients; and a row's numbers do
// not depend on what else is in the batch.
#include <plumb/backend/cpu.hpp>
#include <plumb/backend/reference.hpp>
#include <plumb/models/policy.hpp>
#include <plumb/nn/head.hpp>

#include "catch.hpp"
#include "random_tensor.hpp"
#include "support.hpp"

using namespace plumb;
using plumb_test::distance;

namespace {

using ids_list = std::vector<token_id>;

ids_list some_tokens(index_t count, std::uint64_t key) {
  ids_list out;
  for (index_t i = 0; i < count; ++i)
    out.push_back(static_cast<token_id>(philox_word(key, static_cast<std::uint64_t>(i)) % 97));
  return out;
}

/// A prompt of 37 with replies of 5, 70 and 1; the second has children of 3 and 4; and another root of 40.
struct scene {
  forest shared, apart;
  std::vector<index_t> shared_leaves, apart_leaves;
  std::vector<index_t> scored;  ///< tokens at the end of each leaf's path that are scored

  scene() {
    const auto prompt = some_tokens(37, 1), a = some_tokens(5, 2), b = some_tokens(70, 3), c = some_tokens(1, 4),
               d = some_tokens(3, 5), e = some_tokens(4, 6), other = some_tokens(40, 7);
    const auto root = shared.add(prompt);
    shared_leaves.push_back(shared.add(a, root));
    const auto middle = shared.add(b, root);
    shared_leaves.push_back(shared.add(c, root));
    shared_leaves.push_back(shared.add(d, middle));
    shared_leaves.push_back(shared.add(e, middle));
    shared_leaves.push_back(shared.add(other));
    const auto path = [](std::initializer_list<ids_list> parts) {
      ids_list all;
      for (const auto& p : parts) all.insert(all.end(), p.begin(), p.end());
      return all;
    };
    for (const auto& whole : {path({prompt, a}), path({prompt, c}), path({prompt, b, d}), path({prompt, b, e}), other})
      apart_leaves.push_back(apart.add(whole));
    scored = {5, 1, 3, 4, 39};
  }
};

/// log p of the scored tokens of each leaf, and the gradients of Σ_i w_i log p_i for all weights, w_i random but the same.
template <class B, class T>
struct outcome {
  std::vector<T> logp;
  std::vector<std::vector<T>> gradients;
};

template <class B, class T>
outcome<B, T> compute(policy<B, T>& p, const forest& f, const std::vector<index_t>& leaves,
                      const std::vector<index_t>& scored) {
  std::vector<std::int32_t> rows, targets;
  for (std::size_t i = 0; i < leaves.size(); ++i) {
    const index_t end = f[leaves[i]].end_position();
    for (index_t at = end - scored[i]; at < end; ++at) {
      rows.push_back(static_cast<std::int32_t>(f.row_at(leaves[i], at - 1)));
      targets.push_back(f.tokens()[static_cast<std::size_t>(f.row_at(leaves[i], at))]);
    }
  }
  batch_layout layout;
  f.lay_out(layout);
  tape<B, T> t(p.model().device());
  for (const auto& each : p.trainable()) each.parameter->set_trainable(true);
  pass<B, T> run{t, upload(t, layout)};
  const auto count = static_cast<index_t>(rows.size());
  const auto* row_list = upload(t, std::span<const std::int32_t>(rows));
  const auto* target_list = upload(t, std::span<const std::int32_t>(targets));
  const auto result =
      score_rows(run, p.network(), p.network().hidden(run), row_list, target_list, count, head_options{});
  outcome<B, T> out;
  out.logp.resize(rows.size());
  B::download(t.device(), result.statistics.value.data, out.logp.data(), count);
  const auto seed = plumb_test::random_tensor<B, T>(p.model().device(), {1, count}, 77);
  t.backward(result.statistics, seed.get());
  for (const auto& each : p.trainable()) out.gradients.push_back(each.parameter->gradient.host());
  return out;
}

template <class B, class T>
policy<B, T> tiny() {
  return train_all(load_model<B, T>(plumb_test::repository() / "tests" / "golden" / "tiny_llama"));
}

template <class B, class T>
void compare(double tolerance) {
  auto p = tiny<B, T>();
  const scene s;
  const auto shared = compute(p, s.shared, s.shared_leaves, s.scored);
  const auto apart = compute(p, s.apart, s.apart_leaves, s.scored);
  CHECK(distance(shared.logp, apart.logp) <= tolerance);
  for (std::size_t i = 0; i < shared.gradients.size(); ++i) {
    CAPTURE(p.trainable()[i].name);
    CHECK(distance(shared.gradients[i], apart.gradients[i]) <= tolerance);
  }
  // One sequence at a time: the same log-probabilities, and the gradients add up. Weights of the sum follow the order.
  std::size_t at = 0;
  for (std::size_t i = 0; i < s.apart_leaves.size(); ++i) {
    forest alone;
    const auto& leaf = s.apart[s.apart_leaves[i]];
    alone.add(s.apart.tokens().subspan(static_cast<std::size_t>(leaf.first), static_cast<std::size_t>(leaf.length)));
    const auto single = compute(p, alone, {0}, {s.scored[i]});
    // Forward passes are the same to the bit: this is what makes sampling and training agree.
    for (const T logp : single.logp) CHECK(logp == shared.logp[at++]);
  }
  // Negative control: another token in the prompt is another result.
  forest changed;
  auto prompt = some_tokens(37, 1);
  prompt[3] = (prompt[3] + 1) % 97;
  const auto root = changed.add(prompt);
  const auto leaf = changed.add(some_tokens(5, 2), root);
  const auto moved = compute(p, changed, {leaf}, {5});
  CHECK(distance(std::vector<T>(moved.logp.begin(), moved.logp.begin() + 5),
                 std::vector<T>(shared.logp.begin(), shared.logp.begin() + 5)) > 1e-3);
}

}  // namespace

TEST_CASE("shared equals unshared and packed equals unpacked", "[forest]") {
  SECTION("reference, float64") { compare<reference, double>(1e-12); }
  SECTION("reference, float32") { compare<reference, float>(1e-6); }
  SECTION("cpu, float64") { compare<cpu, double>(1e-12); }
  SECTION("cpu, float32") { compare<cpu, float>(1e-6); }
}

TEST_CASE("results are the same bits for every number of threads", "[forest][threads]") {
  const auto run = [](int threads) {
    auto p =
        train_all(load_model<cpu>(plumb_test::repository() / "tests" / "golden" / "tiny_llama", {.threads = threads}));
    const scene s;
    return compute(p, s.shared, s.shared_leaves, s.scored);
  };
  const auto one = run(1);
  for (const int threads : {2, 3, 4}) {
    const auto many = run(threads);
    CHECK(one.logp == many.logp);
    CHECK(one.gradients == many.gradients);
  }
}

TEST_CASE("a forest knows its rows and predictions", "[forest]") {
  forest f;
  const ids_list t{10, 11, 12};
  const auto root = f.add(t);
  const auto a = f.add(ids_list{20, 21}, root), empty = f.add(ids_list{}, root), b = f.add(ids_list{30}, empty);
  CHECK(f[a].position == 3);
  CHECK(f[b].position == 3);
  CHECK(f.row_at(a, 2) == 2);
  CHECK(f.row_at(a, 4) == 4);
  CHECK(f.row_at(b, 3) == 5);
  CHECK(f.longest_path() == 5);
  std::vector<prediction> p;
  f.predictions(root, p);
  CHECK(p.size() == 2);  // nothing predicts the first token of a root
  p.clear();
  f.predictions(a, p);
  f.predictions(b, p);
  REQUIRE(p.size() == 3);
  CHECK(p[0].row == 2);  // the prompt's last token predicts the first of both replies
  CHECK(p[2].row == 2);
  CHECK(p[2].token == 30);
  batch_layout layout;
  f.lay_out(layout);
  CHECK(layout.positions == std::vector<std::int32_t>{0, 1, 2, 3, 4, 3});
  CHECK(layout.segments.size() == 3);
  CHECK_THROWS_AS(f.add(t, 9), error);
  CHECK_THROWS_AS(f.add(t, -2), error);
}

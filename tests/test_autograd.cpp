// SPDX-License-Identifier: BSL-1.0
// Every operation's backward against central differences in float64, on both host backends, with planted mistakes that
// the check has to see.
#include <plumb/autograd/activations.hpp>
#include <plumb/autograd/attention.hpp>
#include <plumb/autograd/columns.hpp>
#include <plumb/autograd/gradcheck.hpp>
#include <plumb/autograd/layer_normalisation.hpp>
#include <plumb/autograd/operations.hpp>
#include <plumb/autograd/product.hpp>
#include <plumb/autograd/rows.hpp>
#include <plumb/backend/cpu.hpp>
#include <plumb/backend/reference.hpp>
#include <plumb/nn/forest.hpp>
#include <plumb/nn/pass.hpp>

#include "catch.hpp"
#include "random_tensor.hpp"

using namespace plumb;
using plumb_test::random_tensor;

namespace {

constexpr double tolerance = 1e-6;

template <class B>
using inputs = std::span<const variable<B, double>>;

template <class B>
std::vector<tensor<B, double>> make_inputs(const device_ptr<B>& device, std::initializer_list<shape> shapes) {
  std::vector<tensor<B, double>> out;
  std::uint64_t key = 11;
  for (const shape s : shapes) out.push_back(random_tensor<B, double>(device, s, key++));
  return out;
}

template <class B, class Function>
double worst(std::initializer_list<shape> shapes, Function&& f) {
  const auto device = std::make_shared<typename B::device>();
  const auto points = make_inputs<B>(device, shapes);
  return gradcheck<B>(device, std::span<const tensor<B, double>>(points), f).worst;
}

/// Doubles x, and claims that the gradient is 2.001.
template <class B>
struct wrong_scaling {
  variable<B, double> x, out;
  variable<B, double> forward(tape<B, double>& t) {
    out = t.make_like(x.value.extent(), x);
    B::add(t.device(), x.value, x.value, t.writable(out));
    return out;
  }
  void backward(tape<B, double>& t) { B::add_scaled(t.device(), 2.001, out.slot->value, t.gradient(x)); }
};

/// A prompt of 3 with two replies (4 and 2), the first of which has a child (2); and a lone segment of 3.
forest small_forest() {
  forest f;
  const std::vector<token_id> t{1, 2, 3, 4};
  const std::span<const token_id> tokens(t);
  const auto prompt = f.add(tokens.first(3));
  const auto first = f.add(tokens, prompt);
  f.add(tokens.first(2), prompt);
  f.add(tokens.first(2), first);
  f.add(tokens.first(3));
  return f;
}

}  // namespace

TEMPLATE_TEST_CASE("gradients of elementwise operations", "[autograd]", reference, cpu) {
  using B = TestType;
  using in = inputs<B>;
  CHECK(worst<B>({{3, 5}, {3, 5}}, [](auto& t, in v) { return add(t, v[0], multiply(t, v[0], v[1])); }) < tolerance);
  CHECK(worst<B>({{3, 5}}, [](auto& t, in v) { return add(t, v[0], v[0]); }) < tolerance);
  CHECK(worst<B>({{2, 7}}, [](auto& t, in v) { return scale(t, multiply(t, v[0], v[0]), -1.5); }) < tolerance);
  CHECK(worst<B>({{3, 19}, {3, 19}}, [](auto& t, in v) { return swiglu(t, v[0], v[1]); }) < tolerance);
  CHECK(worst<B>({{4, 9}}, [](auto& t, in v) { return dropout(t, v[0], 0.4, 99); }) < tolerance);
  // Where a gradient has begun already, the next one is added to it.
  CHECK(worst<B>({{3, 5}, {3, 5}}, [](auto& t, in v) { return add(t, swiglu(t, v[0], v[1]), v[0]); }) < tolerance);
  CHECK(worst<B>({{3, 5}, {3, 5}}, [](auto& t, in v) { return add(t, swiglu(t, v[0], v[1]), v[1]); }) < tolerance);
  CHECK(worst<B>({{3, 5}}, [](auto& t, in v) { return swiglu(t, v[0], v[0]); }) < tolerance);
  CHECK(worst<B>({{4, 9}}, [](auto& t, in v) { return add(t, dropout(t, v[0], 0.4, 99), v[0]); }) < tolerance);
}

TEMPLATE_TEST_CASE("gradients of products", "[autograd]", reference, cpu) {
  using B = TestType;
  using in = inputs<B>;
  CHECK(worst<B>({{5, 7}, {4, 7}}, [](auto& t, in v) { return product_with(t, v[0], v[1], 0.5); }) < tolerance);
  CHECK(worst<B>({{5, 7}, {1, 7}}, [](auto& t, in v) { return add_row(t, v[0], v[1]); }) < tolerance);
  // A low-rank term on top of a product, and both used again.
  CHECK(worst<B>({{5, 7}, {6, 7}, {2, 7}, {6, 2}}, [](auto& t, in v) {
          const auto base = product_with(t, v[0], v[1]);
          const auto inner = product_with(t, v[0], v[2]);
          const auto y = product_onto(t, base, inner, v[3], 2.0);
          return multiply(t, y, y);
        }) < tolerance);
  // The same as one operation, which reads x, or x after dropout, and whose gradients it adds to others.
  CHECK(worst<B>({{5, 7}, {6, 7}, {2, 7}, {6, 2}}, [](auto& t, in v) {
          const auto y = adapted_product_with(t, v[0], v[1], v[0], v[2], v[3], 2.0);
          const auto z = adapted_product_with(t, v[0], v[1], dropout(t, v[0], 0.4, 7), v[2], v[3], -0.5);
          return multiply(t, y, z);
        }) < tolerance);
}

TEMPLATE_TEST_CASE("an output may lie where one was made that nobody needs on the way back", "[autograd]", reference,
                   cpu) {
  using B = TestType;
  using in = inputs<B>;
  const auto device = std::make_shared<typename B::device>();
  const auto angles_c = random_tensor<B, double>(device, {5, 3}, 1),
             angles_s = random_tensor<B, double>(device, {5, 3}, 2);
  const std::vector<std::int32_t> rows{2, 0, 4, 3, 2};
  const auto on_device = to_device<B>(device, std::span<const std::int32_t>(rows));
  bool taken = false;  // in some pass; those that only look at values record nothing, and make new outputs
  const auto lies_at = [&](const auto& out, const auto& base) {
    taken = taken || out.value.data == base.value.data;
    return out;
  };
  CHECK(worst<B>({{5, 6}, {5, 7}, {6, 7}}, [&](auto& t, in v) {
          const auto y = product_with(t, v[1], v[2]);
          return lies_at(add_onto(t, v[0], y), y);
        }) < tolerance);
  CHECK(std::exchange(taken, false));
  CHECK(worst<B>({{1, 6}, {5, 7}, {6, 7}}, [&](auto& t, in v) {
          const auto y = product_with(t, v[1], v[2]);
          return lies_at(add_row_onto(t, y, v[0]), y);
        }) < tolerance);
  CHECK(std::exchange(taken, false));
  for (const auto layout : {rotary_layout::half, rotary_layout::interleaved}) {
    CHECK(worst<B>({{5, 7}, {16, 7}}, [&](auto& t, in v) {
            const auto y = product_with(t, v[0], v[1]);
            const rotation<B, double> turn{y,   on_device.get().data, angles_c.get(), angles_s.get(), 8, layout, {},
                                           true};
            const auto z = lies_at(t.apply(turn), y);
            return multiply(t, z, z);
          }) < tolerance);
    CHECK(std::exchange(taken, false));
  }
  // A sigmoid reads on the way back what it gave, and an input is not the tape's.
  CHECK(worst<B>({{5, 6}, {5, 6}}, [&](auto& t, in v) {
          const auto y = sigmoid(t, v[1]);
          return lies_at(add_onto(t, v[0], y), y);
        }) < tolerance);
  CHECK(!taken);
  CHECK(worst<B>({{5, 6}, {5, 6}}, [&](auto& t, in v) { return lies_at(add_onto(t, v[0], v[1]), v[1]); }) < tolerance);
  CHECK(!taken);
}

/// What looks like dropout of nothing, but is computed again as something else.
template <class B>
struct wrong_again {
  static constexpr bool output_is_free = true;
  variable<B, double> x, out;
  variable<B, double> forward(tape<B, double>& t) {
    out = t.make_like(x.value.extent(), x);
    B::copy(t.device(), x.value, t.writable(out));
    return out;
  }
  void compute(tape<B, double>& t) { B::fill(t.device(), t.writable(out), 1.001); }
  void backward(tape<B, double>& t) { t.hand_gradient(x, out); }
};

TEMPLATE_TEST_CASE("what is soon computed is computed again on the way back", "[autograd]", reference, cpu) {
  using B = TestType;
  using in = inputs<B>;
  std::vector<const double*> places;  // of what was made, while values are kept for a way back
  const auto seen = [&](auto& t, const auto& made) {
    if (t.recording()) places.push_back(made.value.data);
    return made;
  };
  // Two in a row, the second of which holds one inside, of another size; all operations that can.
  const auto chain = [&](auto& t, in v) {
    const auto square = [&](auto x) { return multiply(t, x, x); };
    auto x = t.recompute([&] { return seen(t, rms_normalise(t, v[0], v[1], 1e-5)); }, square);  // [3, 6]
    x = t.recompute([&] { return dropout(t, seen(t, swiglu(t, x, v[2])), 0.2, 5); },
                    [&](auto y) {
                      const auto part = t.recompute([&] { return seen(t, take_columns(t, y, 1, 3)); }, square);
                      return product_onto(t, product_with(t, y, v[3]), part, v[4], 1);  // [3, 4]
                    });
    return t.recompute([&] { return gelu(t, centre_and_normalise(t, x, v[5], 1e-5)); }, square);
  };
  CHECK(worst<B>({{3, 6}, {1, 6}, {3, 6}, {4, 6}, {4, 3}, {1, 4}}, chain) < tolerance);
  REQUIRE(places.size() >= 3);
  CHECK(places[0] == places[1]);  // the memory of the first serves the second
  CHECK(places[1] != places[2]);  // … which is in use while another is
  // A value below which nothing is learnt is computed again all the same: others' gradients need it.
  const auto frozen = random_tensor<B, double>(std::make_shared<typename B::device>(), {3, 6}, 4);
  CHECK(worst<B>({{1, 6}, {4, 6}}, [&](auto& t, in v) {
          const auto x = t.constant(frozen.get());
          const auto y =
              t.recompute([&] { return multiply(t, x, x); }, [&](auto h) { return product_with(t, h, v[1]); });
          const auto z = t.recompute([&] { return rms_normalise(t, x, v[0], 1e-5); },
                                     [&](auto h) { return product_with(t, h, v[1]); });
          return multiply(t, y, z);
        }) < tolerance);
  // Negative control: the gradient of the square is that of what was computed again.
  CHECK(worst<B>({{3, 6}}, [&](auto& t, in v) {
          return t.recompute([&] { return t.apply(wrong_again<B>{v[0], {}}); },
                             [&](auto x) { return multiply(t, x, x); });
        }) > 1e-2);
  CHECK(worst<B>({{3, 6}}, [&](auto& t, in v) {  // and where nothing is forgotten it does not matter
          const auto x = t.apply(wrong_again<B>{v[0], {}});
          return multiply(t, x, x);
        }) < tolerance);
}

TEMPLATE_TEST_CASE("an adapted product is the sum of two products", "[autograd]", reference, cpu) {
  using B = TestType;
  const auto device = std::make_shared<typename B::device>();
  // Ranks up to more than a block of K, and maps deeper than one.
  for (const auto& [rows, in, out, rank] : {std::array<index_t, 4>{1, 7, 3, 2}, {33, 900, 70, 16}, {20, 40, 33, 800}}) {
    const auto x = random_tensor<B, double>(device, {rows, in}, 1), w = random_tensor<B, double>(device, {out, in}, 2),
               a = random_tensor<B, double>(device, {rank, in}, 3),
               b = random_tensor<B, double>(device, {out, rank}, 4);
    tape<B, double> t(device);
    const auto at = [&](const auto& m) { return t.constant(m.get()); };
    const auto one = adapted_product_with(t, at(x), at(w), at(x), at(a), at(b), 0.3);
    const auto base = product_with(t, at(x), at(w));
    const auto two = product_onto(t, base, product_with(t, at(x), at(a)), at(b), 0.3);
    double worst = 0;
    std::vector<double> found(static_cast<std::size_t>(rows * out)), expected(found.size());
    B::download(*device, one.value.data, found.data(), rows * out);
    B::download(*device, two.value.data, expected.data(), rows * out);
    for (std::size_t i = 0; i < found.size(); ++i) worst = std::max(worst, std::abs(found[i] - expected[i]));
    INFO(rows << " x " << in << " x " << out << ", rank " << rank);
    CHECK(worst < 1e-10);
  }
}

TEMPLATE_TEST_CASE("gradients of row operations", "[autograd]", reference, cpu) {
  using B = TestType;
  using in = inputs<B>;
  const auto device = std::make_shared<typename B::device>();
  const std::vector<std::int32_t> rows{2, 0, 2, 3, 2};
  const auto on_device = to_device<B>(device, std::span<const std::int32_t>(rows));
  CHECK(worst<B>({{4, 6}}, [&](auto& t, in v) { return gather_rows(t, v[0], on_device.get().data, 5); }) < tolerance);
  CHECK(worst<B>({{4, 17}, {1, 17}}, [](auto& t, in v) { return rms_normalise(t, v[0], v[1], 1e-5); }) < tolerance);
  const auto angles_c = random_tensor<B, double>(device, {4, 3}, 1),
             angles_s = random_tensor<B, double>(device, {4, 3}, 2);
  for (const auto layout : {rotary_layout::half, rotary_layout::interleaved})
    CHECK(worst<B>({{5, 12}}, [&](auto& t, in v) {
            return t.apply(
                rotation<B, double>{v[0], on_device.get().data, angles_c.get(), angles_s.get(), 6, layout, {}});
          }) < tolerance);
  // Three pairs of each head turn, the other two numbers stay.
  for (const auto layout : {rotary_layout::half, rotary_layout::interleaved})
    CHECK(worst<B>({{5, 16}}, [&](auto& t, in v) {
            return t.apply(
                rotation<B, double>{v[0], on_device.get().data, angles_c.get(), angles_s.get(), 8, layout, {}});
          }) < tolerance);
  CHECK(worst<B>({{6, 6}}, [&](auto& t, in v) { return gather_rows(t, v[0], on_device.get().data, 5, 2); }) <
        tolerance);
}

TEMPLATE_TEST_CASE("gradients of attention over a forest", "[autograd][attention]", reference, cpu) {
  using B = TestType;
  const forest f = small_forest();
  batch_layout layout;
  f.lay_out(layout);
  const auto tokens = static_cast<index_t>(layout.tokens.size());
  for (const attention_options o :
       {attention_options{2, 2, 4, 0.5, 0}, attention_options{4, 2, 3, 0.7, 0}, attention_options{3, 1, 5, 0.4, 3},
        attention_options{2, 1, 4, 1.5, 0, 0.8}, attention_options{3, 1, 4, 0.5, 0, 0, 8},
        attention_options{2, 1, 4, 0.9, 3, 1.1, 2}}) {
    CHECK(worst<B>({{tokens, o.heads * o.head_width},
                    {tokens, o.kv_heads * o.head_width},
                    {tokens, o.kv_heads * o.head_width}},
                   [&](auto& t, inputs<B> v) { return attend(t, v[0], v[1], v[2], upload(t, layout).plan, o); }) <
          tolerance);
  }
}

TEMPLATE_TEST_CASE("gradients of activations, layer norm and columns", "[autograd]", reference, cpu) {
  using B = TestType;
  CHECK(worst<B>({{3, 5}}, [](auto& t, inputs<B> v) { return gelu(t, v[0], activation::gelu); }) < tolerance);
  CHECK(worst<B>({{3, 5}}, [](auto& t, inputs<B> v) { return gelu(t, v[0], activation::gelu_tanh); }) < tolerance);
  for (const auto which : {activation::silu, activation::relu, activation::gelu_tanh})
    CHECK(worst<B>({{3, 5}}, [&](auto& t, inputs<B> v) { return activate(t, v[0], which); }) < tolerance);
  CHECK(worst<B>({{3, 5}}, [](auto& t, inputs<B> v) { return soft_cap(t, v[0], 0.7); }) < tolerance);
  CHECK(worst<B>({{3, 5}}, [](auto& t, inputs<B> v) { return multiply(t, shift(t, v[0], 1.5), v[0]); }) < tolerance);
  CHECK(worst<B>({{3, 5}, {1, 5}}, [](auto& t, inputs<B> v) { return centre_and_normalise(t, v[0], v[1], 1e-5); }) <
        tolerance);
  CHECK(worst<B>({{3, 5}}, [](auto& t, inputs<B> v) {
          return multiply(t, take_columns(t, v[0], 0, 2), take_columns(t, v[0], 3, 2));
        }) < tolerance);
  CHECK(worst<B>({{3, 4}}, [](auto& t, inputs<B> v) {
          const auto tall = reshape(t, v[0], {6, 2});
          return multiply(t, tall, tall);
        }) < tolerance);
}

TEMPLATE_TEST_CASE("gradcheck sees a wrong backward", "[autograd]", reference, cpu) {
  using B = TestType;
  const auto wrong = worst<B>({{2, 2}}, [](auto& t, inputs<B> v) { return t.apply(wrong_scaling<B>{v[0], {}}); });
  CHECK(wrong > 1e-4);
  CHECK(wrong < 1e-2);
}

TEST_CASE("a tape in steady state takes no new memory and a constant takes no gradient", "[autograd]") {
  using B = reference;
  const auto device = std::make_shared<B::device>();
  const auto a = random_tensor<B, double>(device, {40, 30}, 1), b = random_tensor<B, double>(device, {20, 30}, 2);
  tape<B, double> t(device);
  std::size_t capacity = 0;
  for (int step = 0; step < 5; ++step) {
    t.reset();
    const auto x = t.input(a.get());
    const auto y = product_with(t, x, t.constant(b.get()));
    CHECK(y.needs_gradient());
    t.backward(y, y.value);
    if (step == 1) capacity = t.memory().capacity();
    if (step > 1) CHECK(t.memory().capacity() == capacity);
  }
  t.reset();
  CHECK_FALSE(product_with(t, t.constant(a.get()), t.constant(b.get())).needs_gradient());
  t.set_recording(false);
  CHECK_FALSE(t.input(a.get()).needs_gradient());
}

TEST_CASE("impossible sizes are refused before any allocation", "[tensor]") {
  const auto device = std::make_shared<reference::device>();
  CHECK_THROWS_AS((tensor<reference, float>(device, {index_t{1} << 40, index_t{1} << 40})), error);
  CHECK_THROWS_AS((tensor<reference, float>(device, {-1, 3})), error);
  try {
    tensor<reference, float>(device, {index_t{1} << 30, index_t{1} << 29});
    FAIL("expected an error");
  } catch (const error& e) {
    CHECK(e.code() == errc::out_of_memory);
  }
}

#if __has_include(<Eigen/Core>)
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"  // GCC 12 about its own AVX-512 intrinsics, inlined by Eigen
#endif
#include <plumb/backend/cpu_eigen.hpp>

TEST_CASE("a view is an Eigen matrix without a copy", "[tensor][eigen]") {
  const auto device = std::make_shared<cpu::device>(1);
  auto a = random_tensor<cpu, double>(device, {5, 7}, 1), b = random_tensor<cpu, double>(device, {4, 7}, 2);
  tensor<cpu, double> expected(device, {5, 4}), found(device, {5, 4});
  cpu::multiply(*device, product::nt, 1.0, std::as_const(a).get(), std::as_const(b).get(), 0.0, expected.get());
  as_eigen(found.get()).noalias() = as_eigen(std::as_const(a).get()) * as_eigen(b.get()).transpose();
  CHECK(plumb_test::distance(found.host(), expected.host()) < 1e-14);
  as_eigen(a.get())(2, 3) = 42;
  CHECK(a.host()[2 * 7 + 3] == 42);
}
#endif

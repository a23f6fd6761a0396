// SPDX-License-Identifier: BSL-1.0
// Packed weights on any backend: products forwards and backwards, and rows looked up, equal those of the unpacked weight, bit
// for bit.
#pragma once

#include <vector>

#include "catch.hpp"
#include "random_tensor.hpp"

#include <plumb/autograd/operations.hpp>
#include <plumb/autograd/product.hpp>
#include <plumb/autograd/rows.hpp>

namespace plumb_test {

/// The formats that plumb packs, with rows of 96 numbers.
inline const std::vector<plumb::packed_format>& packed_formats() {
  static const std::vector<plumb::packed_format> all{plumb::packed_format::bf16, plumb::packed_format::f16,
                                                     plumb::packed_format::int8, plumb::packed_format::four_bits,
                                                     plumb::packed_format::q8_0, plumb::packed_format::q4_0};
  return all;
}

/// Plain and adapted products of `tokens` rows, and the gradients of everything that learns.
template <class B>
void check_packed_products(const plumb::device_ptr<B>& device, plumb::packed_format format, plumb::index_t tokens) {
  using namespace plumb;
  using T = float;
  const index_t in = 96, out = 70, rank = 5;
  const auto numbers = random_tensor<B, T>(device, {out, in}, 1).host();
  weight_tensor<B, T> packed, plain;
  packed.packed = std::make_shared<const packed_tensor<B>>(device, pack(numbers, {out, in}, format));
  plain.value = packed.plain();
  CHECK(packed.extent() == plain.extent());
  CHECK((packed.host() == plain.host()));
  CHECK((packed.host() != numbers));
  const auto x = random_tensor<B, T>(device, {tokens, in}, 2), a = random_tensor<B, T>(device, {rank, in}, 3),
             b = random_tensor<B, T>(device, {out, rank}, 4), seed = random_tensor<B, T>(device, {tokens, out}, 5);
  const auto run = [&](weight_tensor<B, T>& w) {
    tape<B, T> t(device);
    std::vector<std::vector<T>> all;
    const auto keep = [&](view<const T> v) {
      std::vector<T> host(static_cast<std::size_t>(v.size()));
      B::download(t.device(), v.data, host.data(), v.size());
      all.push_back(std::move(host));
    };
    const std::vector<std::int32_t> chosen{3, 0, out - 2, 3};
    auto* const rows = t.memory().template make_array<std::int32_t>(4);
    B::upload(t.device(), chosen.data(), rows, 4);
    for (const index_t first : {0, 1}) keep(gather_rows(t, t.leaf(w), rows, 4, first).value);
    for (const int kind : {0, 1, 2}) {  // plain; with an adapter; with an adapter that sees other inputs
      t.reset();
      const auto from = t.input(x.get()), first = t.input(a.get()), second = t.input(b.get());
      const auto weight = t.leaf(w);
      const auto seen = kind == 2 ? scale(t, from, T(0.5)) : from;
      const auto y = kind == 0 ? product_with(t, from, weight, T(0.7))
                               : adapted_product_with(t, from, weight, seen, first, second, T(0.3));
      t.backward(y, seed.get());
      keep(y.value), keep(t.gradient(from));
      if (kind > 0) keep(t.gradient(first)), keep(t.gradient(second));
    }
    return all;
  };
  CHECK((run(packed) == run(plain)));
}

}  // namespace plumb_test

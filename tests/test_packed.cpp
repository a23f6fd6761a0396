// SPDX-License-Identifier: BSL-1.0
// Tests of packed weights: formats against bitsandbytes' operators and gguf's, files, products on every backend.
#include <cmath>
#include <cstring>

#include "catch.hpp"
#include "cpu_machines.hpp"
#include "failures.hpp"
#include "packed_cases.hpp"
#include "support.hpp"

#include <plumb/backend/cpu.hpp>
#include <plumb/backend/reference.hpp>
#include <plumb/core/packed_numbers.hpp>
#include <plumb/core/random.hpp>
#include <plumb/io/bitsandbytes.hpp>
#include <plumb/io/ggml_type.hpp>

namespace {

using plumb::errc;
using plumb::index_t;
using plumb::packed_format;

plumb::weight_files golden() {
  return plumb::weight_files::open(plumb_test::repository() / "tests/golden/packed_numbers.safetensors");
}
std::vector<float> floats(const plumb::weight_files& files, const std::string& name) {
  std::vector<float> out(static_cast<std::size_t>(files.info(name).elements));
  files.read(name, std::span<float>(out));
  return out;
}
std::vector<float> unpacked(const plumb::packed_matrix& m) {
  std::vector<float> out(static_cast<std::size_t>(m.rows * m.columns));
  plumb::unpack(m, out);
  return out;
}
std::vector<float> random_numbers(index_t count, std::uint64_t seed) {
  std::vector<float> out;
  for (index_t i = 0; i < count; ++i) {
    const auto word = [&](index_t k) { return plumb::philox_word(seed, static_cast<std::uint64_t>(4 * i + k)); };
    out.push_back(static_cast<float>(
        plumb::box_muller(plumb::uniform_double(word(0), word(1)), plumb::uniform_double(word(2), word(3)))));
  }
  return out;
}
/// Equal as numbers: -0 and 0 are.
void check_same(const std::vector<float>& found, const std::vector<float>& expected) {
  REQUIRE(found.size() == expected.size());
  std::size_t different = 0;
  for (std::size_t i = 0; i < found.size(); ++i) different += found[i] == expected[i] ? 0 : 1;
  CHECK(different == 0);
}

}  // namespace

TEST_CASE("weights that bitsandbytes packed are read to the bit", "[packed]") {
  const auto files = golden();
  check_same({plumb::dynamic_map().begin(), plumb::dynamic_map().end()}, floats(files, "dynamic_map"));
  for (const std::string name : {"even", "odd", "plain", "fp4", "bytes"}) {
    CAPTURE(name);
    const auto& sizes = files.shape(name + ".original");
    const plumb::shape extent{sizes[0], sizes[1]};
    const auto m = plumb::read_bitsandbytes(files, name + ".weight", extent);
    check_same(unpacked(m.what), floats(files, name + ".decoded"));
    CHECK(plumb::bitsandbytes_shape(files, name + ".weight") == extent);
    if (name == "plain" || name == "fp4") continue;  // plumb writes NF4 with second quantisation
    const auto own = plumb::pack(floats(files, name + ".original"), extent, m.what.format);
    CHECK(own.what.offset == m.what.offset);
    CHECK(own.bytes == m.bytes);
  }
}

TEST_CASE("packed weights are written as bitsandbytes reads them", "[packed]") {
  const plumb_test::temporary_folder folder;
  for (const packed_format format : {packed_format::four_bits, packed_format::int8}) {
    const auto m = plumb::pack(random_numbers(15 * 77, 3), {15, 77}, format);
    const auto parts = plumb::as_bitsandbytes("a.weight", m.what);
    plumb::write_safetensors(folder.path() / "model.safetensors", parts->tensors);
    const auto files = plumb::weight_files::open(folder.path() / "model.safetensors");
    CHECK(plumb::bitsandbytes_format(files, "a.weight") == format);
    const auto again = plumb::read_bitsandbytes(files, "a.weight", {15, 77});
    CHECK(again.bytes == m.bytes);
    CHECK(again.what.offset == m.what.offset);
    CHECK_MESSAGE(errc::bad_model, plumb::read_bitsandbytes(files, "a.weight", plumb::shape{77, 15}), "a.");
  }
  const auto plain = plumb::pack(random_numbers(64, 3), {2, 32}, packed_format::q8_0);
  CHECK_MESSAGE(errc::unsupported, plumb::as_bitsandbytes("a.weight", plain.what), "has no q8_0");
}

TEST_CASE("damaged files of bitsandbytes are refused", "[packed]") {
  const plumb_test::temporary_folder folder;
  const auto path = folder.path() / "model.safetensors";
  const auto read = [&](const std::vector<plumb::tensor_data>& tensors) {
    plumb::write_safetensors(path, tensors);
    return plumb::read_bitsandbytes(plumb::weight_files::open(path), "a.weight", {15, 77});
  };
  const auto m = plumb::pack(random_numbers(15 * 77, 3), {15, 77}, packed_format::four_bits);
  const auto parts = plumb::as_bitsandbytes("a.weight", m.what);
  CHECK(read(parts->tensors).bytes == m.bytes);
  for (std::size_t i = 0; i < parts->tensors.size(); ++i) {
    const std::string name = parts->tensors[i].name;
    CAPTURE(name);
    auto some = parts->tensors;
    some.erase(some.begin() + static_cast<std::ptrdiff_t>(i));
    // Without the second scales the first are expected as floats; without the state it is no such weight.
    const bool whole = name == "a.weight" || name.find("quant_state") != std::string::npos;
    CHECK_MESSAGE(whole ? errc::not_found : errc::bad_model, read(some), "a.weight");
    if (name.find("quant_state") != std::string::npos) continue;
    some = parts->tensors;  // one number too few
    const auto width = some[i].type == plumb::dtype::f32 ? std::size_t{4} : std::size_t{1};
    some[i].bytes = some[i].bytes.first(some[i].bytes.size() - width);
    some[i].shape = {static_cast<index_t>(some[i].bytes.size() / width)};
    CHECK_MESSAGE(errc::bad_model, read(some), "expected");
    if (width == 1) continue;
    some = parts->tensors;
    std::vector<std::byte> broken(some[i].bytes.begin(), some[i].bytes.end());
    const float nothing = std::nanf("");
    std::memcpy(broken.data(), &nothing, 4);
    some[i].bytes = broken;
    CHECK_MESSAGE(errc::not_finite, read(some), "NaN");
  }
  for (const std::string state : {"{", "[]", "{\"shape\": [15, 77], \"blocksize\": 3}", "{\"blocksize\": 64}",
                                  "{\"shape\": [15, 77], \"blocksize\": 64, \"nested_blocksize\": 0}"}) {
    CAPTURE(state);
    auto some = parts->tensors;
    for (auto& each : some)
      if (each.name.find("quant_state") != std::string::npos)
        each.bytes = std::as_bytes(std::span(state)), each.shape = {static_cast<index_t>(state.size())};
    CHECK(plumb_test::thrown([&] { read(some); }).has_value());
  }
}

TEST_CASE("blocks of llama.cpp and short floats unpack as their own readers say", "[packed]") {
  const auto numbers = random_numbers(6 * 512, 5);
  for (const auto& [format, type, error] : {std::tuple{packed_format::q8_0, plumb::ggml_type::q8_0, 0.02},
                                            {packed_format::q4_0, plumb::ggml_type::q4_0, 0.35},
                                            {packed_format::bf16, plumb::ggml_type::bf16, 0.02},
                                            {packed_format::f16, plumb::ggml_type::f16, 0.002}}) {
    CAPTURE(plumb::name(format));
    const auto m = plumb::pack(numbers, {6, 512}, format);
    std::vector<float> expected(numbers.size());
    plumb::dequantize(
        type,
        std::as_bytes(std::span(m.bytes).first(numbers.size() / static_cast<std::size_t>(plumb::block_numbers(format)) *
                                               static_cast<std::size_t>(plumb::block_bytes(format)))),
        expected);
    const auto found = unpacked(m.what);
    check_same(found, expected);
    double worst = 0;
    for (std::size_t i = 0; i < numbers.size(); ++i)
      worst = std::max(worst, std::abs(static_cast<double>(found[i]) - static_cast<double>(numbers[i])));
    CHECK(worst < error);
    CHECK(worst > 0);
  }
}

TEST_CASE("what cannot be packed is refused with the way out", "[packed]") {
  const auto numbers = random_numbers(3 * 50, 1);
  CHECK_MESSAGE(errc::bad_argument, plumb::pack(numbers, plumb::shape{3, 50}, packed_format::q8_0),
                "keep this matrix in another format");
  CHECK_MESSAGE(errc::unsupported, plumb::pack(numbers, plumb::shape{3, 50}, packed_format::q4_k), "use bf16");
  CHECK_MESSAGE(errc::bad_argument, plumb::pack(numbers, plumb::shape{3, 51}, packed_format::bf16),
                "expected 153 numbers");
  auto broken = numbers;
  broken[7] = std::nanf("");
  CHECK_MESSAGE(errc::not_finite, plumb::pack(broken, plumb::shape{3, 50}, packed_format::four_bits), "nf4");
  broken[7] = 1e6F;
  CHECK_MESSAGE(errc::not_finite, plumb::pack(broken, plumb::shape{3, 50}, packed_format::f16), "range");
  CHECK_NOTHROW(plumb::pack(broken, {3, 50}, packed_format::bf16));
  const std::vector<float> zeros(3 * 64, 0.0F), tiny(3 * 64, 1e-41F);
  for (const packed_format format :
       {packed_format::int8, packed_format::four_bits, packed_format::q8_0, packed_format::q4_0}) {
    check_same(unpacked(plumb::pack(zeros, {3, 64}, format).what), zeros);
    for (const float x : unpacked(plumb::pack(tiny, {3, 64}, format).what)) CHECK(std::abs(x) < 1e-30F);
  }
}

TEMPLATE_TEST_CASE("products with packed weights are those with their numbers", "[packed]", plumb::reference,
                   plumb::cpu) {
  const auto device = std::make_shared<typename TestType::device>();
  for (const packed_format format : plumb_test::packed_formats())
    for (const index_t tokens : {1, 3, 40}) {
      CAPTURE(plumb::name(format), tokens);
      plumb_test::check_packed_products<TestType>(device, format, tokens);
    }
}

TEST_CASE("a packed weight is frozen and says so", "[packed]") {
  plumb::weight_tensor<plumb::cpu, float> w;
  const auto device = std::make_shared<plumb::cpu::device>(1);
  w.packed = std::make_shared<const plumb::packed_tensor<plumb::cpu>>(
      device, plumb::pack(random_numbers(64, 1), {2, 32}, packed_format::four_bits));
  CHECK_MESSAGE(errc::unsupported, w.set_trainable(true), "train an adapter");
  CHECK_NOTHROW(w.set_trainable(false));
}

TEMPLATE_TEST_CASE("the cpu's products with packed weights have the same bits however they are cut", "[packed]", float,
                   double) {
  using T = TestType;
  using plumb::cpu;
  using plumb::view;
  const auto& formats = plumb_test::packed_formats();
  int with_panels = 0;
  for (const auto& machine : plumb_test::all_machines()) {
    // Sizes: every remainder of a panel, of a block of the depth (768), of a stretch, of a tile of rows and its half; rows
    // that end inside bytes; sums that wait in parts.
    for (const auto& [m, n, k] : {std::tuple<index_t, index_t, index_t>{1, 33, 800},
                                  {5, 64, 64},
                                  {31, 290, 1568},
                                  {17, 64, 1568},
                                  {8, 70, 800},
                                  {15, 97, 832},
                                  {16, 64, 3232},
                                  {300, 97, 96},
                                  {7, 45, 77}})
      for (const packed_format format : formats) {
        if (k % 32 != 0 && format >= packed_format::q8_0) continue;
        const auto packed = plumb::pack(random_numbers(n * k, 7), {n, k}, format);
        const auto floats = unpacked(packed.what);
        const std::vector<T> plain(floats.begin(), floats.end());
        const view<const T> right(plain.data(), n, k);
        for (const int threads : {1, 3})
          for (const auto kind : {plumb::product::nt, plumb::product::nn}) {
            const index_t depth = kind == plumb::product::nt ? k : n, columns = n + k - depth;
            const auto source = random_numbers(m * depth, 8), before = random_numbers(m * columns, 9);
            const std::vector<T> left(source.begin(), source.end());
            const view<const T> a(left.data(), m, depth);
            std::vector<T> one(before.begin(), before.end()), other = one;
            cpu::device d = machine.device(threads);
            cpu::multiply<T>(d, kind, T(0.7), a, right, T(0.3), view<T>(one.data(), m, columns));
            cpu::multiply_packed<T>(d, kind, T(0.7), a, packed.what, nullptr, T(0.3),
                                    view<T>(other.data(), m, columns));
            CAPTURE(plumb::name(format), static_cast<int>(machine.set), static_cast<int>(machine.unit), m, n, k,
                    threads);
            CHECK((one == other));
            const index_t bytes = cpu::packed_panel_size<T>(d, packed.what);
            if (kind != plumb::product::nt || bytes == 0) continue;
            std::vector<std::uint8_t> panels(static_cast<std::size_t>(bytes));
            cpu::make_packed_panels<T>(d, packed.what, panels.data());
            other.assign(before.begin(), before.end());
            cpu::multiply_packed<T>(d, kind, T(0.7), a, packed.what, panels.data(), T(0.3),
                                    view<T>(other.data(), m, columns));
            CHECK((one == other));
            ++with_panels;
            // With a second term, as a low-rank change has it; every operand ends where its memory does.
            const auto low_source = random_numbers(m * 5, 10), high_source = random_numbers(n * 5, 11);
            const std::vector<T> low(low_source.begin(), low_source.end()),
                high(high_source.begin(), high_source.end());
            const view<const T> more_a(low.data(), m, 5), more_b(high.data(), n, 5);
            cpu::multiply_sum<T>(d, kind, {a, right}, {more_a, more_b}, T(0), view<T>(one.data(), m, n));
            cpu::multiply_sum<T>(d, kind, {a, {}, nullptr, &packed.what, panels.data()}, {more_a, more_b}, T(0),
                                 view<T>(other.data(), m, n));
            CHECK((one == other));
          }
      }
  }
  // Kernels that read codes are for floats in wide registers.
  const bool wide = plumb::detail::best_instruction_set() > plumb::detail::instruction_set::portable;
  CHECK((with_panels > 0) == (sizeof(T) == 4 && wide));
}

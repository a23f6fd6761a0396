// SPDX-License-Identifier: BSL-1.0
// Tests of packed weights: formats against bitsandbytes' operators and gguf's, files, products on every backend.
#include <cmath>
#include <cstring>

#include "catch.hpp"
#include "failures.hpp"
#include "support.hpp"

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

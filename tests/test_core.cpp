// SPDX-License-Identifier: BSL-1.0
// Dual numbers and their vocabulary against finite differences and torch; Philox against its published vectors.
#include <plumb/core/dual.hpp>
#include <plumb/core/math.hpp>
#include <plumb/core/nearest.hpp>
#include <plumb/core/philox.hpp>

#include <algorithm>
#include <cmath>
#include <limits>
#include <plumb/io/json.hpp>
#include <string>
#include <vector>

#include "catch.hpp"
#include "support.hpp"

namespace {

using plumb::dual;
using two = dual<2, double>;

constexpr double inf = std::numeric_limits<double>::infinity();
constexpr double not_a_number = std::numeric_limits<double>::quiet_NaN();

/// Compares the slopes of f(a, b) with central differences at (a, b); true when both agree to `tolerance`, relative.
template <class F>
bool slopes_agree(F f, double a, double b, double tolerance = 1e-7) {
  const two result = f(two::variable(a, 0), two::variable(b, 1));
  const auto value = [&](double x, double y) { return plumb::value_of(two(f(two(x), two(y)))); };
  const double ha = 1e-6 * std::max(1.0, std::abs(a));
  const double hb = 1e-6 * std::max(1.0, std::abs(b));
  const double by_a = (value(a + ha, b) - value(a - ha, b)) / (2 * ha);
  const double by_b = (value(a, b + hb) - value(a, b - hb)) / (2 * hb);
  const auto close = [&](double x, double y) {
    return std::abs(x - y) <= tolerance * std::max({1.0, std::abs(x), std::abs(y)});
  };
  return result.value == value(a, b) && close(result.slope[0], by_a) && close(result.slope[1], by_b);
}

}  // namespace

TEST_CASE("a dual number follows the rules of calculus") {
  const two x = two::variable(3, 0);
  const two y = two::variable(-2, 1);
  SECTION("the lesson of the header") {
    const two f = x * x + 2;
    CHECK(f.value == 11);
    CHECK(f.slope[0] == 6);
    CHECK(f.slope[1] == 0);
  }
  SECTION("every operator, every mixture") {
    for (const auto& [a, b] : {std::pair{3.0, -2.0}, {0.5, 7.0}, {-1e3, 1e-3}}) {
      CHECK(slopes_agree([](auto p, auto q) { return p + q; }, a, b));
      CHECK(slopes_agree([](auto p, auto q) { return p - q; }, a, b));
      CHECK(slopes_agree([](auto p, auto q) { return p * q; }, a, b, 1e-6));
      CHECK(slopes_agree([](auto p, auto q) { return q / p; }, a, b, 1e-5));
      CHECK(slopes_agree([](auto p, auto q) { return -p + +q; }, a, b));
      CHECK(slopes_agree([](auto p, auto q) { return 2 * p + q * 3.0 - 1.5f; }, a, b));
      CHECK(slopes_agree([](auto p, auto q) { return (1 - p) * (q - 4) / 2 + (2.0 + q); }, a, b, 1e-6));
      CHECK(slopes_agree([](auto p, auto) { return 1 / p; }, a, b, 1e-6));
    }
  }
  SECTION("a wrong slope is noticed (control)") {
    CHECK_FALSE(slopes_agree([](auto p, auto q) { return p * plumb::detach(q); }, 3, -2));
  }
  SECTION("assignment operators") {
    two z = x;
    z += y;
    z -= 1;
    z *= x;
    z /= 2;
    CHECK(z.value == 0.0);
    CHECK(z.slope[0] == 1.5);  // d/dx (x + y - 1) x / 2 = (2x + y - 1) / 2
    CHECK(z.slope[1] == 1.5);
  }
  SECTION("comparisons look at the value") {
    CHECK(x > y);
    CHECK(y < x);
    CHECK(x >= 3.0);
    CHECK(x <= 3);
    CHECK(x == two(3));
    CHECK(x != y);
  }
  SECTION("what does not move, does not move, even where a derivative is infinite") {
    CHECK(plumb::sqrt(two(0)).slope[0] == 0);
    CHECK((two(inf) * two::variable(1, 0)).slope[1] == 0);
  }
  SECTION("it works while compiling") {
    static_assert((dual<1>::variable(3, 0) * dual<1>::variable(3, 0)).slope[0] == 6);
    static_assert(!std::is_convertible_v<two, double>, "slopes must not get lost in silence");
    static_assert(std::is_trivially_copyable_v<two>);
  }
}

TEST_CASE("every word of the vocabulary has the right slope") {
  for (const double a : {-30.0, -2.5, -0.7, -0.1, 0.3, 1.0, 4.0, 25.0}) {
    for (const double b : {-3.0, 0.25, 2.0}) {
      CAPTURE(a, b);
      CHECK(slopes_agree([](auto x, auto y) { return plumb::exp(x / 10) * y; }, a, b));
      CHECK(slopes_agree([](auto x, auto y) { return plumb::expm1(x / 10) + y; }, a, b));
      CHECK(slopes_agree([](auto x, auto y) { return plumb::tanh(x) * y; }, a, b));
      CHECK(slopes_agree([](auto x, auto y) { return plumb::square(x) * y; }, a, b, 1e-6));
      CHECK(slopes_agree([](auto x, auto y) { return plumb::abs(x) * y; }, a, b));
      CHECK(slopes_agree([](auto x, auto y) { return plumb::sigmoid(x) * y; }, a, b));
      CHECK(slopes_agree([](auto x, auto y) { return plumb::softplus(x) * y; }, a, b));
      CHECK(slopes_agree([](auto x, auto y) { return plumb::log_sigmoid(x) * y; }, a, b));
      CHECK(slopes_agree([](auto x, auto y) { return plumb::log_add_exp(x, y); }, a, b));
      CHECK(slopes_agree([](auto x, auto y) { return plumb::log_add_exp(x, 0.5) + plumb::log_add_exp(0.5, y); }, a, b));
      CHECK(slopes_agree([](auto x, auto y) { return plumb::relu(x) * y; }, a, b));
      CHECK(slopes_agree([](auto x, auto y) { return plumb::min(x, y) * plumb::max(x, y); }, a, b, 1e-6));
      CHECK(slopes_agree([](auto x, auto y) { return plumb::min(x, 0.2) + plumb::max(0.2, y); }, a, b));
      if (a != 1.0) CHECK(slopes_agree([](auto x, auto y) { return plumb::clamp(x, -1, 1) * y; }, a, b));
      CHECK(slopes_agree([](auto x, auto) { return plumb::pow(x, 3); }, a, b, 1e-5));
      if (a < 0) CHECK(slopes_agree([](auto x, auto y) { return plumb::log1mexp(x) * y; }, a, b, 1e-6));
      if (a > 0) {
        CHECK(slopes_agree([](auto x, auto y) { return plumb::log(x) * y; }, a, b));
        CHECK(slopes_agree([](auto x, auto y) { return plumb::log1p(x) * y; }, a, b));
        CHECK(slopes_agree([](auto x, auto y) { return plumb::sqrt(x) * y; }, a, b));
        CHECK(slopes_agree([](auto x, auto y) { return plumb::pow(x, y); }, a, b, 1e-5));
        CHECK(slopes_agree([](auto x, auto y) { return plumb::pow(x, 0) + plumb::pow(2.0, y); }, a, b));
      }
    }
  }
}

TEST_CASE("kinks follow their documented rule") {
  const two x = two::variable(1, 0);
  const two y = two::variable(1, 1);
  CHECK(plumb::max(x, y).slope[0] == 0.5);
  CHECK(plumb::max(x, y).slope[1] == 0.5);
  CHECK(plumb::min(x, y).slope[1] == 0.5);
  CHECK(plumb::relu(x - 1).slope[0] == 0.5);
  CHECK(plumb::abs(x - 1).slope[0] == 0);
  CHECK(plumb::clamp(x, -1, 1).slope[0] == 1);  // the ends belong to the interval
  CHECK(plumb::clamp(x, 1, 2).slope[0] == 1);
  CHECK(plumb::clamp(x, 2, 3).slope[0] == 0);
  CHECK(plumb::clamp(x, 2, 3).value == 2);
  CHECK(plumb::detach(x).slope[0] == 0);
  CHECK(plumb::detach(x).value == 1);
  CHECK(plumb::value_of(x) == 1.0);
}

TEST_CASE("nothing overflows: arguments of any size") {
  for (const double a : {-1e300, -1e4, -745.0, -1.0, -1e-300, 0.0, 1e-300, 1.0, 710.0, 1e4, 1e300}) {
    CAPTURE(a);
    const two x = two::variable(a, 0);
    for (const two& f : {plumb::sigmoid(x), plumb::softplus(x), plumb::log_sigmoid(x), plumb::tanh(x),
                         plumb::log_add_exp(x, two::variable(0, 1)), plumb::log_add_exp(x, -x)}) {
      CHECK(std::isfinite(f.value));
      CHECK(std::isfinite(f.slope[0]));
      CHECK(std::isfinite(f.slope[1]));
    }
    if (a <= -1e-300) {
      CHECK(std::isfinite(plumb::log1mexp(x).value));
      CHECK(std::isfinite(plumb::log1mexp(x).slope[0]));
    }
    CHECK(std::isfinite(plumb::log_sigmoid(static_cast<float>(std::clamp(a, -1e30, 1e30)))));
  }
  SECTION("infinities give limits") {
    CHECK(plumb::sigmoid(-inf) == 0);
    CHECK(plumb::sigmoid(inf) == 1);
    CHECK(plumb::softplus(-inf) == 0);
    CHECK(plumb::softplus(inf) == inf);
    CHECK(plumb::log_sigmoid(inf) == 0);
    CHECK(plumb::log_sigmoid(-inf) == -inf);
    CHECK(plumb::log1mexp(-inf) == 0);
    CHECK(plumb::log1mexp(0.0) == -inf);
    CHECK(plumb::log_add_exp(-inf, -inf) == -inf);
    CHECK(plumb::log_add_exp(inf, -inf) == inf);
    CHECK(plumb::log_add_exp(-inf, 1.5) == 1.5);
    CHECK(plumb::log_add_exp(two::variable(-inf, 0), two::variable(-inf, 1)).slope[0] == 0.5);
  }
  SECTION("NaN is never swallowed") {
    for (const double f :
         {plumb::sigmoid(not_a_number), plumb::softplus(not_a_number), plumb::log_sigmoid(not_a_number),
          plumb::log1mexp(not_a_number), plumb::log_add_exp(not_a_number, 0.0), plumb::log_add_exp(0.0, not_a_number),
          plumb::min(not_a_number, 1.0), plumb::min(1.0, not_a_number), plumb::max(not_a_number, 1.0),
          plumb::max(1.0, not_a_number), plumb::relu(not_a_number), plumb::clamp(not_a_number, 0, 1),
          plumb::log1mexp(1.0), plumb::max(two(not_a_number), two(1)).value})
      CHECK(std::isnan(f));
  }
  SECTION("small differences survive") {
    CHECK(plumb::log1mexp(-1e-10) == Approx(std::log(1e-10)).epsilon(1e-10));
    CHECK(plumb::log1mexp(-40.0) == Approx(-std::exp(-40.0)).epsilon(1e-12));
    CHECK(plumb::softplus(-40.0) == Approx(std::exp(-40.0)).epsilon(1e-12));
    CHECK(plumb::softplus(-20.f) == Approx(std::exp(-20.0)).epsilon(1e-6));
  }
}

TEST_CASE("the stable functions equal high-precision values") {
  const auto file = plumb_test::repository() / "tests/golden/objectives.json";
  const auto golden = plumb::json::parse(plumb_test::read_file(file), file.string());
  const auto& functions = golden.as_object().at("functions").as_object();
  const auto apply = [](const std::string& name, const two& a, const two& b) {
    if (name == "sigmoid") return plumb::sigmoid(a);
    if (name == "log_sigmoid") return plumb::log_sigmoid(a);
    if (name == "softplus") return plumb::softplus(a);
    if (name == "log1mexp") return plumb::log1mexp(a);
    if (name == "log_add_exp") return plumb::log_add_exp(a, b);
    throw std::runtime_error("unknown function " + name);
  };
  const auto close = [](double x, double y) { return std::abs(x - y) <= 1e-14 * std::abs(y) + 3e-308; };
  int compared = 0;
  for (const auto& [name, points] : functions) {
    for (const auto& point : points.as_array()) {
      const auto numbers = [&](const char* key) {
        std::vector<double> out;
        for (const auto& v : point.as_object().at(key).as_array()) out.push_back(v.to_number<double>());
        return out;
      };
      const auto x = numbers("x");
      const auto slopes = numbers("slopes");
      const two f = apply(std::string(name), two::variable(x[0], 0), two::variable(x.size() > 1 ? x[1] : 0, 1));
      CAPTURE(std::string(name), x, f.value, f.slope[0], slopes[0]);
      CHECK(close(f.value, point.as_object().at("value").to_number<double>()));
      for (std::size_t i = 0; i < slopes.size(); ++i) CHECK(close(f.slope[i], slopes[i]));
      ++compared;
    }
  }
  CHECK(compared > 100);
}

TEST_CASE("Philox gives Random123's published words") {
  using words = std::array<std::uint32_t, 4>;
  CHECK(plumb::philox4x32({0, 0, 0, 0}, {0, 0}) == words{0x6627e8d5u, 0xe169c58du, 0xbc57ac4cu, 0x9b00dbd8u});
  CHECK(plumb::philox4x32({0xffffffffu, 0xffffffffu, 0xffffffffu, 0xffffffffu}, {0xffffffffu, 0xffffffffu}) ==
        words{0x408f276du, 0x41c83b0eu, 0xa20bc7c6u, 0x6d5451fdu});
  CHECK(plumb::philox4x32({0x243f6a88u, 0x85a308d3u, 0x13198a2eu, 0x03707344u}, {0xa4093822u, 0x299f31d0u}) ==
        words{0xd16cfe09u, 0x94fdccebu, 0x5001e420u, 0x24126ea1u});
  static_assert(plumb::philox4x32({0, 0, 0, 0}, {0, 0})[0] == 0x6627e8d5u, "works while compiling");
}

TEST_CASE("a Philox stream is a function of its index") {
  const plumb::philox_stream stream{.seed = 7, .stream = 3};
  SECTION("in sequence equals by index, in any order") {
    auto running = stream;
    for (std::uint64_t i = 0; i < 10; ++i) CHECK(running.next_uniform() == stream.uniform_at(i));
    CHECK(running.position == 10);
    CHECK(running.next_normal() == stream.normal_at(10));
  }
  SECTION("streams and seeds differ") {
    CHECK(stream.block(0) != plumb::philox_stream{.seed = 7, .stream = 4}.block(0));
    CHECK(stream.block(0) != plumb::philox_stream{.seed = 8, .stream = 3}.block(0));
    CHECK(stream.block(0) != stream.block(std::uint64_t{1} << 32));
  }
  SECTION("the ends of the interval") {
    CHECK(plumb::uniform_float(0) == 0.f);
    CHECK(plumb::uniform_float(0xffffffffu) < 1.f);
    CHECK(plumb::uniform_double(0, 0) == 0.0);
    CHECK(plumb::uniform_double(0xffffffffu, 0xffffffffu) < 1.0);
    CHECK(std::isfinite(plumb::box_muller(0x1.fffffffffffffp-1, 0.0)));
    CHECK(plumb::box_muller(0.0, 0.0) == 0.0);
  }
  SECTION("moments") {
    const int n = 100000;
    double mean = 0, square = 0, fourth = 0, uniform = 0;
    for (int i = 0; i < n; ++i) {
      const double z = stream.normal_at(static_cast<std::uint64_t>(i));
      mean += z / n;
      square += z * z / n;
      fourth += z * z * z * z / n;
      uniform += stream.uniform_at(static_cast<std::uint64_t>(i)) / n;
    }
    CHECK(std::abs(mean) < 0.015);
    CHECK(std::abs(square - 1) < 0.02);
    CHECK(std::abs(fourth - 3) < 0.15);
    CHECK(std::abs(uniform - 0.5) < 0.005);
  }
  SECTION("whole numbers below a bound") {
    auto running = stream;
    int counts[5] = {};
    for (int i = 0; i < 50000; ++i) ++counts[running.next_below(5)];
    for (const int c : counts) CHECK(std::abs(c - 10000) < 400);
    CHECK(running.next_below(1) == 0);
    // 2^64 is no multiple of 3 * 2^62: without drawing again the lowest third would come half of the time.
    int lowest = 0;
    for (int i = 0; i < 9000; ++i) lowest += running.next_below(std::uint64_t{3} << 62) >> 62 == 0 ? 1 : 0;
    CHECK(std::abs(lowest - 3000) < 300);
    CHECK(running.next_below(~std::uint64_t{0}) < ~std::uint64_t{0});
  }
}

TEST_CASE("the nearest known name") {
  const std::string_view known[] = {"beta", "label_smoothing", "rate", "gamma"};
  CHECK(plumb::edit_distance("kitten", "sitting") == 3);
  CHECK(plumb::edit_distance("", "abc") == 3);
  CHECK(plumb::edit_distance("abc", "") == 3);
  CHECK(plumb::edit_distance("lable", "label") == 1);  // a swap is one edit
  CHECK(plumb::edit_distance("Label-Smoothing", "label_smoothing") == 0);
  CHECK(plumb::nearest("lable_smoothing", known) == "label_smoothing");
  CHECK(plumb::nearest("gama", known) == "gamma");
  CHECK(plumb::nearest("x", {}).empty());
  CHECK(plumb::unknown_name("key", "bta", known) ==
        "unknown key 'bta'; did you mean 'beta'? (known: beta, label_smoothing, rate, gamma)");
  CHECK(plumb::unknown_name("key", "bta", {}) == "unknown key 'bta'; there is none");
}

// SPDX-License-Identifier: BSL-1.0
// Rows drawn from files on disk: every row once a pass, proportions, stages, exact positions, hostile files.
#include <plumb/data/mixture_stream.hpp>
#include <plumb/data/read.hpp>
#include <plumb/io/json_lines.hpp>
#include <plumb/train/environment.hpp>

#include <algorithm>
#include <fstream>
#include <set>

#include "catch.hpp"
#include "failures.hpp"
#include "support.hpp"

using namespace plumb;
using Catch::Matchers::Contains;
using plumb_test::message_of;
using plumb_test::write_file;

namespace {

using names = std::vector<std::string>;

/// A file of `count` rows {"n": i}.
std::filesystem::path numbered(const plumb_test::temporary_folder& folder, std::string_view name, index_t count) {
  std::string text;
  for (index_t i = 0; i < count; ++i) text += join("{\"n\": ", i, "}\n");
  write_file(folder / name, text);
  return folder / name;
}

/// The places of the next `count` rows, without their folder.
names draw(row_mixture& rows, index_t count) {
  names out;
  for (index_t i = 0; i < count; ++i) out.push_back(std::filesystem::path(rows.next().place).filename().string());
  return out;
}

index_t from(const names& rows, std::string_view file) {
  return std::count_if(rows.begin(), rows.end(), [&](const std::string& s) { return s.starts_with(file); });
}

}  // namespace

TEST_CASE("rows read by their place are those that a reader of the whole file finds", "[data][stream]") {
  const plumb_test::temporary_folder folder;
  const std::string long_text(700'000, 'x');
  const std::vector<std::string> texts{
      "",
      "{\"a\": 1}",
      "\xEF\xBB\xBF{\"a\": 1}\r\n\r\n \t\n{\"b\": [1, 2]}\n",
      "\n\n  7 \n\"x\"\n",
      "[]",
      " [ ] \n",
      "\n[\n{\"a\": \"], \\\" }\"},\n [1, [2, \"\\\\\"]] ,\n\n 3\n]\n",
      "{\"a\": \"" + long_text + "\"}\n{\"b\": 2}\n{\"c\": \"" + long_text + "\"}",
      "[{\"a\": \"" + long_text + "\"}, \n{\"b\": \"" + long_text + "\"}]",
  };
  for (const std::string& text : texts) {
    CAPTURE(text.substr(0, 80));
    write_file(folder / "rows", text);
    std::vector<std::pair<json::value, std::string>> expected;
    json::for_each_row(folder / "rows",
                       [&](json::value&& v, const std::string& place) { expected.emplace_back(std::move(v), place); });
    row_file file(folder / "rows");
    CHECK(file.rows() == static_cast<index_t>(expected.size()));
    std::vector<row_place> places;
    std::vector<row_place> positions{file.position()};
    while (const auto row = file.next()) {
      places.push_back(*row);
      positions.push_back(file.position());
    }
    REQUIRE(places.size() == expected.size());
    for (std::size_t back = places.size(); back-- > 0;) {
      CHECK(file.read(places[back]) == expected[back].first);
      CHECK(file.name(places[back]) == expected[back].second);
      file.seek(positions[back]);
      CHECK(file.next() == places[back]);
    }
  }
  for (const char* text : {"[1, 2", "[1,", "[1, ", "[", "[1,]", "[1 }", "[1] 2", "[,1]", "[\"a]", "[[1]"}) {
    CAPTURE(text);
    write_file(folder / "rows", text);
    CHECK_THAT(message_of([&] { row_file file(folder / "rows"); }), Contains("rows:1: expected"));
  }
  write_file(folder / "rows", "{\"a\": 1}\n{\"a\": }\n");
  row_file broken(folder / "rows");
  CHECK_NOTHROW(broken.read(*broken.next()));
  CHECK_THAT(message_of([&] { (void)broken.read(*broken.next()); }), Contains("rows:2: expected"));
  CHECK_THAT(message_of([&] { (void)broken.read({5, 1000, 1}); }), Contains("no row of 1000 bytes"));
  CHECK_THAT(message_of([&] { row_file file(folder.path()); }), Contains("expected a regular file"));
}

TEST_CASE("every row comes once a pass, in an order of the seed", "[data][stream]") {
  const plumb_test::temporary_folder folder;
  const auto a = numbered(folder, "a", 50);
  names in_order;
  for (int i = 1; i <= 50; ++i) in_order.push_back(join("a:", i));
  row_mixture plain({{{{a}}}}, {.shuffle_buffer = 1});
  CHECK(plain.rows() == 50);
  CHECK(draw(plain, 50) == in_order);
  CHECK(draw(plain, 50) == in_order);  // the next pass
  for (const index_t buffer : {7, 50, 1000}) {
    CAPTURE(buffer);
    row_mixture rows({{{{a}}}}, {.shuffle_buffer = buffer, .seed = 3}),
        again({{{{a}}}}, {.shuffle_buffer = buffer, .seed = 3}),
        other({{{{a}}}}, {.shuffle_buffer = buffer, .seed = 4});
    const names first = draw(rows, 50), second = draw(rows, 50);
    CHECK(first != in_order);
    CHECK(first != second);
    CHECK(std::set<std::string>(first.begin(), first.end()).size() == 50);
    CHECK(std::set<std::string>(second.begin(), second.end()).size() == 50);
    CHECK(draw(again, 50) == first);
    CHECK(draw(other, 50) != first);
    CHECK(again.fingerprint() == row_mixture({{{{a}}}}, {.shuffle_buffer = buffer, .seed = 3}).fingerprint());
    CHECK(again.fingerprint() != other.fingerprint());
    for (index_t i = 0; i < 50; ++i)  // a row cannot come before it is in the buffer
      CHECK(std::stoi(first[static_cast<std::size_t>(i)].substr(2)) <= i + buffer);
  }
}

TEST_CASE("rates are those of Raffel et al., and shares are kept", "[data][mixture]") {
  const std::vector<index_t> rows{100, 1000, 10000};
  const std::vector<double> none{0, 0, 0};
  const auto near = [](const std::vector<double>& found, const std::vector<double>& expected) {
    REQUIRE(found.size() == expected.size());
    for (std::size_t i = 0; i < found.size(); ++i) CHECK(found[i] == Approx(expected[i]).epsilon(1e-12));
  };
  near(mixing_rates(rows, none, {}), {100. / 11100, 1000. / 11100, 10000. / 11100});
  near(mixing_rates(rows, none, {.mix_cap = 2000}), {100. / 3100, 1000. / 3100, 2000. / 3100});
  // numpy: r = np.minimum([100, 1000, 10000], 2000) ** 0.5; r / r.sum()
  near(mixing_rates(rows, none, {.mix_temperature = 2, .mix_cap = 2000}),
       {0.11581562391721811, 0.36624116021188147, 0.5179432158709004});
  near(mixing_rates(rows, std::vector<double>{0, 0.5, 0}, {}), {0.5 * 100 / 10100, 0.5, 0.5 * 10000 / 10100});
  near(mixing_rates(rows, std::vector<double>{1, 3, 4}, {}), {0.125, 0.375, 0.5});
  CHECK_THAT(message_of([&] { mixing_rates(rows, std::vector<double>{0, 0.5, 0.5}, {}); }), Contains("leave nothing"));
  CHECK_THAT(message_of([&] { mixing_rates(rows, std::vector<double>{1, 1, 1}, {.mix_cap = 5}); }),
             Contains("mix_cap: every source has a share"));
  CHECK_THAT(message_of([&] { mixing_rates(rows, std::vector<double>{-1, 1, 1}, {}); }), Contains("share: expected"));
  CHECK_THAT(message_of([&] { mixing_rates(rows, none, {.mix_temperature = 0.5}); }),
             Contains("mix_temperature: expected"));
}

TEST_CASE("proportions hold at any time, and stages follow one another", "[data][mixture]") {
  const plumb_test::temporary_folder folder;
  const auto a = numbered(folder, "a", 200), b = numbered(folder, "b", 10), c = numbered(folder, "c", 30);
  row_mixture mixed({{{{a}, {b, 0.25}, {c, 0.1}}}}, {.shuffle_buffer = 5, .seed = 1});
  names all;
  for (int i = 1; i <= 1000; ++i) {
    all.push_back(draw(mixed, 1)[0]);
    CHECK(std::abs(static_cast<double>(from(all, "b")) - 0.25 * i) <= 1);
    CHECK(std::abs(static_cast<double>(from(all, "c")) - 0.1 * i) <= 1);
  }
  for (int i = 1; i <= 10; ++i) CHECK(std::count(all.begin(), all.end(), join("b:", i)) == 25);  // as many passes

  row_mixture staged({{{{a}}, 20}, {{{b}, {c}}}, {{{a}}, 5}}, {.mix_cap = 12, .shuffle_buffer = 3});
  CHECK(staged.rows() == 20 + 10 + 12 + 5);
  CHECK(from(draw(staged, 20), "a") == 20);
  const names middle = draw(staged, 22);
  CHECK(from(middle, "b") == 10);
  CHECK(from(middle, "c") == 12);
  CHECK(from(draw(staged, 300), "a") == 300);  // the last stage goes on
}

TEST_CASE("a position continues with the same rows, wherever it was taken", "[data][stream][resume]") {
  const plumb_test::temporary_folder folder;
  const auto a = numbered(folder, "a", 23), b = numbered(folder, "b", 9);
  const std::vector<data_stage> stages{{{{a}, {b, 0.3}}, 31}, {{{b}}}};
  const mixture_options o{.shuffle_buffer = 4, .seed = 8};
  row_mixture whole(stages, o);
  const names expected = draw(whole, 80);
  for (index_t stop = 0; stop < 60; ++stop) {
    CAPTURE(stop);
    row_mixture first(stages, o);
    draw(first, stop);
    const bool back = stop % 3 == 2;
    if (back) first.put_back();
    row_mixture second(stages, o);
    if (stop % 2 == 0) draw(second, 45);  // from another place, in another stage
    second.restore(first.position());
    CHECK(second.drawn() == stop - (back ? 1 : 0));
    CHECK(second.position() == first.position());
    const auto start = expected.begin() + (stop - (back ? 1 : 0));
    CHECK(draw(second, 20) == names(start, start + 20));
  }
  row_mixture rows(stages, o);
  draw(rows, 10);
  const auto good = rows.position();
  for (std::size_t length = 0; length < good.size(); ++length)
    CHECK_THAT(message_of([&] { rows.restore(std::span(good).first(length)); }), Contains("position in the data"));
  for (std::size_t i = 0; i < good.size(); ++i) {
    auto bad = good;
    bad[i] = ~std::uint64_t{0};
    CHECK_THAT(message_of([&] { rows.restore(bad); }), Contains("position in the data"));
  }
  CHECK(rows.position() == good);
  CHECK_THAT(message_of([&] { row_mixture({{{{a}}}}, o).put_back(); }), Contains("just drawn"));
}

TEST_CASE("a stream of examples leaves rows out, but not all of them", "[data][stream]") {
  const plumb_test::temporary_folder folder;
  const auto a = numbered(folder, "a", 20);
  mixture_stream odd({{{{a}}}}, {.shuffle_buffer = 1}, [](const json::value& v, const std::string& place) {
    std::optional<example> e;
    const auto n = json::get<token_id>(json::as_object(v, "a row", place), "n", place);
    if (n % 2 == 1) e = example{.prompt = {n}, .place = place};
    return e;
  });
  CHECK(odd.next().prompt[0] == 1);
  CHECK(odd.next().prompt[0] == 3);
  odd.put_back();
  CHECK(odd.next().prompt[0] == 3);
  CHECK(odd.drawn() == 4);
  mixture_stream none({{{{a}}}}, {}, [](const json::value&, const std::string&) { return std::optional<example>(); });
  CHECK_THAT(message_of([&] { none.next(); }), Contains("none of 20 rows"));
  write_file(folder / "empty", "\n\n");
  CHECK_THAT(message_of([&] { row_mixture({{{{folder / "empty"}}}}, {}); }), Contains("the file has no rows"));
  CHECK_THAT(message_of([&] { row_mixture({{{{a}}}}, {.shuffle_buffer = 0}); }), Contains("shuffle_buffer: expected"));
}

TEST_CASE("a large file is drawn from in little memory", "[data][stream][memory]") {
  const plumb_test::temporary_folder folder;
  const std::string words(1000, 'w');
  {
    std::ofstream out(folder / "large", std::ios::binary);
    for (int i = 0; i < 100'000; ++i) out << "{\"text\": \"" << words << "\", \"n\": " << i << "}\n";  // 100 MB
  }
  [[maybe_unused]] const auto before = current_memory_bytes();
  row_mixture rows({{{{folder / "large"}}}}, {.shuffle_buffer = 10'000});
  CHECK(rows.rows() == 100'000);
  for (int i = 0; i < 2000; ++i) rows.next();
#if !defined(__SANITIZE_ADDRESS__)  // the sanitizer keeps what was given back, to find its use
  CHECK(current_memory_bytes() - before < (4 << 20));
  CHECK(peak_memory_bytes() - before < (16 << 20));
#endif
}

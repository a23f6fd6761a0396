// SPDX-License-Identifier: BSL-1.0
// Logs, charts, reports and model cards: what they say, and that no text from outside can become markup.
#include <plumb/train/metrics_log.hpp>
#include <plumb/train/model_card.hpp>
#include <plumb/train/report.hpp>

#include <algorithm>
#include <cmath>
#include <limits>
#include <string>
#include <string_view>
#include <vector>

#include "catch.hpp"
#include "support.hpp"

using namespace plumb;

namespace {

constexpr double nan_value = std::numeric_limits<double>::quiet_NaN();
constexpr double infinite = std::numeric_limits<double>::infinity();

std::size_t count(std::string_view text, std::string_view part) {
  std::size_t found = 0;
  for (std::size_t at = text.find(part); at != std::string_view::npos; at = text.find(part, at + part.size())) ++found;
  return found;
}
bool has(std::string_view text, std::string_view part) { return text.find(part) != std::string_view::npos; }

/// Checks what XML asks of markup: every element is closed in order, every attribute is quoted, no stray '<' or '&'.
/// Returns what is wrong, or an empty text. HTML's void elements and raw text (style, script) are known to it.
std::string markup_fault(std::string_view text) {
  std::vector<std::string> open;
  for (std::size_t at = 0; at < text.size();) {
    if (text[at] == '&') {
      const std::size_t end = text.find(';', at);
      if (end == std::string_view::npos || end - at > 6) return "stray & at " + std::string(text.substr(at, 20));
      at = end + 1;
    } else if (text[at] != '<') {
      ++at;
    } else if (text.substr(at).starts_with("<!doctype")) {
      at = text.find('>', at) + 1;
    } else {
      const bool closing = text[at + 1] == '/';
      std::size_t end = at + 1 + (closing ? 1 : 0);
      const std::size_t name_begin = end;
      while (end < text.size() && (std::isalnum(static_cast<unsigned char>(text[end])) != 0)) ++end;
      const std::string name(text.substr(name_begin, end - name_begin));
      if (name.empty()) return "stray < at " + std::string(text.substr(at, 20));
      bool quoted = false;
      while (end < text.size() && (quoted || text[end] != '>')) {
        if (text[end] == '"') quoted = !quoted;
        if (text[end] == '<') return "< inside the tag " + name;
        ++end;
      }
      if (end >= text.size()) return "open tag " + name;
      const bool empty = text[end - 1] == '/' || name == "meta";
      at = end + 1;
      if (closing) {
        if (open.empty() || open.back() != name)
          return "</" + name + "> closes " + (open.empty() ? "nothing" : open.back());
        open.pop_back();
      } else if (!empty) {
        open.push_back(name);
        if (name == "style" || name == "script") at = text.find("</" + name, at);
      }
    }
  }
  return open.empty() ? "" : "never closed: " + open.back();
}

line_chart chart_of(std::vector<chart_point> points, chart_scale scale = chart_scale::linear) {
  line_chart chart{.title = "t", .scale = scale};
  chart.series.push_back({.name = "s", .points = std::move(points)});
  return chart;
}

std::vector<log_entry> small_log() {
  std::vector<log_entry> log;
  for (index_t step = 1; step <= 40; ++step) {
    log_entry entry{step, static_cast<double>(step) / 20, {}};
    entry.set("loss", 0.7 / static_cast<double>(step));
    entry.set("grad_norm", step % 2 == 0 ? 0.01 : 10.0);
    entry.set("learning_rate", 1e-5);
    entry.set("num_tokens", 100.0 * static_cast<double>(step));
    entry.set("rewards/chosen", 0.1);
    entry.set("rewards/rejected", -0.1);
    entry.set("rewards/margins", 0.2);
    entry.set("rewards/accuracies", 0.75);
    if (step % 10 == 0) entry.set("eval_loss", step == 20 ? 0.5 : 0.6);
    log.push_back(entry);
  }
  return log;
}

}  // namespace

TEST_CASE("a log entry keeps the order of its values", "[report][log]") {
  log_entry entry{3, 0.25, {}};
  entry.set("zeta", 1);
  entry.set("alpha", 2);
  entry.set("zeta", 3);
  REQUIRE(entry.values.size() == 2);
  CHECK(entry.values[0].first == "zeta");
  CHECK(entry.find("zeta") == 3.0);
  CHECK_FALSE(entry.find("beta"));
}

TEST_CASE("log.jsonl is written line by line and read back exactly", "[report][log]") {
  const plumb_test::temporary_folder folder;
  const auto path = folder / "log.jsonl";
  log_entry entry{
      1, 0.125, {{"loss", 0.1}, {"num_tokens", 4096}, {"rewards/chosen", -1e-300}, {"odd \"name\"\n", 2.5}}};
  log_entry broken{2, 0.25, {{"loss", nan_value}, {"grad_norm", infinite}, {"zero", -0.0}}};
  {
    jsonl_log log(path);
    log.append(entry);
    CHECK(count(plumb_test::read_file(path), "\n") == 1);  // on disk before append returns
    log.append(broken);
  }
  const std::string text = plumb_test::read_file(path);
  CHECK(text.starts_with("{\"step\": 1, \"epoch\": 0.125, \"loss\": 0.1, \"num_tokens\": 4096, "));
  CHECK(has(text, "\"loss\": null, \"grad_norm\": null"));

  const auto read = read_log(path);
  REQUIRE(read.size() == 2);
  CHECK(read[0].step == 1);
  CHECK(read[0].epoch == 0.125);
  CHECK(read[0].values == entry.values);
  CHECK(std::isnan(*read[1].find("loss")));
  CHECK(std::isnan(*read[1].find("grad_norm")));
  CHECK(std::signbit(*read[1].find("zero")));

  jsonl_log(path).append({3, 0.5, {}});  // an existing log grows
  CHECK(read_log(path).size() == 3);
}

TEST_CASE("a log refuses what it could not read back", "[report][log]") {
  CHECK_THROWS_AS(to_json_line({1, 0, {{"loss", 1}, {"loss", 2}}}), error);
  CHECK_THROWS_AS(to_json_line({1, 0, {{"step", 1}}}), error);
  CHECK_THROWS_AS(to_json_line({1, 0, {{"epoch", 1}}}), error);
  const plumb_test::temporary_folder folder;
  CHECK_THROWS_AS(jsonl_log(folder / "no/such/log.jsonl"), error);
  CHECK_THROWS_AS(read_log(folder / "absent.jsonl"), error);
  const auto path = folder / "log.jsonl";
  for (const char* bad :
       {"{\"step\": 1}\nnonsense\n{\"step\": 2}\n", "{\"step\": 1}\n[2]\n", "{\"step\": 1}\n{\"loss\": 2}\n",
        "{\"step\": 1}\n{\"step\": 1.5}\n", "{\"step\": 1}\n{\"step\": 2, \"loss\": \"low\"}\n"}) {
    plumb_test::write_file(path, bad);
    INFO(bad);
    try {
      read_log(path);
      FAIL("no error");
    } catch (const error& problem) {
      CHECK(problem.code() == errc::bad_file);
      CHECK(problem.place().ends_with("log.jsonl:2"));
    }
  }
}

TEST_CASE("a log survives being killed in the middle of a line", "[report][log]") {
  const plumb_test::temporary_folder folder;
  const auto path = folder / "log.jsonl";
  const std::string line = to_json_line({2, 0.5, {{"loss", 0.25}}});
  for (std::size_t cut = 0; cut <= line.size(); ++cut) {
    plumb_test::write_file(path, "{\"step\": 1, \"epoch\": 0}\n" + line.substr(0, cut));
    const std::size_t whole = cut == line.size() ? 2 : 1;
    CHECK(read_log(path).size() == whole);
    jsonl_log(path).append({3, 1, {}});
    const auto read = read_log(path);
    REQUIRE(read.size() == whole + 1);
    CHECK(read.back().step == 3);
  }
}

TEST_CASE("a log is cut after the step of a checkpoint", "[report][log]") {
  const plumb_test::temporary_folder folder;
  const auto path = folder / "log.jsonl";
  CHECK(truncate_log(path, 5) == 0);
  CHECK_FALSE(std::filesystem::exists(path));
  {
    jsonl_log log(path);
    for (index_t step = 1; step <= 6; ++step) log.append({step, 0, {{"loss", 1.0 / static_cast<double>(step)}}});
    log.append({4, 0, {{"eval_loss", 1}}});
  }
  const std::string before = plumb_test::read_file(path);
  CHECK(truncate_log(path, 6) == 0);
  CHECK(plumb_test::read_file(path) == before);
  CHECK(truncate_log(path, 4) == 2);
  const auto read = read_log(path);
  REQUIRE(read.size() == 5);
  CHECK(*read[2].find("loss") == 1.0 / 3);
  CHECK(read[4].find("eval_loss"));
  CHECK(truncate_log(path, 0) == 5);
  CHECK(plumb_test::read_file(path).empty());
  CHECK(std::distance(std::filesystem::directory_iterator(folder.path()), {}) == 1);  // no temporary file stays
}

TEST_CASE("numbers are written for people", "[report][text]") {
  CHECK(human_number(0) == "0");
  CHECK(human_number(-0.0) == "0");
  CHECK(human_number(0.693147) == "0.6931");
  CHECK(human_number(-12.5) == "−12.5");
  CHECK(human_number(1234567) == "1,234,567");
  CHECK(human_number(12345.678) == "12,346");
  CHECK(human_number(2.5e-5) == "2.5×10⁻⁵");
  CHECK(human_number(-6.02214e23, 3) == "−6.02×10²³");
  CHECK(human_number(5e-324, 1) == "5×10⁻³²⁴");
  CHECK(human_number(1.7976931348623157e308) == "1.798×10³⁰⁸");
  CHECK(human_number(9.9999e-5, 3) == "1×10⁻⁴");
  CHECK(human_number(nan_value) == "NaN");
  CHECK(human_number(-infinite) == "−∞");
  CHECK(human_bytes(0) == "0 B");
  CHECK(human_bytes(1023) == "1023 B");
  CHECK(human_bytes(1536) == "1.5 KiB");
  CHECK(human_bytes(25e9) == "23.3 GiB");
  CHECK(human_duration(0.424) == "0.42 s");
  CHECK(human_duration(59.6) == "1 min 0 s");
  CHECK(human_duration(7384) == "2 h 3 min");
  CHECK(human_duration(90000) == "1 d 1 h");
  CHECK(human_duration(-1) == "unknown");
  CHECK(human_duration(nan_value) == "unknown");
}

TEST_CASE("text is harmless in HTML", "[report][text]") {
  CHECK(escape_html("<a href=\"x\" onclick='y'>&amp;") == "&lt;a href=&quot;x&quot; onclick=&#39;y&#39;&gt;&amp;amp;");
  CHECK(escape_html("tab\tline\nend") == "tab\tline\nend");
  CHECK(escape_html(std::string_view("\0\x1b\x7f", 3)) == "␀␛␡");
  CHECK(escape_html("Grüße 你好 🙂") == "Grüße 你好 🙂");
  CHECK(escape_html("\xff\xc0\xaf") == "\uFFFD\uFFFD\uFFFD");
  CHECK(escape_html("ab\u202Ecd\u2066") == "ab\uFFFDcd\uFFFD");
  CHECK(first_invalid_utf8(escape_html("\xf0\x9f\x99<\xe2\x82")) == escape_html("\xf0\x9f\x99<\xe2\x82").size());
  CHECK(has(escape_html("\xf0\x9f\x99<"), "&lt;"));  // a broken character does not swallow its neighbour
}

TEST_CASE("axes contain their data and have round ticks", "[report][chart]") {
  const double huge = std::numeric_limits<double>::max(), tiny = std::numeric_limits<double>::denorm_min();
  const std::vector<std::pair<double, double>> ranges = {
      {0, 1},           {-1, 1},          {0.6931, 0.6932}, {5, 5},    {0, 0},       {-3, -3},
      {1e-9, 2e-9},     {1, 1 + 1e-15},   {-huge, huge},    {0, huge}, {huge, huge}, {0, tiny},
      {tiny, 2 * tiny}, {-1e-300, 1e300}, {12345, 67890},   {1, 1e9},  {tiny, huge}, {3e-320, 4e-310}};
  for (const auto& [low, high] : ranges)
    for (const chart_scale scale : {chart_scale::linear, chart_scale::logarithmic}) {
      const chart_axis axis = make_axis(low, high, scale);
      INFO(low << " … " << high << (scale == chart_scale::linear ? " linear" : " logarithmic"));
      CHECK(axis.low <= low);
      CHECK(axis.high >= high);
      CHECK(axis.low < axis.high);
      CHECK(std::isfinite(axis.low));
      CHECK(std::isfinite(axis.high));
      CHECK(axis.ticks.size() >= 2);
      CHECK(axis.ticks.size() <= 12);
      for (std::size_t i = 0; i < axis.ticks.size(); ++i) {
        const double place = axis.place(axis.ticks[i].value);
        CHECK(place >= -1e-9);
        CHECK(place <= 1 + 1e-9);
        if (i > 0) CHECK(axis.ticks[i].label != axis.ticks[i - 1].label);
      }
    }
  const chart_axis axis = make_axis(0, 1);
  REQUIRE(axis.ticks.size() == 6);
  CHECK(axis.ticks[1].label == "0.2");
  CHECK(make_axis(0, 60000).ticks[1].label == "20k");
  const chart_axis small = make_axis(0, 1e-5);
  CHECK(small.factor == "×10⁻⁵");
  CHECK(small.ticks.back().label == "1.0");
  const chart_axis decades = make_axis(1e-6, 1, chart_scale::logarithmic);
  CHECK(decades.scale == chart_scale::logarithmic);
  CHECK(decades.ticks.front().label == "10⁻⁶");
  CHECK(decades.place(1e-3) == Approx(0.5));
  CHECK(make_axis(-1, 1, chart_scale::logarithmic).scale == chart_scale::linear);
}

TEST_CASE("a long series is thinned without losing spikes or gaps", "[report][chart]") {
  std::vector<chart_point> points;
  for (int i = 0; i < 100000; ++i) points.push_back({static_cast<double>(i), std::sin(i * 1e-3)});
  points[54321].y = 99;
  points[65432].y = -99;
  points[70000].y = nan_value;
  const auto thin = detail::thin_out(points);
  CHECK(thin.size() <= 600);
  CHECK(thin.size() > 300);
  CHECK(std::count_if(thin.begin(), thin.end(), [](auto p) { return p.x == 54321 && p.y == 99; }) == 1);
  CHECK(std::count_if(thin.begin(), thin.end(), [](auto p) { return p.x == 65432 && p.y == -99; }) == 1);
  CHECK(std::count_if(thin.begin(), thin.end(), [](auto p) { return std::isnan(p.y); }) == 1);
  CHECK(std::is_sorted(thin.begin(), thin.end(), [](auto a, auto b) { return a.x < b.x; }));
}

TEST_CASE("smoothing is a weighted mean", "[report][chart]") {
  std::vector<chart_point> line, flat, noisy;
  for (int i = 0; i < 200; ++i) {
    line.push_back({static_cast<double>(i), 3.0 * i});
    flat.push_back({static_cast<double>(i), 5.0});
    noisy.push_back({static_cast<double>(i), i % 2 == 0 ? 1.0 : -1.0});
  }
  flat[100].y = nan_value;
  CHECK(detail::smooth(line, 0.02)[100].y == Approx(300));  // centred: no lag
  const auto smooth_flat = detail::smooth(flat, 0.02);
  CHECK(std::isnan(smooth_flat[100].y));
  CHECK(smooth_flat[99].y == Approx(5));
  CHECK(std::abs(detail::smooth(noisy, 0.02)[100].y) < 0.01);
  CHECK(detail::smooth(noisy, 0)[100].y == 1);
  const std::vector<chart_point> huge(50, {1, 1.7e308});
  CHECK(detail::smooth(huge, 0.1)[25].y == Approx(1.7e308));
  const std::vector<chart_point> spike = {{0, 1}, {1, 1}, {2, 1e9}, {3, 1}, {4, 0}};
  const auto geometric = detail::smooth(spike, 0.2, chart_scale::logarithmic);
  CHECK(geometric[0].y < detail::smooth(spike, 0.2)[0].y / 1000);
  CHECK_FALSE(std::isfinite(geometric[4].y));
}

TEST_CASE("charts draw every kind of series", "[report][chart]") {
  const std::vector<std::vector<chart_point>> kinds = {{},
                                                       {{1, 2}},
                                                       {{1, nan_value}},
                                                       {{1, 1}, {2, nan_value}, {3, infinite}, {4, 2}},
                                                       {{1, 1}, {1, 1}},
                                                       {{nan_value, 1}, {2, 2}},
                                                       {{1, -1.7e308}, {2, 1.7e308}},
                                                       {{0, 5e-324}, {1, 0}},
                                                       {{-1e300, 1}, {1e300, 2}},
                                                       {{1, -5}, {2, 0}, {3, 10}, {4, 1000}}};
  for (const auto& points : kinds)
    for (const chart_scale scale : {chart_scale::linear, chart_scale::logarithmic}) {
      line_chart chart = chart_of(points, scale);
      chart.smoothing = 0.05;
      chart.mark = 1;
      chart.mark_label = "mark";
      const std::string svg = render_svg(chart, "x");
      INFO(svg);
      CHECK(markup_fault(svg) == "");
      const std::size_t end_of_desc = svg.find("</desc>");
      const std::string drawn = svg.substr(end_of_desc);
      CHECK_FALSE(has(drawn, "nan"));
      CHECK_FALSE(has(drawn, "inf"));
    }
  CHECK(has(render_svg(chart_of({}), "x"), ">no values<"));
  CHECK(has(render_svg(chart_of({{1, nan_value}}), "x"), ">no finite values<"));
  const std::string single = render_svg(chart_of({{1, 2}}), "x");
  CHECK(count(single, "<circle") == 1);
  const std::string gap = render_svg(chart_of({{1, 1}, {2, 1}, {3, nan_value}, {4, 1}, {5, 1}}), "x");
  CHECK(has(gap, "1 value is not finite"));
  CHECK(has(gap, "l8 8m0-8l-8 8"));  // the cross that marks it
  CHECK_FALSE(has(single, "l8 8m0-8l-8 8"));
  CHECK(has(single, "s: 2 at step 1"));
}

TEST_CASE("many series wrap their legend, hostile names stay text", "[report][chart]") {
  line_chart chart{.title = "</title><script>alert(1)</script>"};
  for (int i = 0; i < 12; ++i)
    chart.series.push_back(
        {.name = "\"><img src=x onerror=alert(1)>" + std::to_string(i), .points = {{0, 0}, {1, double(i)}}});
  const std::string svg = render_svg(chart, "\"><b>");
  CHECK(markup_fault(svg) == "");
  CHECK_FALSE(has(svg, "<script"));
  CHECK_FALSE(has(svg, "<img"));
  CHECK_FALSE(has(svg, "<b>"));
  CHECK(markup_fault("<svg><b></svg>") != "");  // the checker itself sees faults
  CHECK(markup_fault("<svg>a < b</svg>") != "");
  CHECK(markup_fault("<svg>a & b</svg>") != "");
}

TEST_CASE("a chart that is a file of its own brings what lies behind it", "[report][chart]") {
  line_chart chart = chart_of({{1, 2}});
  CHECK_FALSE(has(render_svg(chart, "x"), "background"));
  chart.background = "#fff";
  CHECK(has(render_svg(chart, "x"), " style=\"background:#fff;font:"));
  chart.background = "\"><b>";
  CHECK_FALSE(has(render_svg(chart, "x"), "<b>"));
}

TEST_CASE("metrics find their charts", "[report]") {
  auto log = small_log();
  log.back().set("custom/a", 1);
  log.back().set("custom/b", 2);
  log.back().set("speed", 2);
  const auto curves = group_curves(log);
  std::vector<std::string> titles;
  for (const auto& curve : curves) titles.push_back(curve.chart.title);
  CHECK(titles == std::vector<std::string>{"Loss", "Accuracy", "Reward margin", "Rewards", "Gradient norm",
                                           "Learning rate", "custom", "speed"});
  CHECK(curves[0].chart.series.size() == 2);
  CHECK(curves[0].chart.series[1].dashed);
  CHECK(curves[0].chart.series[1].points.size() == 4);
  CHECK(curves[3].chart.series[0].colour != curves[3].chart.series[1].colour);
  CHECK(curves[4].chart.scale == chart_scale::logarithmic);
  CHECK(curves[0].chart.scale == chart_scale::linear);
  CHECK(curves[6].chart.series.size() == 2);
  CHECK(group_curves({}).empty());

  const std::vector<log_entry> mixed = {{2, 0, {{"a", 20}}}, {1, 0, {{"a", 10}}}, {2, 0, {{"a", 21}}}, {3, 0, {}}};
  const auto points = points_of(mixed, "a");  // a log out of order still gives a line from left to right
  REQUIRE(points.size() == 3);
  CHECK(points[0].y == 10);
  CHECK(points[1].y == 20);
  CHECK(points[2].y == 21);
}

TEST_CASE("a report holds everything in one file that loads nothing", "[report]") {
  report r{.title = "A run", .subtitle = "small", .log = small_log()};
  r.warnings = {"careful"};
  r.tables = {{"Results", {"model", "score", "note"}, {{"a", "0.5", "x"}, {"b", "−1"}}}};
  for (int i = 0; i < 10; ++i) r.samples.push_back({"ask " + std::to_string(i), "old", "new", 0.25, 0.75});
  r.configuration = {{"rate", "1e-4"}, {"lora", R"({"rank":16,"targets":["q","k"],"empty":{}})"}};
  r.machine = describe_environment("reference", 3);
  r.seconds = 100;
  r.tokens = 5000;
  r.started = utc_time(0);
  const plumb_test::temporary_folder folder;
  write_report(folder / "report.html", r);
  const std::string html = plumb_test::read_file(folder / "report.html");
  CHECK(markup_fault(html) == "");
  CHECK(count(html, "<svg class=\"plumb-chart\"") == 6);
  CHECK(has(html, "1970-01-01 00:00:00 UTC"));
  CHECK(has(html, "50 tokens per second"));
  CHECK(has(html, "best 0.5 at step 20"));  // the evaluation loss was lower once
  CHECK(has(html, "Show 2 more"));
  CHECK(has(html, "&quot;targets&quot;: [&quot;q&quot;, &quot;k&quot;]"));
  CHECK(has(html, "<td class=\"number\">0.5</td>"));
  CHECK(has(html, "<td>x</td>"));
  CHECK(has(html, "reference"));
  CHECK(has(html, "default-src 'none'"));
  for (const char* outside : {" src=", "url(", "@import", "<link", "<iframe", "fetch(", "innerHTML"}) {
    INFO(outside);
    CHECK_FALSE(has(html, outside));
  }
  for (std::size_t at = html.find("http"); at != std::string::npos; at = html.find("http", at + 1))
    CHECK((html.substr(at).starts_with("http-equiv") || html.substr(at).starts_with("http://www.w3.org/2000/svg")));
  CHECK_THROWS_AS(write_report(folder / "absent/report.html", r), error);
}

TEST_CASE("an empty report is still a page", "[report]") {
  const std::string html = render_report({});
  CHECK(markup_fault(html) == "");
  CHECK_FALSE(has(html, "<nav"));
  CHECK_FALSE(has(html, "<section"));
  CHECK(has(html, "<h1>Training report</h1>"));
}

TEST_CASE("no text of a report becomes markup", "[report]") {
  const std::string evil = "</pre></script></style>--><img src=x onerror=alert(1)>\"'&\xff<svg onload=alert(1)>";
  report r{.title = evil, .subtitle = evil};
  r.highlights = {{evil, evil, evil}};
  r.warnings = {evil};
  r.tables = {{evil, {evil}, {{evil, evil}}}};
  r.log = {{1, nan_value, {{evil, 1}, {"eval_" + evil, infinite}}}};
  r.samples = {{evil, evil, evil, 1, nan_value}};
  r.before_label = r.after_label = r.score_name = r.started = r.finished = evil;
  r.configuration = {{evil, "{" + evil + "}"}, {evil, "[\"" + evil + "\", [1, [\"" + evil}};
  r.machine.processor = r.machine.compiler = r.machine.backend = evil;
  const std::string html = render_report(r);
  CHECK(markup_fault(html) == "");
  CHECK_FALSE(has(html, "<img"));
  CHECK_FALSE(has(html, "<svg onload"));
  CHECK(count(html, "<script") == 1);
  CHECK(first_invalid_utf8(html) == html.size());
}

TEST_CASE("JSON is laid out without changing it", "[report]") {
  const auto without_blanks = [](std::string text) {
    std::erase_if(text, [](char c) { return c == ' ' || c == '\n'; });
    return text;
  };
  CHECK(detail::indent_json(R"({"a":1,"b":[1,2],"c":{"d":"x, {y}"},"e":{},"f":[]})") ==
        "{\n  \"a\": 1,\n  \"b\": [1, 2],\n  \"c\": {\n    \"d\": \"x, {y}\"\n  },\n  \"e\": {},\n  \"f\": []\n}");
  for (const std::string text : {R"([[1,2],[3]])", R"({"a":"\"}{")", "[[[", "]]}}", R"({"open)", R"({"a\)"})
    CHECK(without_blanks(detail::indent_json(text)) == without_blanks(text));
}

TEST_CASE("the environment is described", "[report]") {
  const environment here = describe_environment("cpu", 2);
  CHECK(here.backend == "cpu");
  CHECK(here.threads == 2);
  CHECK_FALSE(here.compiler.empty());
  CHECK(here.standard == "C++20");
  CHECK(here.plumb_version == version);
  CHECK(here.cores >= 1);
  if (std::filesystem::exists("/proc/self/status")) {
    CHECK(here.memory > 1e6);
    const index_t before = peak_memory_bytes();
    CHECK(current_memory_bytes() > 1000000);
    CHECK(before >= current_memory_bytes() / 2);
    const std::vector<char> block(std::size_t{64} << 20, 'x');
    CHECK(block[block.size() / 2] == 'x');
    CHECK(peak_memory_bytes() >= before);
    CHECK(current_memory_bytes() > (std::int64_t{64} << 20));
  }
  CHECK(detail::value_of_line("a: 1\nmodel name\t: Ryzen 7 \nb=2", "model name") == "Ryzen 7");
  CHECK(detail::value_of_line("PRETTY_NAME=\"Debian\"", "PRETTY_NAME") == "Debian");
  CHECK(detail::value_of_line("VmHWM2: 1\n", "VmHWM").empty());
  CHECK(detail::kilobytes_of_line("VmHWM:\t  1234 kB\n", "VmHWM") == 1234 * 1024);
  CHECK(utc_time(951827696) == "2000-02-29 12:34:56 UTC");
  CHECK(utc_time(-1) == "1969-12-31 23:59:59 UTC");
  CHECK(utc_time(4107542400) == "2100-03-01 00:00:00 UTC");
  CHECK(utc_time(253402300799) == "9999-12-31 23:59:59 UTC");
  CHECK(utc_time().size() == std::string("2026-01-31 17:05:09 UTC").size());
}

TEST_CASE("a model card has front matter that YAML reads as meant", "[report][card]") {
  model_card card{.name = "tiny|*card*", .base_model = "owner/base-1.0", .method = "dpo", .license = "apache-2.0"};
  card.languages = {"en", "no"};
  card.tags = {"dpo", "safety: first"};
  card.datasets = {"owner/pairs"};
  card.hyper_parameters = {{"rate", "1e-5"}, {"targets", "q_proj|v_proj"}, {"evil", "<script>\nx"}};
  card.metrics = {{"eval_loss", 0.5123456}, {"broken", nan_value}};
  card.citation = "@article{x,\n  title={```}\n}";
  const plumb_test::temporary_folder folder;
  write_model_card(folder / "README.md", card);
  const std::string text = plumb_test::read_file(folder / "README.md");
  CHECK(text.starts_with(
      "---\nbase_model: owner/base-1.0\nlibrary_name: peft\npipeline_tag: text-generation\n"
      "license: apache-2.0\nlanguage:\n- en\n- \"no\"\ndatasets:\n- owner/pairs\ntags:\n- plumb\n- dpo\n"
      "- lora\n- \"safety: first\"\n---\n\n# tiny\\|\\*card\\*\n"));
  CHECK(has(text, "base = \"owner/base-1.0\""));
  CHECK(has(text, "| targets | q\\_proj\\|v\\_proj |"));
  CHECK(has(text, "| evil | &lt;script\\> x |"));
  CHECK(has(text, "| eval\\_loss | 0.5123 |"));
  CHECK(has(text, "````bibtex\n"));
  CHECK(has(text, "PeftModel.from_pretrained"));

  for (const char* local :
       {"/home/me/secret/base", "/home/me/secret/base/", "./secret/base", "../secret/base", "a/secret/base"}) {
    const std::string other = render_model_card({.base_model = local, .method = "sft"});
    INFO(local);
    CHECK_FALSE(has(other, "secret"));
    CHECK_FALSE(has(other, "base_model"));
    CHECK(has(other, "# base-sft\n"));
  }
  const std::string full = render_model_card({.base_model = "owner/base", .adapter = false});
  CHECK(has(full, "library_name: transformers"));
  CHECK_FALSE(has(full, "lora"));
  CHECK_FALSE(has(full, "peft"));
  CHECK(render_model_card({}).starts_with("---\nlibrary_name: peft\n"));

  CHECK(detail::yaml_scalar("plain-text_1.0/x") == "plain-text_1.0/x");
  for (const char* misread :
       {"", "yes", "NO", "null", "1.5", "2024-01-01", "- a", "a: b", "#c", "~", "x\ny", "\"", "'", "a b"})
    CHECK(detail::yaml_scalar(misread).front() == '"');
  CHECK(detail::yaml_scalar("a\"\\\n\x01") == "\"a\\\"\\\\\\n\\x01\"");
}

// SPDX-License-Identifier: BSL-1.0
// Chat templates against what transformers renders (tests/golden/make_templates.py, and whole templates of published
// models where the shared data are there), their errors, and hostile templates, which must end soon.
#include <plumb/io/file.hpp>
#include <plumb/io/json.hpp>
#include <plumb/text/template.hpp>

#include <ctime>
#include <string>

#include "catch.hpp"
#include "support.hpp"

using namespace plumb;
using Catch::Matchers::Contains;

namespace {

std::string text(const json::value& v) { return json::as<std::string>(v, "text", "test"); }
std::string text(const json::object& o, std::string_view key) { return json::get<std::string>(o, key, "test"); }

std::string rendered(std::string_view source, std::string_view variables = "{}", const template_options& o = {}) {
  return text_template(source, "t").render(json::parse(variables).as_object(), o).text;
}
/// The message with which a template fails.
std::string failure(std::string_view source, std::string_view variables = "{}", const template_options& o = {}) {
  try {
    return "no error: " + rendered(source, variables, o);
  } catch (const error& e) {
    return e.what();
  }
}
/// The character at which a byte of a text lies, as Python counts.
std::size_t character_of(std::string_view all, std::size_t byte) {
  std::size_t n = 0;
  for (const char c : all.substr(0, byte)) n += (static_cast<unsigned char>(c) & 0xC0u) != 0x80u ? 1 : 0;
  return n;
}

}  // namespace

TEST_CASE("templates render as transformers renders them", "[template]") {
  const json::value file = json::parse_file(plumb_test::repository() / "tests/golden/templates.json");
  const auto& top = file.as_object();
  const auto& templates = top.at("templates").as_object();
  const auto& contexts = top.at("variables").as_object();
  int count = 0;
  for (const json::value& each : top.at("cases").as_array()) {
    const auto& c = each.as_object();
    const std::string name = text(c, "name"), source = text(c, "template");
    CAPTURE(name);
    const json::value* const family = json::find(templates, source);
    const std::string whole = family != nullptr ? text(*family) : source;
    const auto& variables = contexts.at(text(c, "variables")).as_object();
    ++count;
    if (json::find(c, "error") != nullptr) {
      CAPTURE(text(c, "error"));
      CHECK_THROWS_AS(text_template(whole, name).render(variables), error);
      continue;
    }
    rendered_chat out;
    REQUIRE_NOTHROW(out = text_template(whole, name).render(variables));
    CHECK(out.text == text(c, "output"));
    if (const json::value* const spans = json::find(c, "spans")) {
      REQUIRE(out.assistant.size() == spans->as_array().size());
      for (std::size_t i = 0; i < out.assistant.size(); ++i) {
        const auto range = json::as<std::vector<std::size_t>>(spans->as_array()[i], "span", "test");
        CHECK(character_of(out.text, out.assistant[i].begin) == range[0]);
        CHECK(character_of(out.text, out.assistant[i].end) == range[1]);
      }
    }
  }
  CHECK(count > 500);
}

TEST_CASE("templates of published models render byte for byte", "[template]") {
  const auto folder = plumb_test::shared_data("chat_templates");
  if (!folder) SKIP("no ../shared/data beside the repository");
  const json::value cases = json::parse_file(*folder / "expected_renders.json");
  for (const json::value& each : cases.as_array()) {
    const auto& c = each.as_object();
    const std::string name = text(c, "template"), context = text(c, "context");
    CAPTURE(name, context);
    const json::value variables = json::parse_file(*folder / (context + ".json"));
    const text_template t(read_file(*folder / name), name);
    CHECK(t.render(variables.as_object(), {.today = "26 Jul 2024"}).text == text(c, "output"));
  }
}

TEST_CASE("errors name the template's line and say what was expected", "[template]") {
  CHECK(failure("a\nb {{ x y }}") == "t:2: expected }}, found \"y\"");
  CHECK_THAT(failure("\n\n{% if x %}"), Contains("t:3: {% if %} is never closed; close it with {% endif %}"));
  CHECK_THAT(failure("a\n{% for x in y %}\n{% endif %}"), Contains("t:3: the tag {% endif %} is unknown here"));
  CHECK_THAT(failure("\n{{ 'a"), Contains("t:2: a string that begins with ' is never closed"));
  CHECK_THAT(failure("{% raw %}\n\n"), Contains("t:1: {% raw %} is never closed"));
  CHECK_THAT(failure("a\n{{ messages[0].content.x.y }}", R"({"messages": [{"content": "c"}]})"),
             Contains("t:2: the value.content.x is undefined"));
  CHECK(failure("\n{{ raise_exception('no ' ~ 'system') }}") == "t:2: no system");
  CHECK_THAT(failure("{{ a.b.c }}", R"({"a": {}})"), Contains("\"a\".b is undefined"));
  CHECK_THAT(failure("{{ 'a' + 1 }}"), Contains("\"~\" joins anything as text"));
  CHECK_THAT(failure("{% set l = [] %}{{ l.append(1) }}"), Contains("values cannot be changed in a template"));
  CHECK_THAT(failure("{{ x | shout }}"), Contains("there is no filter \"shout\""));
  CHECK_THAT(failure("{% include 'x' %}"), Contains("the tag {% include %} is unknown here"));
  CHECK_THAT(failure("{{ ns.x }}{% set ns.x = 1 %}", R"({"ns": {}})"), Contains("is no namespace"));
  CHECK_THAT(failure("{{ 9223372036854775807 + 1 }}"), Contains("does not fit 64 bits"));
  CHECK_THAT(failure("\xff"), Contains("not UTF-8"));
  try {
    (void)text_template("{{", "f.jinja");
  } catch (const error& e) {
    CHECK(e.code() == errc::bad_file);
    CHECK(e.place() == "f.jinja:1");
  }
}

TEST_CASE("a clock for templates", "[template]") {
  const template_options then{.seconds = 1'721'996'123};  // 26 July 2024, 12:15:23
  CHECK(rendered("{{ strftime_now('%d %b %Y') }}", "{}", then) == "26 Jul 2024");
  CHECK(rendered("{{ strftime_now('%Y-%m-%d %H:%M:%S %A %B %j %-m %e %p %I %y %a %%') }}", "{}", then) ==
        "2024-07-26 12:15:23 Friday July 208 7 26 PM 12 24 Fri %");
  CHECK(rendered("{{ strftime_now('%Y') }}", "{}", {.today = "long ago"}) == "long ago");
  CHECK(rendered("{{ strftime_now('%Y') | int > 2023 }}") == "True");
}

TEST_CASE("hostile templates end soon with an error", "[template]") {
  const std::clock_t start = std::clock();  // processor time: machines may be busy
  std::string deep_list = "{{ ", deep_not = "{{ ", many_ifs, plus = "{{ 1", filters = "{{ 'a'", dots = "{{ a",
              elifs = "{% if a %}";
  for (int i = 0; i < 100'000; ++i) {
    deep_list += "[";
    deep_not += "not ";
    many_ifs += "{% if a %}";
    plus += " + 1";
    filters += " | upper";
    dots += ".a";
    elifs += "{% elif a %}";
  }
  for (const std::string& nested :
       {deep_list, deep_not, many_ifs, plus, filters, dots, elifs, deep_list + "}}", plus + "}}", filters + "}}",
        dots + "}}", "{{ " + std::string(100'000, '(') + "}}", "{{ " + std::string(100'000, '-') + "1 }}"})
    CHECK_THAT(failure(nested), !Contains("no error"));
  for (const std::string_view hostile :
       {"{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}",
        "{% for a in range(99999) %}{% for b in range(99999) %}xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx{% endfor %}{% endfor "
        "%}",
        "{% set ns = namespace(s='ab') %}{% for i in range(99) %}{% set ns.s = ns.s ~ ns.s %}{% endfor %}{{ ns.s }}",
        "{% set ns = namespace(s='ab') %}{% for i in range(99) %}{% set ns.s = ns.s.replace('a', ns.s) %}{% endfor %}",
        "{% set ns = namespace(s='') %}{% for i in range(99999) %}{% set ns.s = ns.s ~ 'aaaaaaaaaaaaaaaaaaaaaaaa' %}{% "
        "endfor %}",
        "{{ 'a' * 9999999999 }}",
        "{{ [1] * 9999999999 }}",
        "{{ 'a'.center(9999999999) }}",
        "{{ '%999999999d' % 1 }}",
        "{{ 'a' | indent(9999999999, true) }}",
        "{{ [1] | tojson(indent=99999999) }}",
        "{{ [1] | batch(99999999, 'x') }}",
        "{{ range(9999999999) }}",
        "{{ 9 ** 99999999999 }}",
        "{{ 2 ** 99 }}",
        "{{ (-9223372036854775807 - 1) // -1 }}",
        "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}",
        "{% macro f(x) %}{{ g(x) }}{% endmacro %}{% macro g(x) %}{{ f(x) }}{% endmacro %}{{ f(1) }}",
        "{% macro f() %}{% call f() %}{% endcall %}{% endmacro %}{{ f() }}",
        "{% set ns = namespace(l=[]) %}{% for i in range(9999) %}{% set ns.l = [ns.l] %}{% endfor %}{{ ns.l }}",
        "{% set ns = namespace(l=[1]) %}{% for i in range(99) %}{% set ns.l = [ns.l, ns.l] %}{% endfor %}{{ ns.l }}",
        "{% set ns = namespace(l=[1]) %}{% for i in range(99) %}{% set ns.l = [ns.l, ns.l] %}{% endfor %}{{ ns.l | "
        "tojson }}",
        "{% set a = namespace(l=[1]) %}{% set b = namespace(l=[1]) %}{% for i in range(99) %}{% set a.l = [a.l, a.l] %}"
        "{% set b.l = [b.l, b.l] %}{% endfor %}{{ a.l == b.l }}",
        "{% set a = namespace(l=[1]) %}{% for i in range(99) %}{% set a.l = a.l + a.l %}{% endfor %}",
        "{% set a = namespace(l=[1]) %}{% for i in range(99) %}{% set a.l = (a.l | list) * 2 %}{% endfor %}",
        "{% set l = range(99999) | list %}{{ l | unique | list | length }}",
        "{% set l = range(99999) | list %}{% for x in l %}{{ x in l }}{% endfor %}",
        "{% set s = 'aaaaaaaaaaaaaaaa' * 900000 %}{% for i in range(99999) %}{{ 'b' in s }}{% endfor %}",
        "{% set s = 'aaaaaaaaaaaaaaaa' * 900000 %}{% for i in range(99999) %}{{ s.find('b') }}{{ s | length }}{% "
        "endfor %}",
        "{% set s = 'aaaaaaaaaaaaaaaa' * 900000 %}{% for i in range(99999) %}{{ s == s ~ '' }}{% endfor %}"}) {
    CAPTURE(hostile);
    CHECK_THAT(failure(hostile, "{}", {.limits = {.steps = 500'000, .bytes = std::size_t{1} << 25}}),
               !Contains("no error"));
  }
  CHECK_THAT(failure("{% for a in range(99999) %}{% for b in range(9) %}{% endfor %}{% endfor %}", "{}",
                     {.limits = {.steps = 1'000'000}}),
             Contains("too many steps"));
  // A namespace may hold itself; nothing follows it round.
  CHECK(rendered("{% set n = namespace() %}{% set n.me = n %}{% set n.list = [n] %}{{ n.me.me.list[0] == n }}") ==
        "True");
  CHECK(static_cast<double>(std::clock() - start) / CLOCKS_PER_SEC < 60);
}

TEST_CASE("one template renders on several values and keeps nothing", "[template]") {
  const text_template t(
      "{% set n = namespace(c=0) %}{% for m in messages %}{% set n.c = n.c + 1 %}{% endfor %}{{ n.c }}");
  const auto two = json::parse(R"({"messages": [1, 2]})"), none = json::parse(R"({"messages": []})");
  CHECK(t.render(two.as_object()).text == "2");
  CHECK(t.render(none.as_object()).text == "0");
  CHECK(t.render(two.as_object()).text == "2");
  CHECK_FALSE(t.has_generation());
  CHECK(text_template("{% generation %}{% endgeneration %}").has_generation());
}

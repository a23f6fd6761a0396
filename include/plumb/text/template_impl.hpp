// SPDX-License-Identifier: BSL-1.0
// The body of text_template, with those of its lexer, parser and evaluator. Compiled once per program: see plumb/impl.hpp.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <plumb/text/template.hpp>
#include <plumb/text/template_calls_impl.hpp>
#include <plumb/text/template_filters_impl.hpp>
#include <plumb/text/template_list_filters_impl.hpp>
#include <plumb/text/template_parser_impl.hpp>
#include <plumb/text/template_values_impl.hpp>

namespace plumb::inline v0 {

text_template::text_template(std::string_view source, std::string_view place) {
  const std::string where(place);
  if (first_invalid_utf8(source) != source.size())
    throw error(errc::bad_file, where, "the template is not UTF-8; save it as UTF-8");
  syntax_ = std::make_shared<const detail::jinja::syntax>(detail::jinja::parse_template(source, where));
}

rendered_chat text_template::render(const json::object& variables, const template_options& options) const {
  std::vector<std::pair<std::string, detail::jinja::value>> names;
  names.reserve(variables.size());
  for (const auto& member : variables)
    names.emplace_back(std::string(member.key().data(), member.key().size()), detail::jinja::from_json(member.value()));
  return detail::jinja::evaluator(*syntax_, options).run(std::move(names));
}

bool text_template::has_generation() const noexcept { return syntax_->has_generation; }

}  // namespace plumb::inline v0

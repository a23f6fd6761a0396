// SPDX-License-Identifier: BSL-1.0
// Rotary positions in config.json: part of the bodies of models/config_file.hpp. Collected by plumb/impl.hpp.
#pragma once

#include <string>
#include <string_view>
#include <utility>

#include <plumb/core/error.hpp>
#include <plumb/io/json.hpp>
#include <plumb/models/config.hpp>

namespace plumb::inline v0 {

namespace detail {

/// One description of rotary positions: {"rope_type", "rope_theta", "factor", …}.
/// `original`: the first training's positions unless it says them itself.
void read_one_rope(const json::object& o, model_config& out, double& theta, index_t original,
                   const std::string& place) {
  using kind = rope_scaling::kind;
  theta = json::get_or<double>(o, "rope_theta", theta, place);
  const auto type = json::get_or<std::string>(
      o, "rope_type", json::get_or<std::string>(o, "type", std::string("default"), place), place);
  if (type == "default") return;
  rope_scaling& s = out.rope_scaling;
  for (const kind k : {kind::linear, kind::llama3, kind::yarn, kind::dynamic, kind::longrope})
    if (type == name(k)) s.how = k;
  if (out.family == "phi3" && (type == "su" || type == "yarn")) s.how = kind::longrope;  // its first names
  if (s.how == kind::none || (out.family == "phi3" && s.how != kind::longrope))
    throw error(errc::unsupported, place,
                join("rotary positions of type \"", type, "\": plumb reads ",
                     out.family == "phi3" ? "default and longrope of Phi-3"
                                          : "default, linear, dynamic, llama3, yarn and longrope"));
  s.positions = s.how == kind::dynamic ? out.max_positions
                                       : json::get_or<index_t>(o, "original_max_position_embeddings", original, place);
  const auto ratio = static_cast<double>(out.max_positions) / static_cast<double>(std::max<index_t>(1, s.positions));
  s.factor = s.how == kind::yarn || s.how == kind::longrope ? json::get_or<double>(o, "factor", ratio, place)
                                                            : json::get<double>(o, "factor", place);
  if (s.how == kind::llama3) {
    s.low_frequency = json::get<double>(o, "low_freq_factor", place);
    s.high_frequency = json::get<double>(o, "high_freq_factor", place);
  }
  if (s.how == kind::longrope) {
    s.short_factors = json::get<std::vector<double>>(o, "short_factor", place);
    s.long_factors = json::get<std::vector<double>>(o, "long_factor", place);
    s.magnitude = json::get_or<double>(o, "attention_factor", 0.0, place);
  }
  if (s.how == kind::yarn) {
    s.fast_turns = json::get_or<double>(o, "beta_fast", 32.0, place);
    s.slow_turns = json::get_or<double>(o, "beta_slow", 1.0, place);
    s.whole_ends = json::get_or<bool>(o, "truncate", true, place);
    const auto grown = [&](double by) { return s.factor > 1 ? 0.1 * by * std::log(s.factor) + 1 : 1; };
    const double one = json::get_or<double>(o, "mscale", 0.0, place);
    const double all = json::get_or<double>(o, "mscale_all_dim", 0.0, place);
    s.magnitude =
        json::get_or<double>(o, "attention_factor", one != 0 && all != 0 ? grown(one) / grown(all) : grown(1), place);
  }
}

/// "partial_rotary_factor": the share of each head that turns, rounded down. Only some families know it.
void read_rotary_share(const json::object& o, const char* key, model_config& out, const std::string& place) {
  const json::value* v = json::find(o, key);
  if (!v || v->is_null()) return;
  const auto share = json::as<double>(*v, key, place);
  const index_t head = out.heads > 0 ? out.hidden_size / out.heads : 0;
  if (!(share > 0 && share <= 1))
    throw error(errc::bad_model, place, join("\"", key, "\": expected above 0 and at most 1, found ", share));
  const bool known =
      out.family == "phi3" || out.family == "phi" || out.family == "gpt_neox" || out.family == "stablelm";
  if (!known && share != 1)
    throw error(errc::unsupported, place, join("\"", key, "\" is ", share, "; in this family plumb turns whole heads"));
  out.rotary_width = share == 1 ? 0 : static_cast<index_t>(static_cast<double>(head) * share);
  if (share != 1 && out.rotary_width < 2)
    throw error(errc::bad_model, place,
                join("\"", key, "\" is ", share, ": nothing of a head of ", head, " numbers would turn"));
}

/// Rotary positions: at the top, in "rope_scaling", or in newer files in "rope_parameters", there even by kind of layer.
void read_rope(const json::object& c, model_config& out, const std::string& place) {
  out.rope_theta = json::get_or<double>(c, "rope_theta", out.rope_theta, place);
  out.local_rope_theta = json::get_or<double>(c, "rope_local_base_freq", out.local_rope_theta, place);
  if (out.family == "phi" || out.family == "gpt_neox" || out.family == "stablelm")  // what a file without the key means
    out.rotary_width = out.hidden_size / std::max<index_t>(1, out.heads) / (out.family == "phi" ? 2 : 4);
  for (const char* key : {"rotary_pct", "partial_rotary_factor"}) read_rotary_share(c, key, out, place);
  const auto original = json::get_or<index_t>(c, "original_max_position_embeddings", out.max_positions, place);
  for (const char* key : {"rope_scaling", "rope_parameters"}) {
    const json::value* v = json::find(c, key);
    if (!v || v->is_null()) continue;
    const auto& o = json::as_object(*v, key, place);
    read_rotary_share(o, "partial_rotary_factor", out, place);
    if (const json::value* far = json::find(o, "full_attention")) {
      read_one_rope(json::as_object(*far, "full_attention", place), out, out.rope_theta, original, place);
      if (const json::value* near = json::find(o, "sliding_attention"))
        out.local_rope_theta = json::get_or<double>(json::as_object(*near, "sliding_attention", place), "rope_theta",
                                                    out.local_rope_theta, place);
    } else {
      read_one_rope(o, out, out.rope_theta, original, place);
    }
  }
}

void write_rope(const model_config& c, json::object& o) {
  using kind = rope_scaling::kind;
  const rope_scaling& s = c.rope_scaling;
  o["rope_theta"] = c.rope_theta;
  if (c.local_rope_theta > 0) o["rope_local_base_freq"] = c.local_rope_theta;
  if (c.rotary_width > 0) {  // a share that gives the same width when it is rounded down
    const auto width = static_cast<double>(c.rotary_width), head = static_cast<double>(c.head_width);
    const double share = width / head * head < width ? std::nextafter(width / head, 1.0) : width / head;
    o[c.family == "gpt_neox" ? "rotary_pct" : "partial_rotary_factor"] = share;
  } else if (c.family == "gpt_neox" || c.family == "phi" || c.family == "stablelm") {
    o[c.family == "gpt_neox" ? "rotary_pct" : "partial_rotary_factor"] = 1.0;
  }
  if (c.family == "gpt_neox") o["rotary_emb_base"] = c.rope_theta;
  if (s.how == kind::none) return;
  json::object r;
  if (s.how == kind::longrope) {  // the three keys that every version of transformers takes, and what they do not say
    r["type"] = name(s.how);
    r["short_factor"] = json::array(s.short_factors.begin(), s.short_factors.end());
    r["long_factor"] = json::array(s.long_factors.begin(), s.long_factors.end());
    const double ratio = static_cast<double>(c.max_positions) / static_cast<double>(s.positions);
    if (s.factor != ratio) r["factor"] = s.factor;
    if (s.magnitude > 0) r["attention_factor"] = s.magnitude;
    o["original_max_position_embeddings"] = s.positions;
    o["rope_scaling"] = std::move(r);
    return;
  }
  r["rope_type"] = name(s.how);
  r["factor"] = s.factor;
  if (s.how != kind::linear && s.how != kind::dynamic) r["original_max_position_embeddings"] = s.positions;
  if (s.how == kind::llama3) r["low_freq_factor"] = s.low_frequency, r["high_freq_factor"] = s.high_frequency;
  if (s.how == kind::yarn) {
    r["beta_fast"] = s.fast_turns, r["beta_slow"] = s.slow_turns, r["truncate"] = s.whole_ends;
    if (s.magnitude > 0) r["attention_factor"] = s.magnitude;
  }
  o["rope_scaling"] = std::move(r);
}

}  // namespace detail

}  // namespace plumb::inline v0

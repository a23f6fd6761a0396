// SPDX-License-Identifier: BSL-1.0
// The numbers that fix a decoder, whatever file they came from.
#pragma once

#include <algorithm>
#include <cmath>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <plumb/backend/plan.hpp>
#include <plumb/core/error.hpp>
#include <plumb/models/expert_config.hpp>
#include <plumb/models/rope_scaling.hpp>

namespace plumb::inline v0 {

/// Where a block normalises: what goes into attention and feed-forward part, what comes out of them, or both.
enum class norm_place { before, after, both };
/// What of queries and keys is normalised before they are turned: each head, all together (by their root mean square), or
/// each head by mean and deviation, with weights of its own.
enum class query_norm { none, each_head, all_heads, own_heads };

/// The numbers that fix a decoder, or an encoder. A family is a set of such traits; see models/config_file.hpp for which has which.
struct model_config {
  std::string family = "llama";   ///< "model_type" on the hub
  index_t hidden_size = 0;        ///< width of the residual stream
  index_t intermediate_size = 0;  ///< width inside the feed-forward part
  index_t layers = 0;
  index_t heads = 0;
  index_t kv_heads = 0;  ///< divides heads
  index_t head_width = 0;
  index_t vocabulary = 0;
  index_t max_positions = 2048;  ///< longest sequence the model was trained for
  double norm_epsilon = 1e-5;
  norm_place norms = norm_place::before;
  double norm_offset = 0;  ///< norms multiply by offset + weight (Gemma: 1)
  bool norm_bias = false;  ///< layer norms add one (in Llama's kin)
  double rope_theta = 10000;
  double local_rope_theta = 0;  ///< of layers with a window; 0: as the others, and scaled like them
  plumb::rope_scaling rope_scaling{};
  std::vector<index_t> windows{};  ///< [layers] keys that a token of the layer sees, itself included; 0, or empty: all
  std::vector<bool> unturned{};    ///< [layers] layers whose queries and keys have no position; empty: none
  index_t rotary_width = 0;        ///< numbers of each head that turn; 0: all
  bool parallel = false;           ///< attention and feed-forward part read the block's input, and both are added to it
  bool one_norm = false;           ///< with `parallel`: both read it through the same norm
  bool tied_head = false;          ///< the head's weight is the embedding
  bool head_bias = false;
  bool attention_bias = false;  ///< of queries, keys and values
  bool output_bias = false;     ///< of attention's output
  query_norm query_norms = query_norm::none;
  double query_scale = 0;      ///< attention's scores are multiplied by 1/√query_scale; 0: head_width
  double alibi = 0;            ///< attention falls with distance, see attention_options; 0: there are other positions
  double attention_cap = 0;    ///< attention's scores become cap tanh(score / cap); 0: they stay
  double logit_cap = 0;        ///< likewise the head's logits
  double logit_factor = 1;     ///< the head's logits are multiplied by it (Cohere)
  double residual_factor = 1;  ///< what attention and feed-forward part add is multiplied by it (Granite)
  activation gate = activation::silu;
  double embedding_factor = 1;  ///< multiplies the embedding's rows (Gemma: √hidden_size)
  bool mlp_bias = false;
  index_t token_types = 0;  ///< kinds of text that an encoder tells apart
  bool pooled = false;      ///< an encoder has a map behind the first token's state
  double query_clip = 0;    ///< queries, keys and values beyond ± this come to rest there (OLMoE); 0: they stay
  expert_config experts{};  ///< of layers with several feed-forward parts
  std::optional<token_id> bos;
  std::vector<token_id> eos;      ///< any of them ends a reply
  std::string dtype = "float32";  ///< as stored

  friend bool operator==(const model_config&, const model_config&) = default;

  /// The longest path to prepare for unless more is asked: the model's limit, of longrope's the one up to which it is the
  /// model of short texts.
  [[nodiscard]] index_t usual_positions() const noexcept {
    return rope_scaling.how == rope_scaling::kind::longrope ? std::min(rope_scaling.positions, max_positions)
                                                            : max_positions;
  }
  /// Has each position a row of weights, rather than an angle?
  [[nodiscard]] bool learns_positions() const noexcept { return family == "gpt2" || family == "opt" || encodes(); }
  /// Is it an encoder, whose tokens see their whole text, and which has no next token?
  [[nodiscard]] bool encodes() const noexcept { return family == "bert" || family == "roberta"; }
  [[nodiscard]] bool turns_positions() const noexcept { return !learns_positions() && alibi == 0; }
  /// The row of position 0 among them.
  [[nodiscard]] index_t first_place() const noexcept { return family == "opt" || family == "roberta" ? 2 : 0; }
  /// Numbers of each head that turn.
  [[nodiscard]] index_t turned_width() const noexcept { return rotary_width > 0 ? rotary_width : head_width; }
  [[nodiscard]] rotary_layout rotary_pairs() const noexcept {
    return family.starts_with("cohere") || family == "gptj" ? rotary_layout::interleaved : rotary_layout::half;
  }
  /// Do queries and keys of this layer turn with their position?
  [[nodiscard]] bool turns(index_t layer) const noexcept {
    return turns_positions() && (unturned.empty() || !unturned[static_cast<std::size_t>(layer)]);
  }
  /// Keys that a token of this layer sees; 0: all.
  [[nodiscard]] index_t window(index_t layer) const noexcept {
    return windows.empty() ? 0 : windows[static_cast<std::size_t>(layer)];
  }

  /// Throws errc::bad_model, naming `place`, when the numbers do not make a model.
  void check(const std::string& place) const {
    const auto fail = [&](std::string_view key, index_t found, std::string_view expected) {
      throw error(errc::bad_model, place, join("\"", key, "\": expected ", expected, ", found ", found));
    };
    constexpr index_t most = index_t{1} << 31;
    const auto size = [&](std::string_view key, index_t value) {
      if (value < 1 || value >= most) fail(key, value, "a size from 1 to 2147483647");
    };
    size("hidden_size", hidden_size);
    size("intermediate_size", intermediate_size);
    size("num_attention_heads", heads);
    size("num_key_value_heads", kv_heads);
    size("head_dim", head_width);
    size("vocab_size", vocabulary);
    size("max_position_embeddings", max_positions);
    if (layers < 0 || layers > 10000) fail("num_hidden_layers", layers, "at most 10000");
    if (heads % kv_heads != 0)
      fail("num_key_value_heads", kv_heads, join("a divisor of num_attention_heads (", heads, ")"));
    if (head_width % 2 != 0 && turns_positions())
      fail("head_dim", head_width, "an even number: rotary positions turn pairs");
    if (heads > most / head_width) fail("head_dim", head_width, "a smaller number");
    if (encodes()) size("type_vocab_size", token_types);
    for (const std::string_view whole : {"gpt2", "gptj", "gpt_neox", "opt", "falcon", "phi", "mpt", "bert", "roberta"})
      if (family == whole && heads * head_width != hidden_size)
        fail("hidden_size", hidden_size, join("a multiple of the number of heads (", heads, ")"));
    if (rotary_width < 0 || rotary_width > head_width || rotary_width % 2 != 0)
      fail("rotary_dim", rotary_width, join("an even number up to the head's width (", head_width, ")"));
    experts.check(place);
    if (one_norm && !parallel)
      throw error(errc::bad_model, place, "one norm for two parts: expected them side by side");
    if (!(norm_epsilon > 0 && norm_epsilon < 1))
      throw error(errc::bad_model, place, "\"rms_norm_eps\": expected a number between 0 and 1");
    if (!(rope_theta > 1 && rope_theta < 1e30))
      throw error(errc::bad_model, place, "\"rope_theta\": expected a number above 1");
    const plumb::rope_scaling& s = rope_scaling;
    if (!(s.factor >= 1 && s.factor < 1e6))
      throw error(errc::bad_model, place, join("rotary \"factor\": expected at least 1, found ", s.factor));
    const bool stretched = s.how != rope_scaling::kind::none && s.how != rope_scaling::kind::linear;
    if (stretched && (s.positions < 1 || s.positions >= most))
      fail("original_max_position_embeddings", s.positions, "a size from 1 to 2147483647");
    if (s.how == rope_scaling::kind::llama3 && !(s.low_frequency > 0 && s.high_frequency > s.low_frequency))
      throw error(errc::bad_model, place, "\"low_freq_factor\": expected above 0 and below \"high_freq_factor\"");
    if (s.how == rope_scaling::kind::yarn && !(s.slow_turns > 0 && s.fast_turns > s.slow_turns))
      throw error(errc::bad_model, place, "\"beta_slow\": expected above 0 and below \"beta_fast\"");
    if (!(s.magnitude >= 0 && s.magnitude < 1e30))
      throw error(errc::bad_model, place, join("\"attention_factor\": expected a number from 0, found ", s.magnitude));
    if (!windows.empty() && static_cast<index_t>(windows.size()) != layers)
      fail("layer_types", static_cast<index_t>(windows.size()), join("one for each of the ", layers, " layers"));
    if (!unturned.empty() && static_cast<index_t>(unturned.size()) != layers)
      fail("no_rope_layers", static_cast<index_t>(unturned.size()), join("one for each of the ", layers, " layers"));
    for (const index_t w : windows)
      if (w < 0) fail("sliding_window", w, "at least 1");
    const auto number = [&](std::string_view key, double value, double least) {
      if (!(value >= least && value < 1e30))
        throw error(errc::bad_model, place, join("\"", key, "\": expected a number from ", least, ", found ", value));
    };
    if (local_rope_theta != 0) number("rope_local_base_freq", local_rope_theta, 1.0000001);
    number("query_pre_attn_scalar", query_scale, 0);
    number("attn_logit_softcapping", attention_cap, 0);
    number("clip_qkv", query_clip, 0);
    if (!(alibi >= 0 && alibi <= 64))
      throw error(errc::bad_model, place, join("\"alibi_bias_max\": expected a number up to 64, found ", alibi));
    number("final_logit_softcapping", logit_cap, 0);
    if (!(std::abs(logit_factor) > 0 && std::abs(logit_factor) < 1e30))
      throw error(errc::bad_model, place,
                  join("\"logit_scale\": expected a number other than 0, found ", logit_factor));
    for (const auto& [key, factor] :
         {std::pair("residual_multiplier", residual_factor), std::pair("embedding_multiplier", embedding_factor)})
      if (!(factor > 0 && factor < 1e30))
        throw error(errc::bad_model, place, join("\"", key, "\": expected a number above 0, found ", factor));
    if (s.how == rope_scaling::kind::longrope) {
      if (s.positions < 2) fail("original_max_position_embeddings", s.positions, "at least 2 for longrope");
      for (const auto& [key, list] :
           {std::pair("short_factor", &s.short_factors), std::pair("long_factor", &s.long_factors)}) {
        if (static_cast<index_t>(list->size()) != turned_width() / 2)
          fail(key, static_cast<index_t>(list->size()),
               join(turned_width() / 2, " numbers, one for each pair that turns"));
        for (const double x : *list)
          if (!(x > 0 && x < 1e30))
            throw error(errc::bad_model, place, join("\"", key, "\": expected numbers above 0, found ", x));
      }
    }
    if (s.how == rope_scaling::kind::dynamic && turned_width() < 4)
      fail("rotary_dim", turned_width(), "at least 4 for dynamic scaling");
  }
};

/// What files call the map behind an encoder's first state.
inline std::string pooler_name(const model_config& c) {
  return c.family == "roberta" ? "classifier.dense" : c.family + ".pooler.dense";
}
/// What files call the head that says one number, as transformers' …ForSequenceClassification does.
inline std::string score_module(const model_config& c) {
  return c.family == "roberta" ? "classifier.out_proj" : c.encodes() ? "classifier" : "score";
}

}  // namespace plumb::inline v0

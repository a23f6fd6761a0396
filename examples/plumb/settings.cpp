// SPDX-License-Identifier: BSL-1.0
// Settings from text: every key once, with its place in the library's options.
#include "settings.hpp"

#include <plumb/core/nearest.hpp>
#include <plumb/optim/schedule.hpp>
#include <plumb/version.hpp>

#include <algorithm>

namespace program {

namespace {

/// Calls about(key, member) for every setting that is not the objective's own. "targets" stands for the LoRA options' two ways to say it.
template <class Settings, class About>
void for_each_setting(Settings& s, About&& about) {
  about("rate", s.fit.rate);
  about("epochs", s.fit.epochs);
  about("steps", s.fit.steps);
  about("batch", s.fit.batch);
  about("accumulate", s.fit.accumulate);
  about("batch_tokens", s.fit.batch_tokens);
  about("warmup", s.fit.warmup);
  about("schedule", s.fit.schedule);
  about("weight_decay", s.fit.weight_decay);
  about("clip_norm", s.fit.clip_norm);
  about("neftune", s.fit.neftune);
  about("recompute_blocks", s.fit.recompute_blocks);
  about("router_loss", s.fit.router_loss);
  about("reference_sync", s.fit.reference_sync);
  about("reference_share", s.fit.reference_share);
  about("max_tokens", s.fit.max_tokens);
  about("rank", s.lora.rank);
  about("alpha", s.lora.alpha);
  about("dropout", s.lora.dropout);
  about("targets", s.lora);
  about("rank_stabilised", s.lora.rank_stabilised);
  about("dora", s.lora.dora);
  about("init", s.lora.init);
  about("pissa_iterations", s.lora.pissa_iterations);
  about("biases", s.lora.biases);
  about("modules_to_save", s.lora.modules_to_save);
  about("trainable_tokens", s.lora.trainable_tokens);
  about("lora_plus_ratio", s.fit.lora_plus_ratio);
  about("virtual_tokens", s.prompt.count);
  about("prefix", s.prompt.prefix);
  about("seed", s.fit.seed);
  about("eval_data", s.eval_data);
  about("eval_every", s.fit.eval_every);
  about("save_every", s.fit.save_every);
  about("log_every", s.fit.log_every);
  about("density_ratio", s.density_ratio);
  about("step_separator", s.steps.separator);
  about("train_on_last_step_only", s.steps.last_step_only);
  about("template", s.chat);
  about("tokens", s.learn);
  about("stream", s.stream);
  about("shuffle_buffer", s.mix.shuffle_buffer);
  about("mix_temperature", s.mix.mix_temperature);
  about("mix_cap", s.mix.mix_cap);
  about("stage_rows", s.stage_rows);
}

[[noreturn]] void wrong(const std::string& key, std::string_view expected, const std::string& text) {
  throw error(errc::bad_argument, key, join("expected ", expected, ", found \"", text, "\""));
}

void set(const std::string& key, const std::string& text, double& out) {
  if (!read_number(text, out)) wrong(key, "a finite number", text);
}
void set(const std::string& key, const std::string& text, index_t& out) {
  double whole = 0;  // 1e3 is a count, too
  if (read_number(text, out)) return;
  if (!read_number(text, whole) || whole != static_cast<double>(static_cast<index_t>(std::clamp(whole, -1e15, 1e15))))
    wrong(key, "a whole number", text);
  out = static_cast<index_t>(whole);
}
void set(const std::string& key, const std::string& text, std::uint64_t& out) {
  if (!read_number(text, out)) wrong(key, "a whole number from 0", text);
}
void set(const std::string&, const std::string& text, schedule::kind& out) { out = schedule_from_name(text); }
void set(const std::string&, const std::string& text, std::string& out) { out = text; }
void set(const std::string& key, const std::string& text, bool& out) {
  if (text != "true" && text != "false") wrong(key, "true or false", text);
  out = text == "true";
}
constexpr std::string_view learnt_names[] = {"usual", "completion", "assistant", "all"};
void set(const std::string& key, const std::string& text, learnt_part& out) {
  const auto* const found = std::find(std::begin(learnt_names), std::end(learnt_names), text);
  if (found == std::end(learnt_names)) wrong(key, "completion, assistant, all or usual", text);
  out = static_cast<learnt_part>(found - std::begin(learnt_names));
}
/// Settings of a new adapter alone.
bool is_of_lora(std::string_view key) {
  constexpr std::string_view keys[] = {
      "rank",   "alpha",           "dropout",         "targets", "rank_stabilised", "dora", "init", "pissa_iterations",
      "biases", "modules_to_save", "trainable_tokens"};
  return std::find(std::begin(keys), std::end(keys), key) != std::end(keys);
}
/// Settings of virtual tokens.
bool is_of_prompt(std::string_view key) { return key == "virtual_tokens" || key == "prefix"; }
/// Settings of rows with labelled steps alone.
bool is_of_steps(std::string_view key) { return key == "step_separator" || key == "train_on_last_step_only"; }
/// Settings of rows that are drawn from disk alone.
bool is_of_streams(std::string_view key) {
  return key == "stream" || key == "shuffle_buffer" || key == "mix_temperature" || key == "mix_cap" ||
         key == "stage_rows";
}
void set(const std::string& key, const std::string& text, lora_init& out) {
  index_t iterations = 0;
  out = lora_init_from_name(text, iterations, key);
  if (iterations > 0) wrong(key, join("init=pissa with pissa_iterations=", iterations, " beside it"), text);
}
void set(const std::string& key, const std::string& text, trained_biases& out) {
  out = trained_biases_from_name(text, key);
}
/// "a, b" as a list without blanks. Throws, saying what is `expected`, for an empty item.
std::vector<std::string> list_of(const std::string& key, const std::string& text, std::string_view expected) {
  std::vector<std::string> out;
  for (const std::string_view part : parts_between_commas(text)) {
    out.emplace_back(part);
    std::erase(out.back(), ' ');
    if (out.back().empty()) wrong(key, expected, text);
  }
  return out;
}
void set(const std::string& key, const std::string& text, std::vector<std::string>& out) {
  out = list_of(key, text, "names of modules with commas between (embed_tokens,lm_head)");
}
void set(const std::string& key, const std::string& text, std::vector<token_id>& out) {
  constexpr std::string_view expected = "token ids with commas between (32000,32001)";
  out.clear();
  for (const std::string& item : list_of(key, text, expected)) {
    index_t id = 0;
    if (!read_number(item, id) || id < 0 || id > 0x7fffffff) wrong(key, expected, text);
    out.push_back(static_cast<token_id>(id));
  }
}
/// "q_proj,v_proj", "all-linear", or a regular expression when it holds a character that only those have.
void set(const std::string& key, const std::string& text, lora_options& out) {
  out.targets.clear();
  out.pattern.clear();
  if (text.find_first_of("*+?[](){}|^$\\") != std::string::npos) {
    out.pattern = text;
    return;
  }
  out.targets = list_of(
      key, text, "names of linear maps with commas between (q_proj,v_proj), all-linear, or a regular expression");
}

json::value show(const auto& number) { return number; }
json::value show(const schedule::kind& kind) { return json::string(name(kind)); }
json::value show(learnt_part part) { return json::string(learnt_names[static_cast<std::size_t>(part)]); }
json::value show(lora_init how) { return json::string(name(how)); }
json::value show(trained_biases which) { return json::string(name(which)); }
template <class Item>
json::value show(const std::vector<Item>& items) {
  std::string all;
  for (const auto& item : items) all += join(all.empty() ? "" : ",", item);
  return all.empty() ? json::value(nullptr) : json::value(all);
}
json::value show(const std::string& text) { return text.empty() ? json::value(nullptr) : json::value(text); }
json::value show(const lora_options& o) {
  if (!o.pattern.empty()) return json::value(o.pattern);
  return show(o.targets);
}

/// A value of --config as --set would write it.
std::string as_text(const json::value& v, const std::string& key, const std::string& place) {
  if (const auto* const text = v.if_string()) return {text->data(), text->size()};
  if (v.is_number() || v.is_bool()) return json::dump(v);
  if (const auto* const list = v.if_array()) {
    std::string all;
    for (const json::value& item : *list)
      if (!item.is_array()) all += join(all.empty() ? "" : ",", as_text(item, key, place));
    return all;
  }
  throw error(errc::bad_file, place,
              join("\"", key, "\": expected a number, a text or a list of them, found ", json::describe(v)));
}

/// 2.0 where a whole number is meant is how JSON writers put some numbers.
std::string trimmed_number(std::string text) {
  if (text.ends_with(".0")) text.resize(text.size() - 2);
  return text;
}

struct named_text {
  std::string key, text, place;
};

void read_config(const std::string& path, run_settings& out, common_options& common, const arguments& given,
                 std::vector<named_text>& texts) {
  const json::value document = json::parse_file(existing_file(path, "--config"), {.unique_keys = true});
  for (const auto& member : json::as_object(document, "the settings", path)) {
    const std::string key(member.key().data(), member.key().size());
    const json::value& v = member.value();
    if (v.is_null() || key == "plumb") continue;
    const auto text = [&] { return json::as<std::string>(v, join("\"", key, "\""), path); };
    if (key == "method")
      out.objective = text();
    else if (key == "model")
      out.model = text();
    else if (key == "data")
      out.data = v.is_array() ? json::as<std::vector<std::string>>(v, "\"data\"", path) : std::vector{text()};
    else if (key == "adapter")
      out.adapter = text();
    else if (key == "teacher")
      out.teacher = text();
    else if (key == "full")
      out.full = json::as<bool>(v, "\"full\"", path);
    else if (key == "backend" || key == "dtype" || key == "compute" || key == "positions") {
      const std::string option = "--" + key, value = as_text(v, key, path);
      if (given.has(option)) continue;
      const std::string_view words[] = {option, value};
      const common_options stated = read_common(arguments(given.what(), words));
      if (key == "backend") common.reference = stated.reference;
      if (key == "dtype") common.wide = stated.wide, common.storage = stated.storage;
      if (key == "compute") common.products = stated.products;
      if (key == "positions") common.positions = stated.positions;
    } else {
      texts.push_back({key, trimmed_number(as_text(v, key, path)), path});
    }
  }
}

}  // namespace

json::object run_settings::describe(const common_options& common) const {
  json::object out;
  out["plumb"] = json::string(version);
  out["method"] = objective;
  out["model"] = model;
  out["adapter"] = show(adapter);
  if (!teacher.empty()) out["teacher"] = teacher;
  if (data.size() == 1) {
    out["data"] = data.front();
  } else {
    json::array files;
    for (const std::string& each : data) files.emplace_back(each);
    out["data"] = std::move(files);
  }
  out["backend"] = json::string(common.backend());
  out["dtype"] = json::string(common.dtype());
  if (common.products == product_precision::bfloat16) out["compute"] = json::string(common.compute());
  if (common.positions > 0) out["positions"] = common.positions;
  out["full"] = full;
  for_each_setting(*this, [&](const char* key, const auto& member) {
    if (is_of_steps(key) && !reads_steps(how)) return;
    if (is_of_streams(key) && !stream) return;
    if (is_of_prompt(key) && prompt.count == 0) return;
    if (!(is_of_lora(key) && (full || prompt.count > 0))) out[key] = show(member);
  });
  out["also"] = show(also);
  for (const parameter& p : parameters_of(how)) {
    double number = 0;
    out[p.name] = read_number(p.value, number) ? json::value(number) : json::value(p.value);
  }
  return out;
}

run_settings read_settings(const arguments& given, common_options& common) {
  run_settings out;
  std::vector<named_text> texts;
  if (given.has("--config")) {
    read_config(given.text("--config"), out, common, given, texts);
    check_products(common);
  }
  if (given.has_operand()) out.objective = given.operand();
  if (out.objective.empty()) (void)given.operand();
  if (given.has("--seed")) texts.push_back({"seed", given.text("--seed"), "--seed"});
  if (given.has("--stream")) texts.push_back({"stream", "true", "--stream"});
  for (const char* key : {"shuffle_buffer", "mix_temperature", "mix_cap", "stage_rows"}) {
    std::string option = join("--", std::string_view(key));
    std::replace(option.begin(), option.end(), '_', '-');
    if (given.has(option)) texts.push_back({key, given.text(option), option});
  }
  for (const std::string& text : given.all("--set")) {
    auto [key, value] = split_setting(text);
    texts.push_back({std::move(key), std::move(value), "--set"});
  }
  if (given.has("--data")) out.data = given.all("--data");
  if (out.data.empty()) (void)given.required("--data");
  for (const char* name : {"model", "adapter"}) {
    const std::string option = join("--", std::string_view(name));
    std::string& member = name[0] == 'm' ? out.model : out.adapter;
    if (given.has(option))
      member = given.text(option);
    else if (member.empty() && name[0] != 'a')
      (void)given.required(option);
  }
  if (given.has("--teacher")) out.teacher = given.text("--teacher");
  out.full = out.full || given.has("--full");

  out.how = find_method(out.objective);
  settings_list own;  // the objective's
  for (const auto& [key, text, place] : texts) {
    bool found = false;
    std::vector<std::string_view> known;
    for_each_setting(out, [&](const char* name, auto& member) {
      known.push_back(name);
      if (key != name) return;
      found = true;
      set(key, text, member);
    });
    if (found) {
      out.chosen.insert(key);
      continue;
    }
    // The last word counts, as for the other keys; further terms may be added as often as one likes.
    if (key != "also") std::erase_if(own, [&](const auto& each) { return each.first == key; });
    own.emplace_back(key, text);
    if (key == "also") out.also += join(out.also.empty() ? "" : " + ", text);
  }
  for (const auto& [key, text] : own)
    if (key == "also") apply_settings(out.how, {{key, text}});
  for (const auto& [key, text] : own) {
    if (key == "also") continue;
    const auto parameters = parameters_of(out.how);
    std::vector<std::string_view> known;
    for (const parameter& p : parameters) known.push_back(p.name);
    if (std::find(known.begin(), known.end(), key) == known.end()) {
      known.push_back("also");
      for_each_setting(out, [&](const char* name, auto&) { known.push_back(name); });
      throw error(errc::bad_argument, out.objective, unknown_name("setting", key, known));
    }
    apply_settings(out.how, {{key, text}});
  }
  const auto* const on_tokens = std::get_if<any_objective<level::token>>(&out.how);
  if (!distillation_of(out.how) && !out.teacher.empty())
    throw error(errc::bad_argument, "--teacher",
                join(out.objective, " takes no teacher; leave it out, or choose distill"));
  for (const std::string& key : out.chosen)
    if (is_of_steps(key) && !reads_steps(out.how))
      throw error(errc::bad_argument, key,
                  join(out.objective, " reads no rows with labelled steps; process_reward does"));
  if (out.density_ratio && !has(needs_of(out.how), need::desirable))
    throw error(errc::bad_argument, "density_ratio",
                join(out.objective, " knows no liked and disliked replies; leave it off, or choose bco or kto"));
  // Preferences and replies with labels say themselves what is learnt.
  if (out.learn != learnt_part::usual && !on_tokens)
    throw error(errc::bad_argument, "tokens",
                join(out.objective, " learns from whole replies; leave the setting out, or choose sft"));
  out.fit.check();
  if (out.fit.reference_sync > 0 && !has(needs_of(out.how), need::reference))
    throw error(errc::bad_argument, "reference_sync",
                join(out.objective, " has no reference that could follow the policy; leave it at 0"));
  if (out.fit.reference_share != 1 && !out.full)
    throw error(
        errc::bad_argument, "reference_share",
        "expected 1 with an adapter, whose factors cannot be mixed like weights; leave it, or train with --full");
  if (out.fit.lora_plus_ratio != 1 && (out.full || out.prompt.count > 0))
    throw error(errc::bad_argument, "lora_plus_ratio",
                join("makes sense with LoRA only; leave it away with ", out.full ? "--full" : "virtual_tokens"));
  if (out.prompt.count < 0) throw error(errc::bad_argument, "virtual_tokens", "expected a count from 0");
  if (out.prompt.prefix && out.prompt.count == 0)
    throw error(errc::bad_argument, "prefix", "is of virtual tokens; say how many (virtual_tokens=20)");
  if (out.prompt.count > 0)
    for (const std::string& key : out.chosen)
      if (is_of_lora(key))
        throw error(errc::bad_argument, key, "is of LoRA, which virtual_tokens take the place of; leave one away");
  out.prompt.seed = out.fit.seed;
  out.lora.seed = out.fit.seed;
  const plumb::detail::lora_plan plan(out.lora);  // checks, and fills in alpha
  out.lora = plan.options();
  if (!out.adapter.empty() || out.full)
    for (const std::string& key : out.chosen)
      if (is_of_lora(key) || is_of_prompt(key))
        throw error(errc::bad_argument, key,
                    out.full ? "makes sense for a new adapter only; leave it away with --full"
                             : "is fixed by the adapter that --adapter names; leave it away");
  if (out.full && !out.adapter.empty())
    throw error(errc::bad_argument, "--full",
                "trains all weights and takes no adapter; merge it into the model first (plumb merge)");
  return out;
}

}  // namespace program

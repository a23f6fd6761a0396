// SPDX-License-Identifier: BSL-1.0
// The contest of the objectives: `./dev demo --all`.
#include "contest.hpp"

#include <plumb/models/attach_lora.hpp>
#include <plumb/objective/all.hpp>
#include <plumb/train/fit.hpp>
#include <plumb/train/report_curves.hpp>

#include "lessons.hpp"
#include "results.hpp"
#include "scatter.hpp"

namespace demo {

namespace {

using B = plumb::cpu;
using plumb::join;
using plumb::level;

/// Settings are each paper's own unless its scale belongs to much larger models.
constexpr contender all_contenders[] = {
    {"dpo", "beta=0.1"},
    {"robust_dpo", "beta=0.1 label_smoothing=0.1"},
    {"dpo_norm", "beta=2"},
    {"f_dpo", "beta=0.1 divergence=js"},
    {"ipo", "beta=0.1"},
    {"hinge", "beta=0.1"},
    {"exo", "beta=0.1 label_smoothing=0.001"},
    {"nca", "beta=0.1"},
    {"bco_pair", "beta=0.1"},
    {"sppo", "beta=0.1"},
    {"aot", "beta=0.1"},
    {"aot_unpaired", "beta=0.1"},
    {"apo_zero", "beta=0.1"},
    {"apo_down", "beta=0.1"},
    {"discopop", "beta=0.1 tau=0.2"},
    {"wpo", "beta=0.1"},
    {"tdpo", "beta=0.1"},
    {"ld_dpo", "beta=0.1"},
    {"simpo", "beta=2 gamma=1"},
    {"alpha_po", "beta=2 gamma=1"},
    {"orpo", "beta=0.1"},
    {"cpo", "beta=0.1"},
    {"slic", "delta=1 weight=0.1"},
    {"sft_chosen", ""},
    {"kto", "beta=0.1"},
    {"bco", "beta=0.1"},
    {"apo_zero_unpaired", "beta=0.1"},
    {"dpo_pl", "beta=0.1"},
    {"rrhf", ""},
    {"tpo", "beta=0.1"},
};

/// The best and the worst reply of each group, when they differ enough to teach something.
std::vector<preference> preferences_of(std::span<const ranked_answers> answers) {
  std::vector<preference> pairs;
  for (const ranked_answers& a : answers) {
    const double gap = a.replies.front().marks.total() - a.replies.back().marks.total();
    if (gap >= 0.15)
      pairs.push_back(
          {a.asked, prompt(a.asked), completion(a.replies.front().text), completion(a.replies.back().text), gap});
  }
  return pairs;
}

/// The answers as rows for an objective: groups in their order (of a fixed size: its best replies and the worst of all), or
/// pairs of best and worst, which `fit` takes apart for objectives on single replies.
template <level L>
std::vector<plumb::example> rows_for(const plumb::any_objective<L>& method, const plumb::tokenizer& words,
                                     std::span<const ranked_answers> answers) {
  if constexpr (L != level::group) return rows(words, std::span<const preference>(preferences_of(answers)));
  std::vector<plumb::example> out;
  for (const ranked_answers& a : answers) {
    plumb::example e{words.encode(prompt(a.asked)), {}};
    for (const marked_reply& r : a.replies) {
      e.replies.push_back({words.encode(completion(r.text))});
      e.replies.back().tokens.push_back(*words.eos());
    }
    const auto wanted = static_cast<std::size_t>(method.replies());
    if (wanted > 0) e.replies.erase(e.replies.begin() + wanted - 1, e.replies.end() - 1);
    out.push_back(std::move(e));
  }
  return out;
}

template <level L>
plumb::any_objective<L> objective_of(const contender& c) {
  auto method = plumb::make_objective<L>(c.name);
  std::string_view rest = c.settings;
  while (!rest.empty()) {
    const auto end = std::min(rest.find(' '), rest.size());
    const auto setting = rest.substr(0, end);
    const auto equals = setting.find('=');
    plumb::set_option(method, setting.substr(0, equals), setting.substr(equals + 1));
    rest.remove_prefix(std::min(end + 1, rest.size()));
  }
  return method;
}

/// Calls f(std::integral_constant<level, L>) for the level of the objective of that name.
template <class F>
auto at_level_of(std::string_view objective, F&& f) {
  return plumb::visit_objective(objective, [&](const auto& o) {
    constexpr level own = std::remove_cvref_t<decltype(o)>::level;
    if constexpr (own == level::pair || own == level::sequence || own == level::group)
      return f(std::integral_constant<level, own>{});
    else
      return f(std::integral_constant<level, level::pair>{});
  });
}

void write_text(const std::filesystem::path& path, std::string_view text) {
  plumb::write_file_atomically(path, [&](plumb::writer& out) { out.write(text); });
}

struct keep_log {
  std::vector<plumb::log_entry>& log;
  void on_log(plumb::log_entry entry) const { log.push_back(std::move(entry)); }
};

}  // namespace

std::span<const contender> contenders() { return all_contenders; }

std::vector<contest_result> hold_contest(const plumb::language_model<B>& model, std::span<const ranked_answers> answers,
                                         const oracle& judge, std::span<const question> questions,
                                         std::span<const std::string> neutral, const exam_paper& sft,
                                         const contest_rules& rules, std::span<const std::string> only) {
  const screen out;
  std::vector<contest_result> results;
  for (const contender& c : all_contenders) {
    if (!only.empty() && std::find(only.begin(), only.end(), c.name) == only.end()) continue;
    contest_result r{.entry = c};
    auto policy = plumb::attach_lora(model, {.rank = rules.rank, .seed = rules.seed});
    plumb::fit_options o;
    o.rate = c.rate * rules.rate, o.epochs = rules.epochs, o.batch = rules.batch, o.seed = rules.seed;
    o.max_tokens = 128, o.schedule = plumb::schedule::kind::cosine, o.warmup = 0.1, o.log_every = 1;
    at_level_of(c.name, [&](auto its) {
      r.level = plumb::name(its());
      const auto method = objective_of<its()>(c);
      r.seconds = plumb::fit(policy, method, rows_for(method, model.tokenizer(), answers), o, keep_log{r.log}).seconds;
    });
    r.paper = examine(policy, judge, questions, neutral, rules.exam);
    r.kl = divergence(policy, questions, r.paper);
    out.line(join("  ", c.name, std::string(20 - std::min<std::size_t>(19, c.name.size()), ' '), "wins ",
                  percent(greedy_win_rate(r.paper, sft)), " greedy, ", percent(sampled_win_rate(r.paper, sft)),
                  " sampled, KL ", fixed(r.kl.mean, 2), ", ", fixed(r.seconds, 1), " s"));
    results.push_back(std::move(r));
  }
  return results;
}

void show_contest(std::span<const contest_result> results, const exam_paper& sft, const contest_rules& rules) {
  const screen out;
  std::vector<std::vector<std::string>> table;
  scatter_chart picture{.title = "Wins against SFT and distance from it, all objectives",
                        .x_label = "KL(policy ‖ SFT), nats a reply",
                        .y_label = "wins of sampled replies against SFT, %",
                        .families = {"pairs", "single replies", "groups"}};
  std::string markdown =
      "| objective | settings | oracle, greedy | oracle, sampled | wins, greedy | wins, sampled | KL, nats a reply | "
      "perplexity, neutral text |\n|---|---|---|---|---|---|---|---|\n";
  std::filesystem::create_directories(rules.folder / "curves");
  for (const contest_result& r : results) {
    table.push_back({std::string(r.entry.name), fixed(greedy_score(r.paper), 3), fixed(sampled_score(r.paper), 3),
                     percent(greedy_win_rate(r.paper, sft)), percent(sampled_win_rate(r.paper, sft)), with_error(r.kl),
                     fixed(r.paper.perplexity, 3)});
    const std::string_view page = r.entry.name == "sft_chosen" ? "sft" : r.entry.name;  // they share one
    markdown += join("| [", r.entry.name, "](", page, ".md) | ", r.entry.settings, " |");
    for (std::size_t k = 1; k < table.back().size(); ++k) markdown += join(" ", table.back()[k], " |");
    markdown += "\n";
    const int family = r.level == "pair" ? 0 : r.level == "sequence" ? 1 : 2;
    picture.points.push_back({std::string(r.entry.name), r.kl.mean, 100 * sampled_win_rate(r.paper, sft), family});

    plumb::line_chart curve{.title = join("Training loss of ", r.entry.name, " in the demo's world"), .smoothing = 0.1};
    curve.series.push_back({.name = "loss", .points = plumb::points_of(r.log, "loss")});
    std::string svg = plumb::render_svg(curve, "loss");
    svg.insert(svg.find("style=\"") + 7, "background:#fff;");  // a file of its own has no page behind it
    write_text(rules.folder / "curves" / (std::string(r.entry.name) + ".svg"), svg);
  }
  out.table({{"", "oracle score", "", "wins against SFT", "", "KL from SFT", "perplexity"},
             {"", "greedy", "sampled", "greedy", "sampled", "nats a reply", "neutral text"}},
            table);
  write_text(rules.folder / "contest.md", markdown);
  write_text(rules.folder / "contest.svg", render_scatter(picture));
}

}  // namespace demo

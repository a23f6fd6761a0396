// SPDX-License-Identifier: BSL-1.0
// What the contest came to: a table on the screen, tables and pictures for the documentation.
#include <plumb/io/file.hpp>
#include <plumb/train/report_curves.hpp>

#include "contest.hpp"
#include "results.hpp"
#include "reward_models.hpp"
#include "scatter.hpp"

namespace demo {

namespace {

using plumb::join;

void write_text(const std::filesystem::path& path, std::string_view text) {
  plumb::write_file_atomically(path, [&](plumb::writer& out) { out.write(text); });
}

/// Where a contender belongs in the pictures.
int family_of(const contest_result& r) {
  if (r.entry.online()) return 4;
  return r.level == "pair" ? 0 : r.level == "sequence" ? 1 : r.level == "group" ? 2 : 3;
}

}  // namespace

void draw_curve(const contender& c, std::span<const plumb::log_entry> log, const contest_rules& rules) {
  const std::string name = c.online() ? "oracle" : "loss";
  const auto title =
      join(c.online() ? "Oracle score of the samples of " : "Training loss of ", c.name, " in the demo's world");
  plumb::line_chart curve{.title = title, .smoothing = c.online() ? 0.04 : 0.1, .background = "#fff"};
  curve.series.push_back({.name = name, .points = plumb::points_of(log, name)});
  std::filesystem::create_directories(rules.folder / "curves");
  write_text(rules.folder / "curves" / join(c.name, ".svg"), plumb::render_svg(curve, name));
}

void show_contest(std::span<const contest_result> results, const exam_paper& sft, const contest_rules& rules) {
  const screen out;
  std::vector<std::vector<std::string>> table;
  scatter_chart picture{.title = "Wins against SFT and distance from it, all objectives",
                        .x_label = "KL(policy ‖ SFT), nats a reply",
                        .y_label = "wins of sampled replies against SFT, %",
                        .families = {"pairs", "single replies", "groups", "demonstrations", "online"}};
  const std::string columns =
      "oracle, greedy | oracle, sampled | wins, greedy | wins, sampled | KL, nats a reply | perplexity, neutral text "
      "|\n|---|---|---|---|---|---|---|---|\n";
  std::string offline = "| objective | settings | " + columns, online = offline;
  for (const contest_result& r : results) {
    table.push_back({std::string(r.entry.name), fixed(greedy_score(r.paper), 3), fixed(sampled_score(r.paper), 3),
                     percent(greedy_win_rate(r.paper, sft)), percent(sampled_win_rate(r.paper, sft)), with_error(r.kl),
                     fixed(r.paper.perplexity, 3)});
    std::string& markdown = r.entry.online() ? online : offline;
    markdown += join("| [", r.entry.name, "](", r.entry.page(), ".md) | ", r.entry.settings, " |");
    for (std::size_t k = 1; k < table.back().size(); ++k) markdown += join(" ", table.back()[k], " |");
    markdown += "\n";
    picture.points.push_back(
        {std::string(r.entry.name), r.kl.mean, 100 * sampled_win_rate(r.paper, sft), family_of(r)});
    draw_curve(r.entry, r.log, rules);
  }
  out.table({{"", "oracle score", "", "wins against SFT", "", "KL from SFT", "perplexity"},
             {"", "greedy", "sampled", "greedy", "sampled", "nats a reply", "neutral text"}},
            table);
  write_text(rules.folder / "contest.md", offline);
  write_text(rules.folder / "contest_online.md", online);
  write_text(rules.folder / "contest.svg", render_scatter(picture));
}

void show_reward_models(std::span<const reward_model_result> results, const exam_paper& sft,
                        const contest_rules& rules) {
  const screen out;
  std::vector<std::vector<std::string>> table;
  std::string markdown =
      "| objective | settings | pairs in order | correlation | best of the samples, oracle "
      "|\n|---|---|---|---|---|\n";
  for (const reward_model_result& r : results) {
    table.push_back({std::string(r.entry.name), percent(r.judged.ordered), fixed(r.judged.correlation, 2),
                     fixed(r.judged.best, 3)});
    const bool trained = !r.log.empty();
    markdown += trained ? join("| [", r.entry.name, "](", r.entry.page(), ".md)") : join("| *", r.entry.name, "*");
    markdown += join(" | ", r.entry.settings, " |");
    for (std::size_t k = 1; k < table.back().size(); ++k) markdown += join(" ", table.back()[k], " |");
    markdown += "\n";
    if (trained) draw_curve(r.entry, r.log, rules);
  }
  const auto truth = marks_of(sft);
  const judgement itself = judge_scores(truth, truth);
  table.push_back({"the oracle itself", percent(itself.ordered), fixed(itself.correlation, 2), fixed(itself.best, 3)});
  markdown +=
      join("| *the oracle itself* |  | ", table.back()[1], " | ", table.back()[2], " | ", table.back()[3], " |\n");
  out.table({{"", "pairs in order", "correlation", "best, by the oracle"}}, table);
  write_text(rules.folder / "contest_rewards.md", markdown);
}

}  // namespace demo

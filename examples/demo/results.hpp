// SPDX-License-Identifier: BSL-1.0
// What came out: one table, replies side by side, and the report.
#pragma once

#include <algorithm>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include <plumb/train/report.hpp>

#include "exam.hpp"
#include "screen.hpp"

namespace demo {

/// The papers of the three models, and how far DPO went from SFT.
struct results {
  exam_paper pretrained, sft, dpo;
  estimate kl;
};

inline std::string percent(double share) { return fixed(100 * share, 0) + " %"; }
inline std::string with_error(const estimate& e) { return fixed(e.mean, 2) + " ± " + fixed(e.error, 2); }

/// One row a model: name, scores, win rates against SFT, KL from SFT, perplexity. What has no meaning is a dash.
inline std::vector<std::vector<std::string>> rows_of(const results& r) {
  const auto row = [&](std::string name, const exam_paper& paper, std::string kl) {
    const bool itself = &paper == &r.sft;
    return std::vector<std::string>{std::move(name),
                                    fixed(greedy_score(paper), 3),
                                    fixed(sampled_score(paper), 3),
                                    itself ? "—" : percent(greedy_win_rate(paper, r.sft)),
                                    itself ? "—" : percent(sampled_win_rate(paper, r.sft)),
                                    std::move(kl),
                                    fixed(paper.perplexity, 3)};
  };
  return {row("pretrained", r.pretrained, "—"), row("SFT", r.sft, "0"), row("DPO", r.dpo, with_error(r.kl))};
}

inline void print_table(const screen& out, const results& r) {
  out.table({{"", "oracle score", "", "wins against SFT", "", "KL from SFT", "perplexity"},
             {"", "greedy", "sampled", "greedy", "sampled", "nats a reply", "neutral text"}},
            rows_of(r));
  out.note(
      "The oracle's score lies in 0 … 1: truth 0.55, politeness 0.20, concision 0.15, form 0.10. A tie is half a win. "
      "KL is the mean of log π − log π_ref over the policy's own samples, ± one standard error. The last column is the "
      "alignment tax.");
}

/// Greedy replies to a few questions, before and after, with their scores.
inline void print_replies(const screen& out, std::span<const question> questions, const results& r, std::size_t count) {
  const auto scored = [](const marked_reply& reply) { return reply.text + " (" + fixed(reply.marks.total(), 2) + ")"; };
  for (std::size_t q = 0; q < questions.size(); q += std::max<std::size_t>(1, questions.size() / count)) {
    out.line("\n  " + out.dim(questions[q].asked));
    out.side_by_side(scored(r.sft.greedy[q]), scored(r.dpo.greedy[q]));
  }
}

/// The report, but for the curves and the facts of the run, which the caller knows.
inline plumb::report report_of(std::span<const question> questions, const results& r) {
  plumb::report out{.title = "Saltmere: DPO against SFT",
                    .subtitle = "plumb's demo: a small world with an exact oracle"};
  out.highlights = {
      {"Wins against SFT", percent(greedy_win_rate(r.dpo, r.sft)),
       plumb::join("greedy; ", percent(sampled_win_rate(r.dpo, r.sft)), " of sampled replies")},
      {"Oracle score", fixed(greedy_score(r.dpo), 3), plumb::join("SFT ", fixed(greedy_score(r.sft), 3))},
      {"KL from SFT", fixed(r.kl.mean, 2), plumb::join("nats a reply, ± ", fixed(r.kl.error, 2))},
      {"Neutral perplexity", fixed(r.dpo.perplexity, 3), plumb::join("SFT ", fixed(r.sft.perplexity, 3))}};
  out.tables.push_back({"Held-out questions",
                        {"model", "oracle, greedy", "oracle, sampled", "wins, greedy", "wins, sampled",
                         "KL, nats a reply", "neutral perplexity"},
                        rows_of(r)});
  for (std::size_t q = 0; q < questions.size(); q += 3)
    out.samples.push_back({questions[q].asked, r.sft.greedy[q].text, r.dpo.greedy[q].text,
                           r.sft.greedy[q].marks.total(), r.dpo.greedy[q].marks.total()});
  out.before_label = "SFT", out.after_label = "DPO", out.score_name = "oracle";
  return out;
}

}  // namespace demo

// SPDX-License-Identifier: BSL-1.0
// plumb train --check: what the model would see and what the run would cost, without training.
#include "check_run.hpp"

#include "output.hpp"

#include <plumb/train/environment.hpp>
#include <plumb/train/report_text.hpp>
#include <plumb/train/streamed_rows.hpp>

#include <algorithm>
#include <numeric>

#include <unistd.h>

namespace program {

namespace {

/// A token as the vocabulary writes it; its number when there is no vocabulary.
std::string text_of(const tokenizer* words, token_id id) {
  return words != nullptr && id >= 0 && id < words->size() ? std::string(words->token(id)) : join(id);
}

json::array texts(const tokenizer* words, std::span<const token_id> ids) {
  json::array out;
  for (const token_id id : ids) out.emplace_back(text_of(words, id));
  return out;
}

/// One sequence as the model sees it: a token counts where its mask is 1.
json::object describe_sequence(const tokenizer* words, const example& e, const reply& r) {
  std::vector<token_id> ids = e.prompt;
  ids.insert(ids.end(), r.tokens.begin(), r.tokens.end());
  json::array mask;
  for (std::size_t i = 0; i < ids.size(); ++i)
    mask.emplace_back(
        i >= std::max<std::size_t>(e.prompt.size(), 1) && (r.mask.empty() || r.mask[i - e.prompt.size()]) ? 1 : 0);
  json::object out;
  out["ids"] = list(ids);
  out["tokens"] = texts(words, ids);
  out["mask"] = std::move(mask);
  return out;
}

std::string readable(const tokenizer* words, std::span<const token_id> ids, std::size_t most, bool from_end) {
  const std::size_t count = std::min(ids.size(), most);
  const auto shown = from_end ? ids.last(count) : ids.first(count);
  std::string out = from_end && count < ids.size() ? "…" : "";
  for (const token_id id : shown) out += join(out.empty() ? "" : "|", text_of(words, id));
  return count < ids.size() && !from_end ? out + "|…" : out;
}

void show_rows(const common_options& common, const tokenizer* words, std::span<const example> rows, bool labelled,
               output& out) {
  for (const example& e : rows) {
    const bool pair = e.replies.size() == 2, ranked = e.replies.size() > 2;
    json::object row;
    row["row"] = e.place;
    if (labelled) row["label"] = e.desirable;
    show(common, e.place);
    show(common, join("  prompt    ", e.prompt.size(), " tokens, not learnt: ", readable(words, e.prompt, 12, true)));
    for (std::size_t k = 0; k < e.replies.size(); ++k) {
      const reply& r = e.replies[k];
      const std::string label = pair       ? (k == 0 ? "chosen" : "rejected")
                                : labelled ? (e.desirable ? "liked" : "disliked")
                                : ranked   ? join("reply ", k + 1)
                                           : "reply";
      row[labelled ? "reply" : label] = describe_sequence(words, e, r);
      show(common, join("  ", label, std::string(10 - label.size(), ' '), r.tokens.size(),
                        " tokens, learnt: ", readable(words, r.tokens, 24, false)));
    }
    out.line(row);
  }
}

}  // namespace

void check_run(engine& model, const run_settings& settings, const common_options& common, std::vector<example> data,
               index_t drawn, std::vector<example> held_out) {
  const run_plan plan =
      drawn > 0 ? plan_streamed(drawn, settings.fit) : plan_run(std::span<const example>(data), settings.fit);
  const auto results = [&](output& out) {
    show_rows(common, model.has_tokenizer() ? &model.tokenizer() : nullptr,
              std::span<const example>(data).first(std::min<std::size_t>(3, data.size())),
              has(needs_of(settings.how), need::desirable), out);

    // The longest rows at once need the most memory; their speed stands for that of all.
    std::vector<example> longest = data;
    std::ranges::stable_sort(longest, std::greater(), tokens_of);
    const auto all = pointers_to(longest);
    longest.resize(plan.parts_of(all, settings.fit.batch).front().size());
    const trial step = model.try_step(settings.how, std::move(longest));

    const auto sum = [](const std::vector<example>& rows) {
      return std::accumulate(rows.begin(), rows.end(), index_t{0},
                             [](index_t n, const example& e) { return n + tokens_of(e); });
    };
    const double rows = static_cast<double>(data.size()), per_row = static_cast<double>(sum(data)) / rows;
    const auto budget = static_cast<double>(settings.fit.batch_tokens * settings.fit.accumulate);
    const double per_step = drawn > 0 && budget > 0 ? budget : static_cast<double>(plan.per_step) * per_row;
    const double trained = static_cast<double>(plan.steps) * per_step;
    const double train_rate = static_cast<double>(step.tokens) / step.seconds,
                 score_rate = static_cast<double>(step.tokens) / step.score_seconds;
    const double evaluations =
        held_out.empty()
            ? 0
            : 1 + (settings.fit.eval_every > 0 ? static_cast<double>(plan.steps / settings.fit.eval_every) : 0);
    const bool reference = has(needs_of(settings.how), need::reference);
    const bool baseline = has(needs_of(settings.how), need::divergence);  // every step's rows once more, mismatched
    const double scored =
        (baseline ? trained : 0) +
        (reference ? (drawn > 0 ? trained : static_cast<double>(sum(data))) + static_cast<double>(sum(held_out)) : 0) +
        evaluations * static_cast<double>(sum(held_out));
    const auto own = static_cast<double>(model.trainable_count()) * static_cast<double>(model.number_size());
    const double checkpoints =
        settings.fit.save_every > 0 ? static_cast<double>(plan.steps / settings.fit.save_every) : 0;

    json::object forecast, memory;
    forecast["rows"] = drawn > 0 ? drawn : static_cast<index_t>(data.size());
    forecast["held_out_rows"] = held_out.size();
    forecast["steps"] = plan.steps;
    forecast["tokens"] = std::round(trained);
    forecast["trainable_parameters"] = model.trainable_count();
    forecast["tokens_per_second"] = std::round(train_rate);
    forecast["seconds"] = trained / train_rate + scored / score_rate;
    memory["weights"] = static_cast<double>(model.weight_bytes());
    memory["training"] = 4 * own;  // values, gradients and two moments
    memory["activations"] = step.buffers;
    memory["total"] = static_cast<double>(peak_memory_bytes()) + 2 * own;
    forecast["memory_bytes"] = memory;
    forecast["disk_bytes"] = own + checkpoints * 3 * own + 2e5;  // the log and the report are small
    json::object last;
    last["forecast"] = forecast;
    out.line(last);
    show(common,
         join("forecast: ", plan.steps, " steps, ", human_duration(json::as<double>(forecast["seconds"], "", "")), ", ",
              human_bytes(json::as<double>(memory["total"], "", "")), " of memory, ",
              human_bytes(json::as<double>(forecast["disk_bytes"], "", "")),
              " on disk; nothing was trained or written"));
  };
  if (::isatty(STDOUT_FILENO) == 1 && !common.quiet) {  // a person reads the text above; the same as JSON would bury it
    const auto forget = [](std::string_view) {};
    output nowhere(forget);
    return results(nowhere);
  }
  write_output("", results);
}

}  // namespace program

// SPDX-License-Identifier: BSL-1.0
// The bodies of train/rows.hpp: what rows must bring, and lists of them. Collected by plumb/impl.hpp.
#pragma once

#include <algorithm>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <plumb/core/error.hpp>
#include <plumb/data/teacher_words.hpp>
#include <plumb/train/baseline.hpp>
#include <plumb/train/rows.hpp>

namespace plumb::inline v0 {

void run_rows::mismatch(index_t per_step) {
  mismatched = plumb::mismatch(data);
  held_out_mismatched = plumb::mismatch(held_out);
  if (per_step == 1 && data.size() > 1 && !mismatched.rows.empty())
    throw error(errc::bad_argument, "batch",
                "the baseline is a mean over the rows of a step and a step has one row; raise batch or accumulate, "
                "give \"kl\" in each row, or take apo_zero_unpaired, which has no baseline");
}

const run_rows::lists& run_rows::of_step(std::span<const example* const> chosen) {
  scored.own.clear(), scored.mismatched.clear();
  for (const example* e : chosen) {
    const auto i = static_cast<std::size_t>(e - data.data());
    scored.own.push_back(&data[i]);
    if (!mismatched.row_of.empty() && mismatched.row_of[i] != mismatched_rows::none)
      scored.mismatched.push_back(&mismatched.rows[mismatched.row_of[i]]);
  }
  return scored;
}

const run_rows::lists& run_rows::of_evaluation() {
  scored.own.clear(), scored.mismatched.clear();
  for (example& e : held_out) scored.own.push_back(&e);
  for (example& e : held_out_mismatched.rows) scored.mismatched.push_back(&e);
  return scored;
}

need needs_filled(std::span<const example> data) {
  const bool all = std::all_of(data.begin(), data.end(), [](const example& e) {
    return std::none_of(e.replies.begin(), e.replies.end(), [](const reply& r) { return r.advantages.empty(); });
  });
  return need::old_logp | need::old_value | (all ? need::advantage : need::none);
}

void check_lists(std::span<const example> data) {
  const auto check = [](const example& e, const reply& r, const std::vector<double>& list, const char* what,
                        bool one_will_do) {
    if (list.empty() || list.size() == r.tokens.size() || (one_will_do && list.size() == 1)) return;
    throw error(errc::bad_data, e.place,
                join("expected ", one_will_do ? "one number or " : "", r.tokens.size(), " numbers as \"", what,
                     "\", one per token of the reply, found ", list.size()));
  };
  for (const example& e : data)
    for (const reply& r : e.replies) {
      check(e, r, r.token_references, "ref", false);
      check(e, r, r.old, "old", false);
      check(e, r, r.advantages, "advantage", true);
      check(e, r, r.old_values, "old_value", false);
      check(e, r, r.returns, "return", false);
      check(e, r, r.targets, "target", true);
      const auto words = static_cast<std::size_t>(r.teacher.wide) * r.tokens.size();
      if (r.teacher.ids.size() != words || r.teacher.logp.size() != words)
        throw error(errc::bad_data, e.place,
                    join("expected ", r.teacher.wide, " of the teacher's words for each of ", r.tokens.size(),
                         " tokens, found ", r.teacher.ids.size(), " words"));
      if (!r.mask.empty() && r.mask.size() != r.tokens.size())
        throw error(errc::bad_data, e.place,
                    join("expected ", r.tokens.size(), " entries in the mask, one per token, found ", r.mask.size()));
    }
}

bool settle_teacher(std::string_view objective, index_t top_k, bool teacher, run_rows& rows, index_t vocabulary) {
  const bool words = bring_teacher_words(rows.data, vocabulary);
  if (!rows.held_out.empty() && bring_teacher_words(rows.held_out, vocabulary) != words)
    throw error(errc::bad_data, rows.held_out.front().place,
                "either all rows bring a teacher's words (teacher_ids, teacher_logp), held-out ones included, or none");
  const auto refuse = [&](const char* text) { throw error(errc::bad_argument, std::string(objective), text); };
  if (words && teacher) refuse("the rows bring a teacher's words and a teacher is given, too; leave one of them out");
  if (!words && !teacher)
    refuse(
        "needs a teacher: a model of the same vocabulary (--teacher MODEL; in C++ plumb::teacher{model}), or rows "
        "with teacher_ids and teacher_logp");
  if (words && top_k == 0) refuse("the rows bring a teacher's likeliest words; say how many of them count: top_k=20");
  if (words) rows.for_each_list([&](std::vector<example>& list) { keep_teacher_words(list, top_k); });
  return words;
}

}  // namespace plumb::inline v0

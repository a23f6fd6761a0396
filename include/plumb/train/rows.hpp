// SPDX-License-Identifier: BSL-1.0
// The rows of a run: checked, taken apart where the objective wants single replies, with what a baseline needs beside them.
#pragma once

#include <algorithm>
#include <string_view>
#include <utility>
#include <vector>

#include <plumb/core/error.hpp>
#include <plumb/data/read_unpaired.hpp>
#include <plumb/data/teacher_words.hpp>
#include <plumb/objective/record.hpp>
#include <plumb/train/baseline.hpp>

namespace plumb::inline v0 {

/// What a run learns from and what it is judged by.
struct run_rows {
  std::vector<example> data{}, held_out{};
  mismatched_rows mismatched{}, held_out_mismatched{};  ///< for kto's baseline; empty for other objectives

  /// Makes the rows of the baseline. Throws errc::bad_data where there can be none, and errc::bad_argument when a step
  /// has one row only, whose single log-ratio says next to nothing about the mean.
  void mismatch(index_t per_step) {
    mismatched = plumb::mismatch(data);
    held_out_mismatched = plumb::mismatch(held_out);
    if (per_step == 1 && data.size() > 1 && !mismatched.rows.empty())
      throw error(errc::bad_argument, "batch",
                  "the baseline is a mean over the rows of a step and a step has one row; raise batch or accumulate, "
                  "give \"kl\" in each row, or take apo_zero_unpaired, which has no baseline");
  }
  /// Rows to score: those that are learnt from or judged by, and mismatched ones.
  struct lists {
    std::vector<example*> own{}, mismatched{};
  };
  lists scored{};  ///< memory of the two below, which return it
  /// These rows of `data` and their mismatched ones.
  [[nodiscard]] const lists& of_step(std::span<const example* const> chosen) {
    scored.own.clear(), scored.mismatched.clear();
    for (const example* e : chosen) {
      const auto i = static_cast<std::size_t>(e - data.data());
      scored.own.push_back(&data[i]);
      if (!mismatched.row_of.empty() && mismatched.row_of[i] != mismatched_rows::none)
        scored.mismatched.push_back(&mismatched.rows[mismatched.row_of[i]]);
    }
    return scored;
  }
  [[nodiscard]] const lists& of_evaluation() {
    scored.own.clear(), scored.mismatched.clear();
    for (example& e : held_out) scored.own.push_back(&e);
    for (example& e : held_out_mismatched.rows) scored.mismatched.push_back(&e);
    return scored;
  }
  template <class F>
  void for_each_list(F&& f) {
    for (std::vector<example>* rows : {&data, &held_out, &mismatched.rows, &held_out_mismatched.rows}) f(*rows);
  }
};

/// The needs that these rows fill: advantages when every reply has them. Replies without numbers from the time of their
/// sampling count as sampled by the policy as it is.
inline need needs_filled(std::span<const example> data) {
  const bool all = std::all_of(data.begin(), data.end(), [](const example& e) {
    return std::none_of(e.replies.begin(), e.replies.end(), [](const reply& r) { return r.advantages.empty(); });
  });
  return need::old_logp | need::old_value | (all ? need::advantage : need::none);
}

/// Throws errc::bad_data, with the row's place, for lists that do not fit the reply's tokens.
inline void check_lists(std::span<const example> data) {
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

/// Settles who is the teacher of an objective that compares whole rows with one: a model, or the words that the rows bring, of
/// which `top_k` count. Returns whether it is the words. Throws errc::bad_argument for both, neither, or lists without a top_k,
/// and what bring_teacher_words throws.
inline bool settle_teacher(std::string_view objective, index_t top_k, bool teacher, run_rows& rows,
                           index_t vocabulary) {
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

/// Makes rows fit for an objective with these needs: preferences become single replies where labels are asked for.
/// Throws errc::bad_data for rows that cannot be used.
template <class Objective>
void fit_rows(const Objective& method, std::vector<example>& data, need needs) {
  check_lists(data);
  if (Objective::level == level::sequence && has(needs, need::desirable)) data = unpair(std::move(data));
  if (const int wanted = wanted_replies(method); wanted > 0)
    for (const example& e : data) check_group_size("the objective", wanted, e.replies.size(), e.place);
  if (!has(needs, need::value)) return;
  for (const example& e : data)
    for (const reply& r : e.replies)
      if (r.returns.empty())
        throw error(errc::bad_data, e.place,
                    "the value head has nothing to regress on; add \"return\", one number per token of the reply");
}

}  // namespace plumb::inline v0

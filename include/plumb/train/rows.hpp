// SPDX-License-Identifier: BSL-1.0
// The rows of a run: checked, taken apart where the objective wants single replies, with what a baseline needs beside them.
#pragma once

#include <span>
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
  void mismatch(index_t per_step);
  /// Rows to score: those that are learnt from or judged by, and mismatched ones.
  struct lists {
    std::vector<example*> own{}, mismatched{};
  };
  lists scored{};  ///< memory of the two below, which return it
  /// These rows of `data` and their mismatched ones.
  [[nodiscard]] const lists& of_step(std::span<const example* const> chosen);
  [[nodiscard]] const lists& of_evaluation();
  template <class F>
  void for_each_list(F&& f) {
    for (std::vector<example>* rows : {&data, &held_out, &mismatched.rows, &held_out_mismatched.rows}) f(*rows);
  }
};

/// The needs that these rows fill: advantages when every reply has them. Replies without numbers from the time of their
/// sampling count as sampled by the policy as it is.
need needs_filled(std::span<const example> data);

/// Throws errc::bad_data, with the row's place, for lists that do not fit the reply's tokens.
void check_lists(std::span<const example> data);

/// Settles who is the teacher of an objective that compares whole rows with one: a model, or the words that the rows bring, of
/// which `top_k` count. Returns whether it is the words. Throws errc::bad_argument for both, neither, or lists without a top_k,
/// and what bring_teacher_words throws.
bool settle_teacher(std::string_view objective, index_t top_k, bool teacher, run_rows& rows, index_t vocabulary);

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

// SPDX-License-Identifier: BSL-1.0
// The bodies of data/teacher_words.hpp. Collected by plumb/impl.hpp, which one .cpp of a program includes.
#pragma once

#include <algorithm>
#include <cmath>
#include <numeric>
#include <span>
#include <string>
#include <vector>

#include <plumb/core/error.hpp>
#include <plumb/data/teacher_words.hpp>

namespace plumb::inline v0 {

namespace detail {

/// Writes one token's words in the order of their ids.
inline void place_teacher_words(std::span<const token_id> ids, std::span<const double> logp, std::size_t wide,
                                teacher_list& out) {
  std::vector<std::size_t> order(ids.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) { return ids[a] < ids[b]; });
  for (std::size_t k = 0; k < wide; ++k) {
    out.ids.push_back(k < order.size() ? ids[order[k]] : -1);
    out.logp.push_back(k < order.size() ? logp[order[k]] : 0);
  }
}

}  // namespace detail

void give_teacher_words(reply& r, const std::vector<std::vector<token_id>>& ids,
                        const std::vector<std::vector<double>>& logp, const std::string& place) {
  const auto wrong = [&](const std::string& text) { throw error(errc::bad_data, place, text); };
  for (const auto& [found, key] : {std::pair(ids.size(), "teacher_ids"), std::pair(logp.size(), "teacher_logp")})
    if (found != r.tokens.size())
      wrong(join("\"", std::string_view(key), "\": expected ", r.tokens.size(), " lists, one per token of the reply",
                 ", found ", found, "; \"completion_ids\" say which tokens those are"));
  std::size_t wide = 0;
  for (std::size_t t = 0; t < ids.size(); ++t) {
    const auto token = [&] { return join("token ", t, " of the reply: "); };
    if (ids[t].empty() || ids[t].size() != logp[t].size())
      wrong(join(token(), "expected as many log-probabilities as words and at least one, found ", ids[t].size(),
                 " words and ", logp[t].size(), " log-probabilities"));
    auto sorted = ids[t];
    std::sort(sorted.begin(), sorted.end());
    if (const auto twice = std::adjacent_find(sorted.begin(), sorted.end()); twice != sorted.end())
      wrong(join(token(), "word ", *twice, " is there twice in \"teacher_ids\""));
    double sum = 0;
    for (const double x : logp[t]) {
      if (!(x <= 1e-6) || !std::isfinite(x))
        wrong(join(token(), "\"teacher_logp\": expected log-probabilities in nats, finite and at most 0, found ", x));
      sum += std::exp(x);
    }
    if (sum > 1.001)
      wrong(join(token(), "\"teacher_logp\": the probabilities of different words add up to ", sum, ", more than 1"));
    wide = std::max(wide, ids[t].size());
  }
  r.teacher = {};
  r.teacher.wide = static_cast<index_t>(wide);
  for (std::size_t t = 0; t < ids.size(); ++t) detail::place_teacher_words(ids[t], logp[t], wide, r.teacher);
}

bool bring_teacher_words(std::span<const example> data, index_t vocabulary) {
  const auto has_words = [](const reply& r) { return r.teacher.wide > 0; };
  const auto any = [&](const example& e) { return std::any_of(e.replies.begin(), e.replies.end(), has_words); };
  if (std::none_of(data.begin(), data.end(), any)) return false;
  for (const example& e : data)
    for (const reply& r : e.replies) {
      if (!has_words(r))
        throw error(errc::bad_data, e.place,
                    "other rows bring a teacher's words (teacher_ids, teacher_logp), and this one does not");
      for (std::size_t k = 0; k < r.teacher.ids.size(); ++k) {
        const token_id id = r.teacher.ids[k];
        if (id < -1 || id >= vocabulary)
          throw error(errc::bad_data, e.place,
                      join("\"teacher_ids\": token id ", id, " lies outside the model's vocabulary of ", vocabulary,
                           "; has the teacher another tokenizer?"));
        const bool first = k % static_cast<std::size_t>(r.teacher.wide) == 0;
        const token_id before = first ? 0 : r.teacher.ids[k - 1];
        if (first ? id < 0 : id >= 0 && id <= before)
          throw error(errc::bad_data, e.place,
                      "a teacher's words must stand in the order of their ids, with -1 after the last; make them by "
                      "give_teacher_words");
      }
    }
  return true;
}

void keep_teacher_words(std::vector<example>& data, index_t most) {
  for (example& e : data)
    for (reply& r : e.replies) {
      if (r.teacher.wide <= most) continue;
      const auto wide = static_cast<std::size_t>(r.teacher.wide);
      teacher_list kept{.wide = most};
      for (std::size_t first = 0; first < r.teacher.ids.size(); first += wide) {
        std::vector<std::size_t> order;
        for (std::size_t k = first; k < first + wide && r.teacher.ids[k] >= 0; ++k) order.push_back(k);
        std::stable_sort(order.begin(), order.end(),
                         [&](std::size_t a, std::size_t b) { return r.teacher.logp[a] > r.teacher.logp[b]; });
        if (order.size() > static_cast<std::size_t>(most)) order.resize(static_cast<std::size_t>(most));
        std::vector<token_id> ids;
        std::vector<double> logp;
        for (const std::size_t k : order) ids.push_back(r.teacher.ids[k]), logp.push_back(r.teacher.logp[k]);
        detail::place_teacher_words(ids, logp, static_cast<std::size_t>(most), kept);
      }
      r.teacher = std::move(kept);
    }
}

}  // namespace plumb::inline v0

// SPDX-License-Identifier: BSL-1.0
// Orders within a batch, for objectives that look beyond one record: tokens by reply, replies by rank.
//
// All of it, and what calls it in an objective's `prepare`, is a template: who includes an objective and does not train
// with it does not wait for sorting to be compiled.
#pragma once

#include <plumb/objective/record.hpp>
#include <span>
#include <vector>

namespace plumb::inline v0::detail {

/// 0 … n − 1, ordered by `before(i, j)`; equals stay in their order. A merge sort of eight lines: <algorithm> would
/// double the time that an objective takes to compile.
template <class Before>
std::vector<std::size_t> order_by(std::size_t n, Before before) {
  std::vector<std::size_t> order(n), merged(n);
  for (std::size_t i = 0; i < n; ++i) order[i] = i;
  for (std::size_t width = 1; width < n; width *= 2) {
    for (std::size_t begin = 0; begin < n; begin += 2 * width) {
      const std::size_t middle = begin + width < n ? begin + width : n, end = middle + width < n ? middle + width : n;
      for (std::size_t i = begin, j = middle, to = begin; to < end; ++to)
        merged[to] = j == end || (i < middle && !before(order[j], order[i])) ? order[i++] : order[j++];
    }
    order.swap(merged);
  }
  return order;
}

/// The place of each value when sorted, smallest first, [values]; NaN comes last, equals keep their order.
template <class Values>
std::vector<std::size_t> sorted_order(const Values& values) {
  return order_by(values.size(), [&](std::size_t i, std::size_t j) {
    return values[i] < values[j] || (values[i] == values[i] && values[j] != values[j]);
  });
}

/// For each record the value in `partners` that has the rank which its own has in `own`, [records]. A record that lacks
/// its own number in `partners` gets NaN, and no other does: the loss that fails is that of the record at fault.
template <class Values>
std::vector<double> rank_partners(const Values& own, const Values& partners) {
  const auto mine = sorted_order(own), theirs = sorted_order(partners);
  std::vector<double> result(own.size());
  for (std::size_t rank = 0; rank < own.size(); ++rank) {
    const std::size_t i = mine[rank];
    const double partner = partners[theirs[rank]];
    result[i] = partners[i] != partners[i] ? partners[i] : (partner == partner ? partner : own[i]);
  }
  return result;
}

/// number(record) of the records that count, NaN of those with weight 0, [records]. NaN has no rank: who is left out moves
/// nobody else.
template <class Record, class Number>
std::vector<double> of_counted(std::span<const Record> records, Number number) {
  std::vector<double> result(records.size());
  for (std::size_t i = 0; i < records.size(); ++i) result[i] = records[i].weight == 0 ? missing : number(records[i]);
  return result;
}

/// For each token the mean of value(token) over the valid tokens of its reply, [tokens]; 0 where none is valid.
template <class Value>
std::vector<double> means_by_sequence(std::span<const token_record<double>> tokens, Value value) {
  const auto order =
      order_by(tokens.size(), [&](std::size_t i, std::size_t j) { return tokens[i].sequence < tokens[j].sequence; });
  std::vector<double> result(tokens.size());
  for (std::size_t begin = 0, end = 0; begin < order.size(); begin = end) {
    double sum = 0, count = 0;
    for (; end < order.size() && tokens[order[end]].sequence == tokens[order[begin]].sequence; ++end) {
      if (!tokens[order[end]].mask || tokens[order[end]].weight == 0) continue;
      sum += value(tokens[order[end]]);
      ++count;
    }
    for (std::size_t i = begin; i < end; ++i) result[order[i]] = count > 0 ? sum / count : 0;
  }
  return result;
}

}  // namespace plumb::inline v0::detail

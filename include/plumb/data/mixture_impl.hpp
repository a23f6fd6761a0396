// SPDX-License-Identifier: BSL-1.0
// The bodies of data/mixture.hpp. Collected by plumb/impl.hpp, which one .cpp of a program includes.
#pragma once

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>
#include <utility>

#include <plumb/core/error.hpp>
#include <plumb/core/random.hpp>
#include <plumb/data/mixture.hpp>

namespace plumb::inline v0 {

std::vector<double> mixing_rates(std::span<const index_t> rows, std::span<const double> shares,
                                 const mixture_options& o) {
  const auto want = [](bool good, const char* key, const char* expected, double found) {
    if (!good) throw error(errc::bad_argument, key, join("expected ", expected, ", found ", found));
  };
  want(o.mix_temperature >= 1 && std::isfinite(o.mix_temperature), "mix_temperature", "a finite number from 1",
       o.mix_temperature);
  want(o.mix_cap >= 0, "mix_cap", "a count of rows from 0", static_cast<double>(o.mix_cap));
  double given = 0, free = 0;
  std::vector<double> out(rows.size());
  for (std::size_t i = 0; i < rows.size(); ++i) {
    want(shares[i] >= 0 && std::isfinite(shares[i]), "share", "a finite number above 0", shares[i]);
    if (shares[i] > 0) {
      given += out[i] = shares[i];
      continue;
    }
    const auto counted = static_cast<double>(o.mix_cap > 0 ? std::min(rows[i], o.mix_cap) : rows[i]);
    free += out[i] = std::pow(counted, 1 / o.mix_temperature);
  }
  if (free == 0 && (o.mix_cap > 0 || o.mix_temperature != 1))
    throw error(errc::bad_argument, o.mix_cap > 0 ? "mix_cap" : "mix_temperature",
                "every source has a share of its own, so none follows this; leave the shares or this out");
  if (free > 0 && given >= 1)
    throw error(errc::bad_argument, "share",
                join("the shares come to ", given,
                     " and leave nothing for the sources without one; lower them, or give every source one"));
  for (std::size_t i = 0; i < rows.size(); ++i)
    out[i] = shares[i] > 0 ? (free > 0 ? out[i] : out[i] / given) : out[i] / free * (1 - given);
  return out;
}

row_mixture::row_mixture(std::vector<data_stage> stages, const mixture_options& o) : buffer_(o.shuffle_buffer) {
  if (o.shuffle_buffer < 1 || o.shuffle_buffer > 100'000'000)
    throw error(errc::bad_argument, "shuffle_buffer", join("expected 1 to 100000000 rows, found ", o.shuffle_buffer));
  if (stages.empty()) throw error(errc::bad_argument, "stages", "expected at least one stage, found none");
  const auto mix = [&](std::uint64_t word) { fingerprint_ = derive_key(fingerprint_ ^ word, 0); };
  for (data_stage& each : stages) {
    if (each.sources.empty()) throw error(errc::bad_argument, "stages", "a stage needs at least one file");
    if (each.rows < 0) throw error(errc::bad_argument, "stages", join("expected rows from 0, found ", each.rows));
    stage out{{}, each.rows};
    std::vector<index_t> rows;
    std::vector<double> shares;
    for (data_source& from : each.sources) {
      const std::uint64_t key = derive_key(derive_key(o.seed, stages_.size()), out.sources.size());
      out.sources.push_back({row_file(std::move(from.path)), key});
      const row_file& file = out.sources.back().file;
      if (file.rows() == 0) throw error(errc::bad_data, file.path().string(), "the file has no rows");
      rows.push_back(file.rows());
      shares.push_back(from.share);
      mix(file.fingerprint());
    }
    const auto rates = mixing_rates(rows, shares, o);
    index_t pass = 0;
    for (std::size_t i = 0; i < rates.size(); ++i) {
      out.sources[i].rate = rates[i];
      mix(std::bit_cast<std::uint64_t>(rates[i]));
      pass += o.mix_cap > 0 ? std::min(rows[i], o.mix_cap) : rows[i];
    }
    if (out.rows == 0) out.rows = pass;
    mix(static_cast<std::uint64_t>(out.rows));
    rows_ += out.rows;
    stages_.push_back(std::move(out));
  }
  mix(static_cast<std::uint64_t>(buffer_));
  mix(o.seed);
}

/// A random row of the buffer; the next row of the file takes its place.
row_place row_mixture::draw(source& s) const {
  if (s.buffer.empty()) {  // a pass begins
    if (s.drawn > 0) ++s.pass;
    s.of_pass = 0;
    s.file.rewind();
    while (static_cast<index_t>(s.buffer.size()) < buffer_) {
      const auto row = s.file.next();
      if (!row) break;
      s.buffer.push_back(*row);
    }
    if (s.buffer.empty())
      throw error(errc::io, s.file.path().string(), "the file had rows when it was opened and has none now");
  }
  const std::uint64_t key = derive_key(s.key, static_cast<std::uint64_t>(s.pass));
  const auto word = philox_word64(key, static_cast<std::uint64_t>(s.of_pass++));
  const auto which = static_cast<std::size_t>(word % s.buffer.size());
  const row_place out = s.buffer[which];
  if (const auto row = s.file.next()) {
    s.buffer[which] = *row;
  } else {
    s.buffer[which] = s.buffer.back();
    s.buffer.pop_back();
  }
  ++s.drawn;
  return out;
}

row_mixture::mixed_row row_mixture::read(const place_of_row& at) const {
  const row_file& file = stages_[stage_].sources[at.source].file;
  return {file.read(at.row), file.name(at.row)};
}

row_mixture::mixed_row row_mixture::next() {
  if (waiting_) {
    waiting_ = false;
    return read(*last_);
  }
  if (stage_ + 1 < stages_.size() && of_stage_ >= stages_[stage_].rows) {
    ++stage_;
    of_stage_ = 0;
  }
  auto& sources = stages_[stage_].sources;
  std::size_t which = 0;
  double behind = -std::numeric_limits<double>::infinity();
  for (std::size_t i = 0; i < sources.size(); ++i) {
    const double due = sources[i].rate * static_cast<double>(of_stage_ + 1) - static_cast<double>(sources[i].drawn);
    if (due > behind) behind = due, which = i;
  }
  last_ = place_of_row{which, draw(sources[which])};
  ++of_stage_;
  ++drawn_;
  return read(*last_);
}

void row_mixture::put_back() {
  if (!last_ || waiting_) throw error(errc::bad_argument, "put_back", "expected a row that was just drawn, found none");
  waiting_ = true;
}

std::vector<std::uint64_t> row_mixture::position() const {
  std::vector<std::uint64_t> out{stage_, static_cast<std::uint64_t>(drawn_), static_cast<std::uint64_t>(of_stage_),
                                 waiting_ ? 1u : 0u};
  const auto keep = [&](const row_place& row) { out.insert(out.end(), {row.offset, row.size, row.line}); };
  if (waiting_) {
    out.push_back(last_->source);
    keep(last_->row);
  }
  for (const source& s : stages_[stage_].sources) {
    for (const index_t n : {s.drawn, s.of_pass, s.pass}) out.push_back(static_cast<std::uint64_t>(n));
    keep(s.file.position());
    out.push_back(s.buffer.size());
    for (const row_place& row : s.buffer) keep(row);
  }
  return out;
}

void row_mixture::restore(std::span<const std::uint64_t> position) {
  std::size_t at = 0;
  const auto fail = [](const char* what) {
    throw error(errc::bad_file, "the position in the data",
                join(what, "; it was not made with these files and options"));
  };
  const auto number = [&](std::uint64_t most) {
    if (at >= position.size() || position[at] > most) fail("a number is missing or too large");
    return position[at++];
  };
  constexpr auto any = static_cast<std::uint64_t>(std::numeric_limits<index_t>::max() / 2);  // room to count on
  const auto count = [&] { return static_cast<index_t>(number(any)); };
  const auto place = [&](const row_file& file) {
    row_place row;
    row.offset = number(file.bytes());
    row.size = number(file.bytes() - row.offset);
    row.line = number(any);
    return row;
  };
  const auto chosen = static_cast<std::size_t>(number(stages_.size() - 1));
  auto& sources = stages_[chosen].sources;
  const index_t drawn = count(), of_stage = count();
  const bool waiting = number(1) == 1;
  if (waiting && drawn == 0) fail("a row waits that was never drawn");
  std::optional<place_of_row> last;
  if (waiting) {
    const auto which = static_cast<std::size_t>(number(sources.size() - 1));
    last = place_of_row{which, place(sources[which].file)};
  }
  struct found {
    index_t drawn, of_pass, pass;
    row_place at;
    std::vector<row_place> buffer;
  };
  std::vector<found> all;
  for (const source& s : sources) {
    found f{count(), count(), count(), place(s.file), {}};
    const auto rows = number(static_cast<std::uint64_t>(std::min(buffer_, s.file.rows())));
    for (std::uint64_t i = 0; i < rows; ++i) f.buffer.push_back(place(s.file));
    all.push_back(std::move(f));
  }
  if (at != position.size()) fail("there are more numbers than expected");
  for (std::size_t i = chosen + 1; i < stages_.size(); ++i)
    for (source& s : stages_[i].sources) s.drawn = 0, s.of_pass = 0, s.pass = 0, s.buffer.clear();
  for (std::size_t i = 0; i < sources.size(); ++i) {
    sources[i].drawn = all[i].drawn, sources[i].of_pass = all[i].of_pass, sources[i].pass = all[i].pass;
    sources[i].file.seek(all[i].at);
    sources[i].buffer = std::move(all[i].buffer);
  }
  stage_ = chosen, drawn_ = drawn, of_stage_ = of_stage, last_ = last, waiting_ = waiting;
}

}  // namespace plumb::inline v0

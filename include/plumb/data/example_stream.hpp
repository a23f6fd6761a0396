// SPDX-License-Identifier: BSL-1.0
// Examples that come one by one, without end: what `fit` takes in place of a list when the data does not fit in memory.
// data/mixture_stream.hpp makes one of files.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include <plumb/core/types.hpp>
#include <plumb/data/example.hpp>

namespace plumb::inline v0 {

/// A source of examples whose position can be kept and found again.
class example_stream {
 public:
  virtual ~example_stream() = default;

  /// The next example. There is always one: after the last it goes on with the first.
  virtual example next() = 0;
  /// The next call gives the last example once more.
  virtual void put_back() = 0;
  [[nodiscard]] virtual index_t drawn() const = 0;  ///< rows so far
  [[nodiscard]] virtual index_t rows() const = 0;   ///< rows of a pass, which is an epoch
  /// A number that differs when the examples or their order differ.
  [[nodiscard]] virtual std::uint64_t fingerprint() const = 0;
  [[nodiscard]] virtual std::vector<std::uint64_t> position() const = 0;
  virtual void restore(std::span<const std::uint64_t> position) = 0;
};

}  // namespace plumb::inline v0

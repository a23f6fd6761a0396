// SPDX-License-Identifier: BSL-1.0
// Maps that files hold above each other in one tensor: those of a layer's experts.
#pragma once

#include <array>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <plumb/core/view.hpp>
#include <plumb/models/config.hpp>

namespace plumb::inline v0 {

/// A tensor in the blocks of some files that holds maps of all experts of a layer: expert after expert, of each the maps
/// that are named, in this order.
struct stack_of_maps {
  std::string_view stored;               ///< its name in a block ("block_sparse_moe.input_linear.weight")
  std::string_view module;               ///< the list of experts in the network ("block_sparse_moe.experts")
  std::array<std::string_view, 2> maps;  ///< of each expert; one, or two
  bool flat = false;                     ///< files have two extents, [experts · rows, columns], not three
  bool transposed = false;               ///< files have each map as [inputs, outputs]
};

/// Which tensors of the blocks `blocks`.0, `blocks`.1, … are stacks.
struct stack_table {
  std::string_view blocks, own_blocks;  ///< what blocks are called in the files, and in the network
  std::vector<stack_of_maps> stacks;
};

/// Where a weight of the network lies in such a tensor.
struct stacked_place {
  std::string name;            ///< of the tensor
  std::vector<index_t> whole;  ///< shape of the tensor: [experts, rows, columns], or [experts · rows, columns]
  shape extent;                ///< of the weight in the network, [outputs, inputs]
  index_t first = 0;           ///< the number of the tensor with which the weight begins
  bool transposed = false;     ///< its numbers lie there as [inputs, outputs]
};

/// The stacks in the files of the hub; none for most families.
stack_table hub_stacks(const model_config& config);

/// Those in llama.cpp's files: the experts of every mixture, a tensor for each of their maps.
stack_table gguf_stacks(const model_config& config);

/// Where the weight `name` of the network lies; none if it is a tensor of its own.
std::optional<stacked_place> find_in_stack(const model_config& config, const stack_table& table, std::string_view name);

/// The weights of the network that the tensor `stored` of the files holds, in its order; empty if it is no stack.
std::vector<std::string> names_in_stack(const model_config& config, const stack_table& table, std::string_view stored);

}  // namespace plumb::inline v0

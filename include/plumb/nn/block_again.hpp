// SPDX-License-Identifier: BSL-1.0
// A block that keeps its input alone and runs again on the way back: gradient checkpointing (Chen et al. 2016, "Training
// deep nets with sublinear memory cost"). Time for memory.
#pragma once

#include <utility>

#include <plumb/nn/pass.hpp>
#include <plumb/nn/router_balance.hpp>

namespace plumb::inline v0 {

/// out = block(x), both [tokens, width]. What the block made is forgotten; on the way back it is made again, bit for bit,
/// and goes back from there.
template <class B, class T, class Block>
struct block_again {
  const Block* block = nullptr;
  pass<B, T>* running = nullptr;
  pass<B, T> found;  ///< the pass as the block found it
  variable<B, T> x;
  variable<B, T> out;

  variable<B, T> forward(tape<B, T>& t) {
    router_balance<B, T>* const balance = running->balance;
    out = t.make(x.value.extent(), true);
    const std::size_t routers = balance ? balance->waiting() : 0;
    typename tape<B, T>::scope forgotten(t, true);
    const auto y = (*block)(*running, x);  // [tokens, width]
    B::copy(t.device(), y.value, t.writable(out));
    if (balance) balance->forget_after(routers);
    if (!y.needs_gradient()) out.slot = nullptr;
    return out;
  }
  void backward(tape<B, T>& t) {
    const router_balance<B, T>* const counted = std::exchange(found.balance, nullptr);
    router_balance<B, T> routers;
    if (counted) found.balance = &routers;
    found.kept = nullptr;        // they were kept the first time
    found.batch.host = nullptr;  // it may be gone
    if (x.slot) t.reserve_gradient(x);
    typename tape<B, T>::scope forgotten(t, true);
    const auto y = (*block)(found, x);  // [tokens, width]
    t.add_gradient(y, out.slot->value);
    if (counted) routers.seed_from(t, *counted);
    t.run_backward();
  }
};

/// `block` may read leaves and x, but no other variable that needs a gradient: its memory would be forgotten with the block.
template <class B, class T, class Block>
variable<B, T> run_again(pass<B, T>& p, const Block& block, variable<B, T> x) {
  return p.tape.apply(block_again<B, T, Block>{&block, &p, p, x, {}});  // [tokens, width]
}

}  // namespace plumb::inline v0

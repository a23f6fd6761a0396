// SPDX-License-Identifier: BSL-1.0
// Reverse-mode differentiation of matrices: a tape of operations, each a struct with `forward` and `backward`.
#pragma once

#include <array>
#include <memory>
#include <new>
#include <type_traits>
#include <utility>
#include <vector>

#include <plumb/autograd/weight_panels.hpp>
#include <plumb/tensor/arena.hpp>
#include <plumb/tensor/free_list.hpp>
#include <plumb/tensor/packed_tensor.hpp>

namespace plumb::inline v0 {

/// A weight that can be learnt: its value, and its gradient while it is trainable. A frozen one may be packed instead.
template <class B, class T>
struct weight_tensor {
  tensor<B, T> value;     ///< empty where `packed` holds the numbers
  tensor<B, T> gradient;  ///< same shape; empty while frozen
  /// A learnt copy that takes this weight's place while adapters are on; null: none. See pass::leaf.
  std::shared_ptr<weight_tensor> stand_in;
  std::shared_ptr<const packed_tensor<B>> packed;  ///< the numbers in fewer bits; null: they are in `value`
  std::uint64_t times_trained = 0;                 ///< how often it was made trainable: copies made before may be old

  [[nodiscard]] shape extent() const noexcept { return packed ? packed->extent() : value.extent(); }
  [[nodiscard]] bool trainable() const noexcept { return !gradient.empty(); }
  /// Makes the parameter learnable (gradient zero) or frozen (no gradient). Throws errc::unsupported for a packed one.
  void set_trainable(bool on) {
    if (on && packed)
      throw error(errc::unsupported, "",
                  join("a weight kept in ", name(packed->get().format),
                       " is frozen: steps of training are smaller than its steps; train an adapter, or load the model "
                       "with plain numbers"));
    gradient = on ? tensor<B, T>(value.device(), value.extent(), T(0)) : tensor<B, T>();
    times_trained += on ? 1 : 0;
  }
  /// The numbers, packed or not, in new memory.
  [[nodiscard]] tensor<B, T> plain() const { return packed ? packed->template plain<T>() : value.clone(); }
  /// The numbers, row by row, in host memory.
  [[nodiscard]] std::vector<T> host() const { return packed ? packed->template plain<T>().host() : value.host(); }
};

/// Where the gradient of a variable gathers; `started` tells whether the memory holds anything yet.
template <class T>
struct gradient_slot {
  view<T> value;
  bool started = false;
  bool output_is_free = false;  ///< nothing reads the variable's value on the way back
};

/// A matrix on a tape. A variable without a slot is a constant: nothing below it needs a gradient.
template <class B, class T>
struct variable {
  view<const T> value;  ///< of a packed weight the size alone: only products (autograd/weight_product.hpp) read those
  gradient_slot<T>* slot = nullptr;
  const packed_matrix* packed = nullptr;

  [[nodiscard]] bool needs_gradient() const noexcept { return slot != nullptr; }
  [[nodiscard]] index_t rows() const noexcept { return value.rows; }
  [[nodiscard]] index_t columns() const noexcept { return value.columns; }
};

/// Records operations as they run and replays their backward in reverse.
///
/// An operation is a trivially destructible struct with
///   variable<B, T> forward(tape&)   runs it and returns its output, made with `make_like(inputs…)`;
///   void backward(tape&)            adds to the gradients of its inputs, given its own output's.
/// One whose backward does not read its output's value may say so, `static constexpr bool output_is_free = true`. One that
/// costs little may offer `void compute(tape&)`, which puts the same numbers into its output's memory again: see `recompute`.
/// See autograd/operations.hpp for the shortest examples.
template <class B, class T>
class tape {
 public:
  explicit tape(device_ptr<B> device) : device_(device), memory_(std::move(device)) {}

  [[nodiscard]] typename B::device& device() noexcept { return *device_; }
  [[nodiscard]] const device_ptr<B>& shared_device() const noexcept { return device_; }
  [[nodiscard]] arena<B>& memory() noexcept { return memory_; }
  /// Without recording, nothing needs a gradient and nothing is kept for the way back: scoring and sampling.
  [[nodiscard]] bool recording() const noexcept { return recording_; }
  void set_recording(bool on) noexcept { recording_ = on; }

  /// Weights that products find as panels, too; null: none. They must outlive their use.
  [[nodiscard]] const weight_panels<B, T>* panels() const noexcept { return panels_; }
  void set_panels(const weight_panels<B, T>* panels) noexcept { panels_ = panels; }

  variable<B, T> constant(view<const T> value) noexcept { return {value, nullptr}; }
  /// Throws errc::unsupported for a weight with a stand-in, so that no part passes it over: `pass::leaf` chooses.
  variable<B, T> leaf(weight_tensor<B, T>& p) {
    if (p.stand_in)
      throw error(errc::unsupported, "", "this part of the network cannot be trained as a copy beside an adapter");
    if (!recording_ || !p.trainable()) return frozen(p);
    return {std::as_const(p.value).get(), make_slot(p.gradient.get(), true)};
  }
  /// A weight as a constant, whether it learns or not.
  variable<B, T> frozen(const weight_tensor<B, T>& p) noexcept {
    if (p.packed) return {view<const T>(nullptr, p.packed->extent()), nullptr, &p.packed->get()};
    return constant(p.value.get());
  }
  /// A value whose gradient is wanted, but which is no parameter: gathers in the tape's memory.
  variable<B, T> input(view<const T> value) { return {value, recording_ ? make_slot({}, false) : nullptr}; }

  /// A new output of the given shape; it needs a gradient when any of the inputs does.
  template <class... Inputs>
  variable<B, T> make_like(shape extent, const Inputs&... inputs) {
    return make(extent, (inputs.needs_gradient() || ...));
  }
  variable<B, T> make(shape extent, bool needs_gradient) {
    const view<T> value = lends_ ? lend(extent) : memory_.template make<T>(extent);
    return {value, recording_ && needs_gradient ? make_slot({}, false) : nullptr};
  }
  /// May an output lie in the memory of `base`? Its maker must not read it on the way back; that nobody else has used it is
  /// for the caller to know.
  static bool may_take_over(const variable<B, T>& base) noexcept { return base.slot && base.slot->output_is_free; }
  /// An output that lies in the memory of `base`, which its maker and nobody else has used.
  template <class... Inputs>
  variable<B, T> take_over(const variable<B, T>& base, const Inputs&... inputs) {
    const bool needed = recording_ && (inputs.needs_gradient() || ...);
    return {base.value, needed ? make_slot({}, false) : nullptr};
  }
  /// The same numbers, row after row, in another shape of the same size; nothing is copied.
  template <class Input>
  variable<B, T> make_reshaped(const Input& base, shape extent) {
    return {view<const T>(base.value.data, extent), base.needs_gradient() ? make_slot({}, false) : nullptr};
  }
  /// d(x) += d(out) where `out` is the output of the operation that goes back now, which then reads d(out) no more. Where
  /// d(x) has not begun and has no memory yet, it becomes d(out) itself: nothing is copied.
  void hand_gradient(const variable<B, T>& x, const variable<B, T>& out) {
    const view<const T> d(out.slot->value.data, x.value.extent());
    if (x.slot->value.data) return add_gradient(x, d);
    x.slot->value = {out.slot->value.data, x.value.extent()};
    x.slot->started = true;
    out.slot->value = {};
  }
  /// The gradient of `v`, which nobody has begun, holding the value of `v` for the caller to turn into it: in the value's
  /// own memory where nothing else reads that (the caller neither, unless it says so by `keep`), or a copy.
  view<T> gradient_from_value(const variable<B, T>& v, bool keep = false) {
    auto& slot = *v.slot;
    slot.started = true;
    if (slot.output_is_free && !keep) return slot.value = writable(v);
    prepare(slot, v.value.extent());
    B::copy(*device_, v.value, slot.value);
    return slot.value;
  }
  /// d(x) += d.
  void add_gradient(const variable<B, T>& x, view<const T> d) {
    if (const auto [dx, beta] = begin_gradient(x); beta == 0)
      B::copy(*device_, d, dx);
    else
      B::add_scaled(*device_, T(1), d, dx);
  }
  /// The writable memory of a variable that this tape made; for its operation's forward only.
  static view<T> writable(const variable<B, T>& v) noexcept { return {const_cast<T*>(v.value.data), v.value.extent()}; }

  /// Runs an operation and remembers it when its output needs a gradient.
  template <class Operation>
  variable<B, T> apply(Operation operation) {
    static_assert(std::is_trivially_destructible_v<Operation>,
                  "an operation keeps views, not owners: the tape forgets it");
    constexpr bool is_cheap = requires(Operation& o, tape& t) { o.compute(t); };
    lends_ = is_cheap && forgets_, lent_ = {};
    const variable<B, T> out = operation.forward(*this);
    lends_ = false;
    const view<T> lent = std::exchange(lent_, {});
    if (!out.needs_gradient() && !lent.data) return out;
    auto* kept = ::new (host_memory(sizeof(Operation), alignof(Operation))) Operation(std::move(operation));
    if constexpr (is_cheap)
      if (lent.data)
        forgotten_.push_back(
            {{kept, nullptr, [](void* op, tape& t) { static_cast<Operation*>(op)->compute(t); }}, lent});
    if (!out.needs_gradient()) return out;
    if constexpr (requires { Operation::output_is_free; })
      out.slot->output_is_free = Operation::output_is_free && !lent.data;
    records_.push_back({kept, out.slot, [](void* op, tape& t) { static_cast<Operation*>(op)->backward(t); }});
    return out;
  }
  /// use(make()), where what `make` gives is soon computed and large: it is not kept for the way back, but computed again
  /// there, before `use` goes back. So all that is made this way shares the memory of a few values. `make` runs operations; those
  /// without `compute` keep what they give. Nobody but `use` may read what `make` gave, and nothing may be laid
  /// in its memory. After an exception the tape is to be reset.
  template <class Make, class Use>
  variable<B, T> recompute(Make make, Use use) {
    if (!recording_) return use(make());
    const std::size_t first = forgotten_.size();
    const bool outer = std::exchange(forgets_, true);
    const variable<B, T> made = make();
    forgets_ = false;
    const std::size_t last = forgotten_.size(), before_use = records_.size();
    const variable<B, T> out = use(made);
    forgets_ = outer;
    // Records go back in reverse: the first value that was made is then the first one computed again.
    if (records_.size() > before_use)
      for (std::size_t i = last; i-- > first;) records_.push_back(forgotten_[i].again);
    for (std::size_t i = first; i < last; ++i) lendable_.give(forgotten_[i].memory);
    forgotten_.resize(first);
    return out;
  }

  /// The gradient of `v` to add to; zeros at first use.
  view<T> gradient(const variable<B, T>& v) {
    auto& slot = *v.slot;
    if (!slot.started) {
      prepare(slot, v.value.extent());
      B::fill(*device_, slot.value, T(0));
      slot.started = true;
    }
    return slot.value;
  }
  /// The gradient of `v` to be made β · gradient + …: β is 0 at first use, when nothing lies there yet. Call once per use.
  std::pair<view<T>, T> begin_gradient(const variable<B, T>& v) {
    auto& slot = *v.slot;
    const bool started = std::exchange(slot.started, true);
    if (!started) prepare(slot, v.value.extent());
    return {slot.value, started ? T(1) : T(0)};
  }

  /// Memory for the way back alone, which the next may have once it is given back.
  view<T> borrow(shape extent) {
    const view<T> found = free_.take(extent.size(), true);
    return found.data ? view<T>(found.data, extent) : memory_.template make<T>(extent);
  }
  void give_back(view<T> memory) { free_.give(memory); }
  /// Gives d(x) memory now, where it has none: a scope that begins it would take its memory along.
  void reserve_gradient(const variable<B, T>& x) { prepare(*x.slot, x.value.extent()); }

  /// Propagates d(scalar)/d(output) = `seed` back to all leaves.
  void backward(const variable<B, T>& output, view<const T> seed) {
    if (!output.needs_gradient()) return;
    B::add_scaled(*device_, T(1), seed, gradient(output));
    run_backward();
  }
  /// Replays the records backwards; the caller has put the outer gradients in place. The gradient of an operation's
  /// output is forgotten when the operation has gone back, and its memory used again.
  void run_backward() {
    for (std::size_t i = records_.size(); i-- > first_record_;) {
      gradient_slot<T>* const output = records_[i].output;
      if (output && !output->started) continue;
      records_[i].backward(records_[i].operation, *this);
      if (output && output->value.data) give_back(std::exchange(output->value, {}));
    }
  }

  /// Forgets the step: records, activations, gradients of non-parameters.
  void reset() {
    records_.clear();
    free_.clear();
    lendable_.clear();
    forgotten_.clear();
    forgets_ = lends_ = false;
    memory_.rewind();
    host_used_ = 0;
    host_chunk_ = 0;
  }

  /// A stretch of tape that is differentiated and forgotten by itself, in the middle of a bigger one: chunks of the
  /// head, recomputed blocks. Everything made inside is gone when the scope ends.
  class scope {
   public:
    scope(tape& t, bool recording)
        : tape_(t),
          memory_(t.memory_.here()),
          records_(t.records_.size()),
          first_(std::exchange(t.first_record_, t.records_.size())),
          free_(t.free_.begin()),
          lendable_(t.lendable_.begin()),
          host_used_(t.host_used_),
          host_chunk_(t.host_chunk_),
          recording_(std::exchange(t.recording_, recording)),
          forgets_(std::exchange(t.forgets_, false)) {}
    scope(const scope&) = delete;
    scope& operator=(const scope&) = delete;
    ~scope() {
      tape_.records_.resize(records_);
      tape_.first_record_ = first_;
      tape_.free_.end(free_);
      tape_.lendable_.end(lendable_);
      tape_.memory_.rewind(memory_);
      tape_.host_used_ = host_used_;
      tape_.host_chunk_ = host_chunk_;
      tape_.recording_ = recording_;
      tape_.forgets_ = forgets_;
    }

   private:
    tape& tape_;
    typename arena<B>::mark memory_;
    std::size_t records_, first_, free_, lendable_, host_used_, host_chunk_;
    bool recording_, forgets_;
  };

 private:
  struct record {
    void* operation = nullptr;
    gradient_slot<T>* output = nullptr;  ///< null: of one that computes its value again
    void (*backward)(void*, tape&) = nullptr;
  };
  struct forgotten_value {
    record again;
    view<T> memory;
  };

  /// Memory for a value that is forgotten after its use.
  view<T> lend(shape extent) {
    lent_ = lendable_.take(extent.size(), false);
    if (!lent_.data) lent_ = memory_.template make<T>(extent);
    return {lent_.data, extent};
  }

  void prepare(gradient_slot<T>& slot, shape extent) {
    if (!slot.value.data) slot.value = borrow(extent);
  }
  gradient_slot<T>* make_slot(view<T> value, bool started) {
    return ::new (host_memory(sizeof(gradient_slot<T>), alignof(gradient_slot<T>))) gradient_slot<T>{value, started};
  }
  /// Host memory of the step, for records and slots: chunks that are reused, never moved.
  void* host_memory(std::size_t size, std::size_t alignment) {
    static_assert(host_chunk_size % alignof(std::max_align_t) == 0);
    std::size_t at = (host_used_ + alignment - 1) / alignment * alignment;
    if (host_chunks_.empty() || at + size > host_chunk_size) {
      if (!host_chunks_.empty() && host_used_ > 0) ++host_chunk_;
      at = 0;
    }
    if (host_chunk_ >= host_chunks_.size()) host_chunks_.push_back(std::make_unique<host_chunk>());
    host_used_ = at + size;
    return host_chunks_[host_chunk_]->bytes.data() + at;
  }

  static constexpr std::size_t host_chunk_size = std::size_t{1} << 15;
  struct host_chunk {
    alignas(std::max_align_t) std::array<std::byte, host_chunk_size> bytes;
  };

  device_ptr<B> device_;
  arena<B> memory_;
  std::vector<record> records_;
  std::size_t first_record_ = 0;
  free_list<T> free_;                       ///< memory of the way back that nobody uses
  free_list<T> lendable_;                   ///< memory of values that were forgotten after their use
  std::vector<forgotten_value> forgotten_;  ///< made to be forgotten, and still in use
  bool forgets_ = false;                    ///< what is made now is to be forgotten after its use
  bool lends_ = false;                      ///< … and this operation can compute it again
  view<T> lent_;                            ///< what it was lent
  std::vector<std::unique_ptr<host_chunk>> host_chunks_;
  std::size_t host_used_ = 0;
  std::size_t host_chunk_ = 0;
  bool recording_ = true;
  const weight_panels<B, T>* panels_ = nullptr;
};

}  // namespace plumb::inline v0

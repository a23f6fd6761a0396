// SPDX-License-Identifier: BSL-1.0
// An objective chosen while the program runs: any objective of one level, or a weighted sum of several, as a value.
#pragma once

#include <cmath>
#include <memory>
#include <plumb/core/error.hpp>
#include <plumb/objective/evaluate.hpp>
#include <plumb/objective/metrics.hpp>
#include <plumb/objective/parameters.hpp>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace plumb::inline v0 {

namespace detail {
/// Its address tells one type from another.
template <class>
inline constexpr char type_mark = 0;
}  // namespace detail

/// Holds Σ_k w_k L_k over objectives of level L whose types are known at run time only. Each objective is compiled
/// once, on its own; sums are formed from results, so no combination has to be instantiated. A virtual call per
/// batch, none per record. Copies are deep.
///
///     plumb::any_objective<plumb::level::pair> method = plumb::dpo{.beta = 0.05};
///     method += 0.2 * plumb::any_objective<plumb::level::pair>(plumb::sft_chosen{});
template <level L>
class any_objective {
 public:
  static constexpr plumb::level level = L;
  using records = std::span<const record<L>>;

  template <class O>
    requires(!std::is_same_v<O, any_objective>)
  any_objective(const O& objective) {  // implicit on purpose: an objective is one term
    if constexpr (check_objective<O>()) {
      static_assert(O::level == L, "plumb: this objective has another level than the any_objective it is put into");
      check_parameters(objective);
      terms_.push_back({1.0, std::make_unique<holder<O>>(objective)});
    }
  }
  any_objective(const any_objective& other) {
    for (const term& t : other.terms_) terms_.push_back({t.weight, t.held->clone()});
  }
  any_objective(any_objective&&) noexcept = default;
  any_objective& operator=(any_objective other) noexcept {
    terms_.swap(other.terms_);
    return *this;
  }
  ~any_objective() = default;

  any_objective& operator+=(any_objective other) {
    for (term& t : other.terms_) terms_.push_back(std::move(t));
    return *this;
  }
  /// Throws errc::bad_argument for a weight that is not finite.
  any_objective& operator*=(double weight) {
    if (!std::isfinite(weight))
      throw error(errc::bad_argument, name(), join("expected a finite weight, found ", weight));
    for (term& t : terms_) t.weight *= weight;
    return *this;
  }
  friend any_objective operator+(any_objective a, any_objective b) { return a += std::move(b); }
  friend any_objective operator*(double weight, any_objective a) { return a *= weight; }

  /// "dpo + 0.2*sft_chosen".
  [[nodiscard]] std::string name() const {
    std::string text;
    for (const term& t : terms_) {
      if (!text.empty()) text += " + ";
      if (t.weight != 1) text += join(t.weight, "*");
      text += t.held->name();
    }
    return text;
  }
  [[nodiscard]] need needs() const {
    need all = need::none;
    for (const term& t : terms_) all = all | t.held->needs();
    return all;
  }
  /// Does a record's loss depend on the other records of its step?
  [[nodiscard]] bool couples() const {
    for (const term& t : terms_)
      if (t.held->couples()) return true;
    return false;
  }
  /// How many replies a group must have, 0 for any number from 2. Throws errc::bad_argument for terms that disagree.
  [[nodiscard]] int replies() const {
    int wanted = 0;
    for (const term& t : terms_) {
      const int own = t.held->replies();
      if (own != 0 && wanted != 0 && own != wanted)
        throw error(errc::bad_argument, name(), join("its terms want groups of ", wanted, " and of ", own, " replies"));
      wanted = own != 0 ? own : wanted;
    }
    return wanted;
  }
  /// How many terms ask for a row statistic; a run makes one at most.
  [[nodiscard]] int statistics() const {
    int count = 0;
    for (const term& t : terms_) count += has(t.held->needs(), need::statistic) ? 1 : 0;
    return count;
  }
  /// The φ of the term whose row statistic is a Phi, or null.
  template <class Phi>
  [[nodiscard]] const Phi* find_row_function() const {
    for (const term& t : terms_)
      if (const void* found = t.held->row_function(&detail::type_mark<Phi>)) return static_cast<const Phi*>(found);
    return nullptr;
  }
  /// What each term divides by, counted in these records, [terms]; add them up over the micro-batches of a step. They are
  /// `memory.windows` where a memory is given.
  [[nodiscard]] std::vector<double> window_units(records batch) const {
    evaluation_memory<L> memory;
    window_units(batch, memory);
    return std::move(memory.windows);
  }
  void window_units(records batch, evaluation_memory<L>& memory) const {
    memory.windows.clear();
    for (const term& t : terms_)
      memory.windows.push_back(plumb::window_units<L>(t.held->default_reduction(), batch, memory.sequences));
  }
  /// Evaluates each term under its own reduction. `windows` [terms] is the step's total of `window_units`; empty: this
  /// batch is the whole step. Errors as plumb::evaluate. The result is `memory.found` where a memory is given.
  [[nodiscard]] evaluation evaluate(records batch, std::span<const double> windows = {}) const {
    evaluation_memory<L> memory;
    evaluate(batch, windows, memory);
    return std::move(memory.found);
  }
  const evaluation& evaluate(records batch, std::span<const double> windows, evaluation_memory<L>& memory) const {
    if (!windows.empty() && windows.size() != terms_.size())
      throw error(errc::bad_argument, name(), join("expected ", terms_.size(), " windows, found ", windows.size()));
    return sum(batch, memory, [&](std::size_t k) {
      const reduction own = terms_[k].held->default_reduction();
      return windows.empty() ? own : own.over(windows[k]);
    });
  }
  /// Evaluates every term under one reduction.
  [[nodiscard]] evaluation evaluate(records batch, const reduction& how) const {
    evaluation_memory<L> memory;
    sum(batch, memory, [&](std::size_t) { return how; });
    return std::move(memory.found);
  }
  /// The metrics of all terms; where several have one of a name, the first term's. `all` and `own` are memory for the work.
  void collect_metrics(records batch, metric_list& out) const {
    metric_list all, own;
    collect_metrics(batch, out, all, own);
  }
  void collect_metrics(records batch, metric_list& out, metric_list& all, metric_list& own) const {
    all.clear();
    for (const term& t : terms_) {
      own.clear();
      t.held->collect(batch, own);
      for (const metric& m : own) {
        if (!all.find(m.name)) all.add(m.name, m.value(), m.weight);
      }
    }
    out.merge(all);
  }
  /// Parameters of the first term under their own names, of further terms as "term.name".
  [[nodiscard]] std::vector<parameter> parameters() const {
    std::vector<parameter> all;
    for (std::size_t k = 0; k < terms_.size(); ++k) {
      for (parameter& p : terms_[k].held->parameters()) {
        p.name = prefix(k) + p.name;
        all.push_back(std::move(p));
      }
    }
    return all;
  }
  /// Sets a parameter by its name in `parameters()`; errors as plumb::set_parameter.
  void set_parameter(std::string_view key, std::string_view text) {
    for (std::size_t k = 0; k < terms_.size(); ++k) {
      const std::string start = prefix(k);
      if (!key.starts_with(start)) continue;
      for (const parameter& p : terms_[k].held->parameters()) {
        if (p.name == key.substr(start.size())) return terms_[k].held->set(p.name, text);
      }
    }
    const auto all = parameters();
    std::vector<std::string_view> known;
    for (const parameter& p : all) known.push_back(p.name);
    throw error(errc::bad_argument, name(), unknown_name("parameter", key, known));
  }

 private:
  struct base {
    virtual ~base() = default;
    [[nodiscard]] virtual std::unique_ptr<base> clone() const = 0;
    [[nodiscard]] virtual const char* name() const = 0;
    [[nodiscard]] virtual need needs() const = 0;
    [[nodiscard]] virtual bool couples() const = 0;
    [[nodiscard]] virtual int replies() const = 0;
    [[nodiscard]] virtual reduction default_reduction() const = 0;
    virtual void evaluate(records, std::span<const double>, evaluation_memory<L>&) const = 0;
    virtual void collect(records, metric_list&) const = 0;
    [[nodiscard]] virtual std::vector<parameter> parameters() const = 0;
    virtual void set(std::string_view, std::string_view) = 0;
    [[nodiscard]] virtual const void* row_function(const void* mark) const = 0;
  };
  template <class O>
  struct holder final : base {
    explicit holder(const O& o) : objective(o) {}
    std::unique_ptr<base> clone() const override { return std::make_unique<holder>(objective); }
    const char* name() const override { return O::name; }
    need needs() const override { return objective_needs(objective); }
    bool couples() const override { return couples_records<O>(); }
    int replies() const override { return wanted_replies(objective); }
    reduction default_reduction() const override { return plumb::default_reduction(objective); }
    void evaluate(records batch, std::span<const double> weights, evaluation_memory<L>& memory) const override {
      evaluate_weighted(objective, batch, weights, memory);
    }
    void collect(records batch, metric_list& out) const override { plumb::collect_metrics(objective, batch, out); }
    std::vector<parameter> parameters() const override { return plumb::parameters(objective); }
    void set(std::string_view key, std::string_view text) override { plumb::set_parameter(objective, key, text); }
    const void* row_function([[maybe_unused]] const void* mark) const override {
      if constexpr (requires {
                      typename O::row_statistic;
                      objective.function;
                    })
        return mark == &detail::type_mark<typename O::row_statistic> ? &objective.function : nullptr;
      else
        return nullptr;
    }
    O objective;
  };
  struct term {
    double weight;
    std::unique_ptr<base> held;
  };

  std::string prefix(std::size_t k) const { return k == 0 ? "" : std::string(terms_[k].held->name()) + "."; }

  template <class Choose>
  const evaluation& sum(records batch, evaluation_memory<L>& memory, const Choose& reduction_of) const {
    evaluation &part = memory.found, &all = memory.other;
    for (std::size_t k = 0; k < terms_.size(); ++k) {
      weights<L>(reduction_of(k), batch, memory.weights, memory.sequences);
      terms_[k].held->evaluate(batch, memory.weights, memory);
      const double w = terms_[k].weight;
      if (k == 0) {
        for (double& x : part.losses) x *= w;
        for (double& x : part.slopes) x *= w;
        part.total *= w;
        std::swap(all, part);
        continue;
      }
      for (std::size_t i = 0; i < all.losses.size(); ++i) all.losses[i] += w * part.losses[i];
      for (std::size_t i = 0; i < all.slopes.size(); ++i) all.slopes[i] += w * part.slopes[i];
      all.total += w * part.total;
    }
    std::swap(all, part);
    return memory.found;
  }

  std::vector<term> terms_;
};

}  // namespace plumb::inline v0

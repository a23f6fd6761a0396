// SPDX-License-Identifier: BSL-1.0
// A model behind one interface, whatever its backend and number type: the commands are compiled once, the heavy templates
// once per backend, each in a file of its own.
#pragma once

#include "methods.hpp"

#include <plumb/io/json.hpp>
#include <plumb/models/adapter_options.hpp>
#include <plumb/models/combine_adapters.hpp>
#include <plumb/models/prompt_options.hpp>
#include <plumb/rollout/beam_search.hpp>
#include <plumb/rollout/score.hpp>
#include <plumb/train/fit.hpp>

#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

namespace program {

using namespace plumb;

/// The gradient of a loss over a whole file.
struct gradient {
  struct part {
    std::string name;  ///< of the parameter, as the policy calls it
    std::vector<index_t> shape;
    std::vector<double> numbers;
    bool wide = false;  ///< float64
  };
  double loss = 0;
  metric_list metrics;
  std::vector<part> parts;
};

/// What a trial step took.
struct trial {
  double seconds = 0;        ///< forward and backward of the batch
  double score_seconds = 0;  ///< forward alone, as for references
  index_t tokens = 0;        ///< of the batch
  std::size_t buffers = 0;   ///< bytes of activations and gradients of activations
  double loss = 0;
};

/// What happens in a run; on_step returns false to stop.
struct listener {
  virtual ~listener() = default;
  virtual bool on_step(const step_info&) = 0;
  virtual void on_log(const log_entry&) = 0;
  virtual void on_save(const std::filesystem::path&) = 0;
  virtual void on_warning(const std::string&) = 0;
};

/// A model, with an adapter or without.
class engine {
 public:
  virtual ~engine() = default;

  [[nodiscard]] virtual const model_config& config() const = 0;
  [[nodiscard]] virtual bool has_tokenizer() const = 0;
  [[nodiscard]] virtual const plumb::tokenizer& tokenizer() const = 0;  ///< throws errc::not_found when there is none
  [[nodiscard]] virtual bool ends(token_id token) const = 0;            ///< does it end a reply?
  [[nodiscard]] virtual index_t positions() const = 0;
  [[nodiscard]] virtual index_t parameter_count() const = 0;
  [[nodiscard]] virtual index_t weight_bytes() const = 0;     ///< that the model's own weights take
  [[nodiscard]] virtual std::size_t number_size() const = 0;  ///< bytes of a number: 4 or 8

  virtual void load_adapter(const std::filesystem::path& folder) = 0;
  virtual void attach_lora(const lora_options& options) = 0;
  virtual void attach_prompt(const prompt_options& options) = 0;
  virtual void train_all() = 0;
  virtual void attach_score_head(std::uint64_t seed, bool critic) = 0;  ///< on what is trained
  [[nodiscard]] virtual bool has_score_head() const = 0;
  virtual void load_teacher(const std::filesystem::path& folder, const load_options& options) = 0;
  [[nodiscard]] virtual index_t trainable_count() const = 0;
  [[nodiscard]] virtual const lora_options* lora() const = 0;      ///< null without a low-rank adapter
  [[nodiscard]] virtual const prompt_options* prompt() const = 0;  ///< null without virtual tokens
  [[nodiscard]] virtual json::object describe_adapter() const = 0;

  /// Loads an adapter beside others, for sequences that name theirs.
  virtual void add_adapter(const std::string& name, const std::filesystem::path& folder) = 0;
  [[nodiscard]] virtual std::vector<std::string> adapter_names() const = 0;

  /// `adapters`: the name of every sequence's adapter, "" for none; empty: what is on the model.
  virtual std::vector<token_scores> score(std::span<const scored_tokens> sequences,
                                          std::span<const std::string> adapters, bool entropy) = 0;
  virtual std::vector<std::vector<generated>> generate(std::span<const std::vector<token_id>> prompts,
                                                       std::span<const std::string> adapters,
                                                       const generate_options& options, token_listener listen) = 0;
  virtual std::vector<std::vector<generated>> beam_search(std::span<const std::vector<token_id>> prompts,
                                                          std::span<const std::string> adapters,
                                                          const beam_options& options) = 0;
  /// For many calls of the two before: copies the weights once (language_model::keep_copies).
  virtual void keep_copies() = 0;
  /// Weighs disliked replies by the density ratio of their prompts (train/density_ratio.hpp).
  virtual void weigh_prompts(std::vector<example>& data, std::vector<example>& held_out, std::uint64_t seed) = 0;
  /// `batch` examples at a time; 0: as many as have about 2048 tokens. The loss is that of all rows together.
  virtual gradient differentiate(const method& m, std::vector<example> data, index_t batch, double router_loss) = 0;
  virtual trial try_step(const method& m, std::vector<example> batch) = 0;
  /// On rows of `stream` where it is not null, else on `data`.
  virtual fit_result fit(const method& m, std::vector<example> data, example_stream* stream, const fit_options& options,
                         listener& told) = 0;

  virtual void save_adapter(const std::filesystem::path& folder) const = 0;
  virtual void save_merged(const std::filesystem::path& folder) const = 0;
  /// A model folder with several adapters in its weights; the engine's own adapter is gone.
  virtual void save_merged_adapters(const std::vector<weighted_adapter>& adapters, const merge_options& how,
                                    const std::filesystem::path& folder) const = 0;
  /// One adapter folder that does what several do, weighed; likewise. `rank` 0: exactly their sum, ranks added.
  virtual void save_joined_adapters(const std::vector<weighted_adapter>& adapters, const merge_options& how,
                                    index_t rank, const std::filesystem::path& folder) const = 0;
  /// A model folder out of this model and others, each with its weight; `on_arc`: out of two, on the arc between them.
  virtual void save_merged_models(const std::vector<weighted_adapter>& others, const merge_options& how, bool on_arc,
                                  const load_options& options, const std::filesystem::path& folder) const = 0;
  virtual void save_model(const std::filesystem::path& folder) const = 0;
};

/// Reads a model folder. One of these per file engine_<backend>_<type>.cpp.
template <class B, class T>
std::unique_ptr<engine> open_engine(const std::filesystem::path& folder, const load_options& options);

class arguments;
struct common_options;

/// Reads the model on the backend and with the number type that the user chose, and its adapter unless `adapter` is empty.
std::unique_ptr<engine> open_model(const std::string& model, const std::string& adapter, const common_options& common);

/// The same with --model and --adapter: one folder, or several as NAME=FOLDER, among which rows choose.
std::unique_ptr<engine> open_model(const arguments& given, const common_options& common);

/// Throws errc::not_found or unsupported when this is no model's folder or GGUF file; `option` names it.
void check_model(const std::string& model, const char* option);

/// Reads the teacher of a model that distils.
void open_teacher(engine& model, const std::string& folder, const common_options& common);

}  // namespace program

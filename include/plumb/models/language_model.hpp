// SPDX-License-Identifier: BSL-1.0
// A language model as a user holds it: network, tokenizer and configuration, read from or written to a folder.
#pragma once

#include <cmath>
#include <memory>
#include <set>
#include <utility>

#include <plumb/core/random.hpp>
#include <plumb/io/file.hpp>
#include <plumb/io/safetensors.hpp>
#include <plumb/io/safetensors_write.hpp>
#include <plumb/io/weights.hpp>
#include <plumb/models/config_file.hpp>
#include <plumb/models/families.hpp>
#include <plumb/models/gguf_model.hpp>
#include <plumb/models/kept_weights.hpp>
#include <plumb/models/read_weight.hpp>
#include <plumb/models/stored_tensors.hpp>
#include <plumb/text/tokenizer.hpp>

namespace plumb::inline v0 {

/// A decoder with its tokenizer on backend B; copies share one network.
template <class B, class T = float>
class language_model {
 public:
  using backend_type = B;
  using number_type = T;

  language_model(device_ptr<B> device, std::unique_ptr<plumb::network<B, T>> net, std::optional<plumb::tokenizer> words,
                 model_config config, std::string source)
      : state_(std::make_shared<state>(
            state{std::move(device), std::move(net), std::move(words), std::move(config), std::move(source)})) {}

  [[nodiscard]] const device_ptr<B>& device() const noexcept { return state_->device; }
  [[nodiscard]] plumb::network<B, T>& network() const noexcept { return *state_->network; }
  /// Throws errc::not_found when the folder had none; then the model works on token ids alone.
  [[nodiscard]] const plumb::tokenizer& tokenizer() const {
    if (!state_->words)
      throw error(errc::not_found, source(),
                  "there is no tokenizer.json in the model's folder; add it, or give token ids instead of text");
    return *state_->words;
  }
  [[nodiscard]] bool has_tokenizer() const noexcept { return state_->words.has_value(); }
  [[nodiscard]] const model_config& config() const noexcept { return state_->config; }
  /// The folder it was read from, or a name; written into adapters as their base model.
  [[nodiscard]] const std::string& source() const noexcept { return state_->source; }
  /// Does this token end a reply?
  [[nodiscard]] bool ends(token_id token) const noexcept {
    const auto& eos = state_->config.eos;
    return std::find(eos.begin(), eos.end(), token) != eos.end();
  }
  /// The token that training appends to a reply, if the model has one.
  [[nodiscard]] std::optional<token_id> end_of_text() const {
    const auto& eos = state_->config.eos;
    if (state_->words)
      if (const auto own = state_->words->eos(); own && (eos.empty() || ends(*own))) return own;
    return eos.empty() ? std::nullopt : std::optional(eos.front());
  }
  /// Numbers in the network's own weights; a shared one counts once.
  [[nodiscard]] index_t parameter_count() const {
    index_t total = 0;
    std::set<const void*> seen;
    network().for_each_weight([&](const std::string&, weight_ptr<B, T>& w) {
      if (seen.insert(w.get()).second) total += w->extent().size();
    });
    return total;
  }

  /// Copies the linear maps once into the order in which making replies reads them (`generate`, `beam_search`), and keeps
  /// this copy for all calls to come, which then need not make their own; it takes the weights' memory once more until
  /// `drop_copies`. Maps that are being trained are copied in each call as ever, and all of them once one of the kept has
  /// been trained. After writing into a frozen weight by hand, call it again. Backends without such an order keep nothing.
  void keep_copies() const {
    auto kept = std::make_shared<kept_weights<B, T>>();
    network().for_each_linear([&](const std::string&, linear<B, T>& map) { kept->add(map.weight); });
    kept->make(device());
    state_->kept = std::move(kept);
  }
  void drop_copies() const noexcept { state_->kept.reset(); }
  /// Null: none are kept.
  [[nodiscard]] std::shared_ptr<const kept_weights<B, T>> copies() const noexcept { return state_->kept; }

  /// Bytes that the network's own weights take; a shared one counts once.
  [[nodiscard]] index_t weight_bytes() const {
    index_t total = 0;
    std::set<const void*> seen;
    network().for_each_weight([&](const std::string&, weight_ptr<B, T>& w) {
      if (!seen.insert(w.get()).second) return;
      total += w->packed ? w->packed->bytes() : w->value.size() * static_cast<index_t>(sizeof(T));
    });
    return total;
  }

 private:
  struct state {
    device_ptr<B> device;
    std::unique_ptr<plumb::network<B, T>> network;
    std::optional<plumb::tokenizer> words;
    model_config config;
    std::string source;
    std::shared_ptr<const kept_weights<B, T>> kept{};
  };
  std::shared_ptr<state> state_;
};

/// How to read a model.
struct load_options {
  int threads = 0;        ///< CPU backends: 0 takes all cores
  index_t positions = 0;  ///< longest sequence to prepare for; 0: `model_config::usual_positions`, at most 32768
  weight_storage storage = weight_storage::plain;        ///< others than plain cannot be trained
  product_precision products = product_precision::full;  ///< backends with a choice, in float: may products round?
};

namespace detail {

template <class B>
device_ptr<B> make_device([[maybe_unused]] const load_options& options) {
  if constexpr (std::constructible_from<typename B::device, int, product_precision>)
    return std::make_shared<typename B::device>(options.threads, options.products);
  else if constexpr (std::constructible_from<typename B::device, int>)
    return std::make_shared<typename B::device>(options.threads);
  else
    return std::make_shared<typename B::device>();
}

/// The checks that tokenizer and configuration belong together, then the network. `place` names the configuration.
template <class B, class T, class Files>
language_model<B, T> assemble_model(const model_config& config, std::optional<tokenizer> words, const Files& files,
                                    const load_options& options, const std::string& source, const std::string& place) {
  if (words && words->size() > config.vocabulary)
    throw error(errc::bad_model, source,
                join("the tokenizer has ", words->size(), " tokens, but the model only ", config.vocabulary,
                     " (\"vocab_size\"); they do not belong together"));
  for (const token_id id : config.eos)
    if (id < 0 || id >= config.vocabulary)
      throw error(errc::bad_model, place,
                  join("\"eos_token_id\" ", id, " lies outside the vocabulary of ", config.vocabulary));
  if (words) add_special_tokens(*words, config);
  const auto device = make_device<B>(options);
  const index_t positions =
      options.positions > 0 ? options.positions : std::min<index_t>(config.usual_positions(), 32768);
  auto net = make_network<B, T>(device, config, positions, [&](const std::string& name, shape extent) {
    return read_weight<B, T>(device, files, config, name, extent, options.storage);
  });
  return {device, std::move(net), std::move(words), config, source};
}

}  // namespace detail

/// Reads a model: a folder of the hub's layout (config.json, model.safetensors or shards, tokenizer.json if there), or a
/// GGUF file. Errors name the file or tensor: errc::not_found, bad_file, bad_model, not_finite, unsupported.
template <class B, class T = float>
language_model<B, T> load_model(const std::filesystem::path& folder, const load_options& options = {}) {
  if (is_gguf(folder)) {
    const auto file = gguf_model::open(folder);
    return detail::assemble_model<B, T>(file.config(), file.tokenizer(), file, options, folder.string(),
                                        folder.string());
  }
  const model_config stored = read_config(folder);
  const weight_files files = weight_files::open(folder);
  const model_config config = detail::as_language_model(stored, files);
  std::optional<tokenizer> words = tokenizer::find(folder);
  return detail::assemble_model<B, T>(config, std::move(words), files, options, folder.string(),
                                      (folder / "config.json").string());
}

/// The first values of a new model: normal numbers whose deviation follows from each map's width, so that signals keep
/// their size in a model of any width (the customary 0.02 is right at a width of about 2,000 only).
struct initialisation {
  std::uint64_t seed = 0;
  double embedding = 0.1;  ///< deviation of the embedding's numbers
  double gain = 0.9;  ///< of linear maps: deviation gain / √inputs; maps back into the residual stream / √(2 layers)
};

/// A new model with random weights, norms one, biases zero. Each number depends on the seed and its place alone.
template <class B, class T = float>
language_model<B, T> make_model(const model_config& config, std::optional<tokenizer> words,
                                const initialisation& first = {}, const load_options& options = {}) {
  config.check("model_config");
  if (words && words->size() > config.vocabulary)
    throw error(errc::bad_model, "model_config",
                join("the tokenizer has ", words->size(), " tokens, the model ", config.vocabulary));
  const auto device = detail::make_device<B>(options);
  std::uint64_t which = 0;
  auto net = make_network<B, T>(device, config, config.usual_positions(), [&](const std::string& name, shape extent) {
    std::vector<T> host(static_cast<std::size_t>(extent.size()), T(0));
    const std::uint64_t key = derive_key(first.seed, which++);
    double deviation = first.gain / std::sqrt(static_cast<double>(extent.columns));
    const auto ends = [&](std::initializer_list<std::string_view> list) {
      return std::any_of(list.begin(), list.end(), [&](std::string_view end) { return name.ends_with(end); });
    };
    if (detail::is_table(name)) deviation = first.embedding / config.embedding_factor;
    if (ends({"o_proj.weight", "down_proj.weight", "c_proj.weight", "out_proj.weight", "dense.weight",
              "dense_4h_to_h.weight", "fc2.weight", "fc_out.weight"}))
      deviation /= std::sqrt(2.0 * static_cast<double>(config.layers));
    if (detail::is_vector(name) && !name.ends_with(".bias")) {
      std::fill(host.begin(), host.end(), static_cast<T>(1 - config.norm_offset));
    } else if (!name.ends_with(".bias")) {
      for (std::size_t i = 0; i < host.size(); ++i)
        host[i] = static_cast<T>(deviation *
                                 box_muller(uniform_double(philox_word(key, 4 * i), philox_word(key, 4 * i + 1)),
                                            uniform_double(philox_word(key, 4 * i + 2), philox_word(key, 4 * i + 3))));
    }
    if (const auto format = detail::wanted_format(name, extent, options.storage)) {
      const std::vector<float> numbers(host.begin(), host.end());
      return detail::packed_weight<B, T>(device, pack(numbers, extent, *format));
    }
    return detail::finite_weight<B, T>(device, name, extent, host);
  });
  return {device, std::move(net), std::move(words), config, "plumb-model"};
}

/// Writes a folder that transformers reads: config.json, model.safetensors (fp32 or fp64), tokenizer.json.
template <class B, class T>
void save_model(const language_model<B, T>& model, const std::filesystem::path& folder) {
  make_folder(folder);
  detail::stored_tensors<T> tensors(model.config(), detail::dtype_of<T>);
  std::set<const void*> seen;
  model.network().for_each_weight([&](const std::string& name, weight_ptr<B, T>& w) {
    if (seen.insert(w.get()).second) tensors.add(name, w->extent(), w->host());  // a tied head once, as the hub does
  });
  write_safetensors(folder / "model.safetensors", tensors.list(), {{"format", "pt"}});
  auto config = model.config();
  config.dtype = sizeof(T) == 8 ? "float64" : "float32";
  write_config(config, folder);
  if (model.has_tokenizer()) model.tokenizer().save(folder);
}

}  // namespace plumb::inline v0

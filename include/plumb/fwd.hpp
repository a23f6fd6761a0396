// SPDX-License-Identifier: BSL-1.0
// Names without definitions, for headers that only mention plumb's types.
#pragma once

namespace plumb::inline v0 {

// Backends, each a tag type.
struct reference;
struct cpu;
struct cuda;

class error;
class forest;
class tokenizer;
struct example;
struct fit_options;
struct fit_result;
struct model_config;
struct log_entry;

template <class B, class T>
class tensor;
template <class B, class T>
class tape;
template <class B, class T>
class network;
template <class B, class T>
class language_model;
template <class B, class T>
class policy;

// Objectives.
struct dpo;
struct sft;
struct sft_chosen;

}  // namespace plumb::inline v0

// SPDX-License-Identifier: BSL-1.0
// plumb's own function bodies, without those of Boost.JSON: for programs that link Boost's own compiled library
// (`Boost::json`). They include plumb/models/families_impl.hpp as well, there or in a file that is compiled beside it.
#pragma once

#include <plumb/backend/cpu_device_impl.hpp>
#include <plumb/backend/cpu_kernels_impl.hpp>
#include <plumb/core/pattern_impl.hpp>
#include <plumb/data/messages_impl.hpp>
#include <plumb/data/mixture_impl.hpp>
#include <plumb/data/read_impl.hpp>
#include <plumb/data/read_labelled_impl.hpp>
#include <plumb/data/read_ranked_impl.hpp>
#include <plumb/data/read_sampled_impl.hpp>
#include <plumb/data/read_unpaired_impl.hpp>
#include <plumb/data/row_file_impl.hpp>
#include <plumb/data/row_impl.hpp>
#include <plumb/data/teacher_words_impl.hpp>
#include <plumb/io/file_impl.hpp>
#include <plumb/io/ggml_type_impl.hpp>
#include <plumb/io/gguf_impl.hpp>
#include <plumb/io/gguf_write_impl.hpp>
#include <plumb/io/json_impl.hpp>
#include <plumb/io/json_lines_impl.hpp>
#include <plumb/io/json_parse_impl.hpp>
#include <plumb/io/json_write_impl.hpp>
#include <plumb/io/safetensors_header_impl.hpp>
#include <plumb/io/safetensors_impl.hpp>
#include <plumb/io/safetensors_write_impl.hpp>
#include <plumb/io/weights_impl.hpp>
#include <plumb/models/adapter_config_impl.hpp>
#include <plumb/models/adapter_options_impl.hpp>
#include <plumb/models/config_file_impl.hpp>
#include <plumb/models/gguf_model_impl.hpp>
#include <plumb/models/gguf_names_impl.hpp>
#include <plumb/models/gguf_write_model_impl.hpp>
#include <plumb/models/model_files_impl.hpp>
#include <plumb/models/score_head_files_impl.hpp>
#include <plumb/rollout/logistic_regression_impl.hpp>
#include <plumb/text/chat_template_impl.hpp>
#include <plumb/text/gguf_vocabulary_write_impl.hpp>
#include <plumb/text/template_impl.hpp>
#include <plumb/text/tokenizer_impl.hpp>
#include <plumb/text/train_bpe_impl.hpp>
#include <plumb/train/metrics_log_impl.hpp>
#include <plumb/train/model_card_impl.hpp>
#include <plumb/train/report_impl.hpp>
#include <plumb/train/run_state_impl.hpp>

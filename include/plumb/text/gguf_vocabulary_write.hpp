// SPDX-License-Identifier: BSL-1.0
// A tokenizer as the metadata of a GGUF file.
#pragma once

#include <string>

#include <plumb/core/types.hpp>
#include <plumb/io/gguf_write.hpp>
#include <plumb/text/tokenizer.hpp>

namespace plumb::inline v0 {

/// Adds "tokenizer.ggml.…" for a model of `vocabulary` rows; rows without a token get the name [PADn], as llama.cpp's
/// own converter gives them. Byte-level BPE becomes "gpt2", SentencePiece-style BPE (with byte fallback) "llama", whose
/// scores are taken from the order of the merges. Anything else, and a way of cutting words that llama.cpp has no name
/// for, is `unsupported`; `place` names the file in errors.
void write_gguf_vocabulary(const tokenizer& words, index_t vocabulary, gguf_metadata& out, const std::string& place);

}  // namespace plumb::inline v0

// SPDX-License-Identifier: BSL-1.0
// config.json of each family: read, checked, written so that transformers reads it. Bodies: config_file_impl.hpp.
#pragma once

#include <filesystem>

#include <plumb/models/config.hpp>

namespace plumb::inline v0 {

/// Reads `folder/config.json` (and end-of-text ids from generation_config.json, if there).
/// Errors: errc::not_found, errc::bad_file, errc::bad_model, errc::unsupported for other families.
model_config read_config(const std::filesystem::path& folder);

/// Writes config.json as transformers reads it.
void write_config(const model_config& c, const std::filesystem::path& folder);

}  // namespace plumb::inline v0

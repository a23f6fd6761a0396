// SPDX-License-Identifier: BSL-1.0
// Models on the backend `reference`, with numbers of type double.
#include "engine_of.hpp"

#include <plumb/backend/reference.hpp>

namespace program {
template std::unique_ptr<engine> open_engine<reference, double>(const std::filesystem::path&, const load_options&);
}  // namespace program

// SPDX-License-Identifier: BSL-1.0
// Models on the backend `cpu`, with numbers of type float.
#include "engine_of.hpp"

#include <plumb/backend/cpu.hpp>

namespace program {
template std::unique_ptr<engine> open_engine<cpu, float>(const std::filesystem::path&, const load_options&);
}  // namespace program

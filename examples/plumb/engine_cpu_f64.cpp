// SPDX-License-Identifier: BSL-1.0
// Models on the backend `cpu`, with numbers of type double.
#include "engine_of.hpp"

#include <plumb/backend/cpu.hpp>

namespace program {
template std::unique_ptr<engine> open_engine<cpu, double>(const std::filesystem::path&, const load_options&);
}  // namespace program

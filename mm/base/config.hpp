// Build options as constants: `if constexpr (config::debug)`, never #ifdef, so every branch compiles.
// SPDX-License-Identifier: MIT
#pragma once
#include "config_values.h"  // CONFIG_name for every OPTION; generated for each profile

namespace memory::config {

#define OPTION(type, name, value, help) inline constexpr type name = CONFIG_##name;
#include "mm/base/config.def"
#undef OPTION

}  // namespace memory::config

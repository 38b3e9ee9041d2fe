// CHECK is always on. DCHECK compiles everywhere and runs where config::debug says so.
// Both state what cannot happen; what can happen is a Result.
// SPDX-License-Identifier: MIT
#pragma once
#include "mm/base/config.hpp"
#include "mm/base/platform.hpp"

#define CHECK(condition)                                         \
  do {                                                           \
    if (!(condition)) [[unlikely]]                               \
      ::memory::platform::panic("CHECK(" #condition ") failed"); \
  } while (false)

#define DCHECK(condition)                                    \
  do {                                                       \
    if constexpr (::memory::config::debug) CHECK(condition); \
  } while (false)

// Registers of devices in the kernel's half of virtual memory, uncached.
// SPDX-License-Identifier: MIT
#pragma once
#include <cstddef>

#include "mm/base/result.hpp"
#include "mm/base/types.hpp"

namespace kernel {

// Maps one page of registers, read-write, uncached, not executable, for good; the same page again gives the same
// address. Memory has been started; only while one CPU runs. Fails with too_big when the window is full.
memory::Result<std::byte*> map_registers(memory::PhysAddr page);

}  // namespace kernel

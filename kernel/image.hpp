// Where the parts of the kernel image lie: the labels of linker.ld as addresses.
// SPDX-License-Identifier: MIT
#pragma once
#include <cstdint>

#include "mm/base/types.hpp"

extern "C" {
extern const unsigned char kernel_image_start[];
extern const unsigned char kernel_image_end[];
extern const unsigned char text_start[];
extern const unsigned char text_end[];
extern const unsigned char rodata_start[];
extern const unsigned char rodata_end[];
extern const unsigned char data_start[];
extern const unsigned char data_end[];
extern const unsigned char bss_start[];
extern const unsigned char bss_end[];
}

namespace kernel {

inline memory::VirtAddr address_of(const unsigned char* label) {
  return {reinterpret_cast<std::uint64_t>(label)};
}

}  // namespace kernel

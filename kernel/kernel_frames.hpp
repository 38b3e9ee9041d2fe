// KernelFrames: page tables, and what windows of the kernel show, out of the frame allocator.
// SPDX-License-Identifier: MIT
#pragma once
#include "mm/memory_manager.hpp"
#include "mm/virtual/map_builder.hpp"

namespace kernel {

// Reached through the direct map, where Gfp::kernel's frames always are.
class KernelFrames final : public memory::TableFrames {
 public:
  memory::Result<memory::PhysAddr> fresh() override {
    const memory::FrameNumber frame = TRY(memory::manager().alloc_pages(memory::Order{0}));
    memory::platform::clear_page(memory::manager().physical().frames().open(frame).bytes());
    return memory::address_of(frame);
  }
  memory::PageTable& open(memory::PhysAddr table) override {
    return *reinterpret_cast<memory::PageTable*>(
        memory::manager().physical().frames().open(memory::frame_at(table)).bytes());
  }
};

}  // namespace kernel

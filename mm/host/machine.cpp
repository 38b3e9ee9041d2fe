// host::Machine: sparse storage from mmap.
// SPDX-License-Identifier: MIT
#include "mm/host/machine.hpp"

#include <sys/mman.h>

#include <algorithm>
#include <new>

namespace memory::host {

Result<Machine*> Machine::create(const MachineShape& shape) {
  const std::size_t bytes = TRY(memory::Machine::storage_bytes(shape));
  // RAM ends the storage, as memory::Machine draws it, in whole pageblocks; it begins where a largest block may.
  constexpr std::size_t kBlock = bytes_in(kMaxOrder);
  const std::size_t ram = std::max(shape.memory.back().end, shape.room_end)
                              .aligned_up(FrameMap::kFramesPerBlock * kPageSize)
                              .value;
  const std::size_t mapped = bytes + kBlock;
  void* mapping =
      mmap(nullptr, mapped, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (mapping == MAP_FAILED) throw std::bad_alloc();
  auto owner = std::unique_ptr<Machine>(new Machine({static_cast<std::byte*>(mapping), mapped}));
  const std::uint64_t before = reinterpret_cast<std::uint64_t>(mapping) + bytes - ram;
  std::byte* const storage = owner->mapping_.data() + (kBlock - before % kBlock) % kBlock;
  owner->machine_ = TRY(memory::Machine::create({storage, bytes}, memory::Machine::Contents::cleared, shape));
  const Cpu cpu(owner->machine_->cpu(0));
  owner->machine_->start();
  return owner.release();
}

Machine::~Machine() {
  if (machine_ != nullptr) machine_->~Machine();
  unpoison_all(mapping_.data(), mapping_.size());
  munmap(mapping_.data(), mapping_.size());
}

}  // namespace memory::host

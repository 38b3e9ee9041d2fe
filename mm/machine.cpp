// Machine: its storage, its shape checked, its start.
// SPDX-License-Identifier: MIT
#include "mm/machine.hpp"

#include <algorithm>
#include <cstring>
#include <new>

#include "mm/layout.hpp"

namespace memory {

namespace {

std::uint64_t limit_of(const MachineShape& shape) {  // frames, whole pageblocks
  return std::max(shape.memory.back().end, shape.room_end)
             .aligned_up(FrameMap::kFramesPerBlock * kPageSize)
             .value /
         kPageSize;
}

std::size_t arrays_bytes(std::uint64_t limit) {
  const std::size_t bytes =
      sizeof(Machine) + limit * sizeof(Frame) + limit / FrameMap::kFramesPerBlock * sizeof(Pageblock);
  return (bytes + kPageSize - 1) / kPageSize * kPageSize;
}

// Ascending, disjoint, whole frames.
bool well_formed(std::span<const PhysRange> ranges) {
  PhysAddr last{0};
  for (const PhysRange& range : ranges) {
    if (range.first < last || range.end < range.first) return false;
    if (!range.first.aligned_to(kPageSize) || !range.end.aligned_to(kPageSize)) return false;
    last = range.end;
  }
  return true;
}

}  // namespace

Result<std::size_t> Machine::storage_bytes(const MachineShape& shape) {
  TRY(Result<void>(check(shape)));
  const std::uint64_t limit = limit_of(shape);
  return arrays_bytes(limit) + limit * kPageSize;
}

Error Machine::check(const MachineShape& shape) {
  if (shape.cpus > config::max_cpus || shape.memory.size() > std::tuple_size_v<decltype(BootInfo::memory)> ||
      shape.reserved.size() > std::tuple_size_v<decltype(BootInfo::reserved)>)
    return Error::too_big;
  if (shape.cpus == 0 || !well_formed(shape.memory) || !well_formed(shape.reserved)) return Error::invalid;
  if (std::all_of(shape.memory.begin(), shape.memory.end(),
                  [](const PhysRange& memory) { return memory.empty(); }))
    return Error::invalid;
  for (const PhysRange& reserved : shape.reserved)
    if (std::none_of(shape.memory.begin(), shape.memory.end(),
                     [&](const PhysRange& memory) { return memory.contains(reserved); }))
      return Error::invalid;
  constexpr std::uint64_t kLimit = FrameMap::kMaxSections * FrameMap::kFramesPerSection * kPageSize;
  return std::max(shape.memory.back().end, shape.room_end).value > kLimit ? Error::too_big : Error::ok;
}

Result<Machine*> Machine::create(std::span<std::byte> storage, Contents contents, const MachineShape& shape) {
  const std::size_t bytes = TRY(storage_bytes(shape));
  const std::uint64_t limit = limit_of(shape);
  const std::size_t arrays = arrays_bytes(limit);
  const bool aligned = reinterpret_cast<std::uintptr_t>(storage.data()) % kPageSize == 0;
  if (!aligned || storage.size() < bytes) return Error::invalid;
  if (contents == Contents::unknown) std::memset(storage.data(), 0, arrays);

  auto* const frames = reinterpret_cast<Frame*>(storage.data() + sizeof(Machine));
  return new (storage.data()) Machine(shape, {.frames = frames,
                                              .blocks = reinterpret_cast<Pageblock*>(frames + limit),
                                              .direct_map = storage.data() + arrays,
                                              .direct_end = shape.direct_end});
}

Machine::Machine(const MachineShape& shape, const MemoryManager::Storage& storage)
    : cpu_count_(shape.cpus),
      caching_(shape.caching),
      room_(PhysAddr{limit_of(shape) * kPageSize}),
      beyond_(storage.direct_map),
      manager_(storage, std::span<PerCpu* const>(cpu_pointers_.data(), shape.cpus), record_,
               shape.on_misuse) {
  layout::fill(record_);
  for (unsigned n = 0; n < cpu_count_; ++n) {
    cpus_[n].number = n;
    cpu_pointers_[n] = &cpus_[n];
  }
  manager_.directories().set_kind(shape.top, PageLevel::one_gib, nullptr);
  for (const PhysRange& range : shape.memory)
    info_.memory[info_.memory_ranges++] = {range, MemoryKind::available};
  for (const PhysRange& range : shape.reserved) info_.reserved[info_.reserved_ranges++] = range;
}

// Storage for all frames up to the room's end is there from the start, and cleared.
Result<std::size_t> Machine::Room::map(PhysRange memory, PhysAddr) {
  if (memory.end > end_) return Error::too_big;
  return std::size_t{0};
}

Result<void> Machine::add_memory(PhysRange memory) { return physical().add_memory(memory, room_); }

void Machine::start() {
  frames().show_beyond(beyond_);
  physical().set_caching(caching_);
  early_.emplace(info_, PhysAddr{config::max_memory_gib * 1_GiB});  // too large for a kernel stack
  manager_.start(info_, *early_);
}

}  // namespace memory

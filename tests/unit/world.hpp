// World: a small machine of its own for one test, on the host and in the kernel, with this CPU standing on
// it.
//
// A home answers two hooks beside those of unit.hpp. Both are over at the end of the test, however it ends:
// the home takes all storage back and stands on its own CPU again, also after a panic that threw the World
// away.
// SPDX-License-Identifier: MIT
#pragma once
#include <new>
#include <span>
#include <utility>

#include "mm/machine.hpp"
#include "tests/unit/unit.hpp"

namespace unit {

// What every home offers to each test, over all its calls of storage(), and no more.
inline constexpr std::size_t kStorageBytes = 26 << 20;

// `bytes` of page-aligned storage that nobody else uses until the test ends; their contents are unknown, all
// of them may be read and written. Empty when the home has not that much left.
std::span<std::byte> storage(std::size_t bytes);

// Makes platform::percpu() be `cpu`, which nobody else stands on; the former one. Interrupts that come
// meanwhile count on `cpu` too. Precondition: `cpu` lives until another is stood on, and no lock is held.
memory::PerCpu* stand_on(memory::PerCpu* cpu);

// A memory::Machine in storage of its own, started, with this CPU as its CPU 0 until the World ends. Worlds
// nest. Frame it needs on the stack: a few words. ASSERT(world.ok()) first.
class World {
 public:
  explicit World(const memory::MachineShape& shape) {
    const auto bytes = memory::Machine::storage_bytes(shape);
    if (!bytes.ok()) return;
    const auto room = storage(bytes.take());
    if (room.empty()) return;
    const auto made = memory::Machine::create(room, memory::Machine::Contents::unknown, shape);
    if (!made.ok()) return;
    machine_ = made.take();
    former_ = stand_on(&machine_->cpu(0));
    machine_->start();
  }
  ~World() {
    if (machine_ == nullptr) return;
    stand_on(former_);
    machine_->~Machine();
  }
  World(const World&) = delete;
  World& operator=(const World&) = delete;

  // The storage was there, the shape was good, and the machine runs.
  bool ok() const { return machine_ != nullptr; }
  memory::Machine& operator*() { return *machine_; }
  memory::Machine* operator->() { return machine_; }

 private:
  memory::Machine* machine_ = nullptr;
  memory::PerCpu* former_ = nullptr;
};

// A T in storage of its own, for what is too large for a stack: never destroyed. nullptr when there is no
// room.
template <typename T, typename... Args>
T* fresh(Args&&... args) {
  const auto room = storage(sizeof(T));
  return room.empty() ? nullptr : new (room.data()) T(std::forward<Args>(args)...);
}

// One number for everything that the frame allocator of that machine keeps, less its totals of what went
// wrong: equal states are equal numbers.
inline std::uint64_t fingerprint(memory::Machine& machine) {
  std::uint64_t sum = 0xcbf2'9ce4'8422'2325;
  const auto mix_word = [&sum](std::uint64_t word) {
    sum = (sum ^ word) * 0x9e37'79b9'7f4a'7c15;
    sum ^= sum >> 29;
  };
  const auto mix = [&mix_word](const void* from, std::size_t bytes) {
    const auto* words = static_cast<const std::uint64_t*>(from);
    for (std::size_t n = 0; n < bytes / 8; ++n) mix_word(words[n]);
  };
  const memory::FrameTable& frames = machine.frames();
  for (std::uint32_t block = 0; block < frames.block_limit(); ++block) {
    if (!frames.block_present(block)) continue;
    mix(&frames.block(block), sizeof(memory::Pageblock));
    mix(&frames[memory::FrameNumber{block * memory::Pageblock::kFrames}],
        memory::Pageblock::kFrames * sizeof(memory::Frame));
  }
  for (const memory::Zone& zone : machine.physical().node().zones())
    mix(zone.record().lists, sizeof(memory::BuddyLists));
  for (const memory::FrameCache& cache : machine.physical().caches().all())
    for (std::size_t place = 0; place < memory::FrameCache::kPairs; ++place)
      for (const memory::Magazine* const magazine : cache.own(place))
        for (std::uint32_t n = 0; n < magazine->count; ++n) mix_word(magazine->blocks()[n]);
  return sum;
}

// Whether touching freed memory is reported at once (ASan), instead of when it is handed out again.
#if defined(__SANITIZE_ADDRESS__)
inline constexpr bool kAddressSanitizer = true;
#else
inline constexpr bool kAddressSanitizer = false;
#endif

// Ranges by frame numbers, as tests think of them: frames(0, 2048).
constexpr memory::PhysRange frames(std::uint64_t first, std::uint64_t end) {
  return {memory::PhysAddr{first * memory::kPageSize}, memory::PhysAddr{end * memory::kPageSize}};
}

}  // namespace unit

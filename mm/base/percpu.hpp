// PerCpu: everything that one CPU owns, in one block reached by platform::percpu().
// SPDX-License-Identifier: MIT
#pragma once
#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>

namespace memory {

inline constexpr std::size_t kLockRanks = 14;  // with `none`: sync.hpp asserts it

class LockSite;  // sync.hpp

// The lock ranks held, innermost last, and in builds that check what is waited for just now. See sync.hpp.
struct HeldRanks {
  std::array<std::uint8_t, kLockRanks> ranks{};
  std::uint8_t depth = 0;
  bool told = false;        // that this wait takes long
  std::uint8_t wanted = 0;  // the rank; written last. 0: this does not wait for a lock
  std::uint32_t line = 0;   // who waits
  const char* file = nullptr;
  const LockSite* holder = nullptr;  // where the holder says where it took the lock
  std::uint64_t since_ns = 0;
};

// Says whose turn it is on what one CPU keeps of a shared store: the first word of such a cache. Taken by one atomic
// operation (acquire), let go by a store (release), so another CPU, a test or a shrinker may take it too and sees what
// was written; who finds it taken does without, or spins with preemption on. It is no lock: nobody waits for it with a
// lock in hand. An interrupt handler may find it taken by what it interrupted, a thread by one that was preempted.
class OwnerFlag {
 public:
  constexpr OwnerFlag() = default;
  constexpr explicit OwnerFlag(std::uint32_t taken) : taken_(taken) {}
  // A bit that is set, not a value that is exchanged: one instruction and a jump.
  bool try_acquire() { return (taken_.fetch_or(1, std::memory_order_acquire) & 1) == 0; }
  void release() { taken_.store(0, std::memory_order_release); }

 private:
  std::atomic<std::uint32_t> taken_{0};  // [a]
};

// Of a CPU that has no cache: taken for ever.
inline constinit OwnerFlag nobodys_cache{1};

// Room for counters. counters.def belongs to a higher floor, which asserts that it fits.
inline constexpr std::size_t kCounterSlots = 64;

// Room for each object cache's magazine. The heap's floor, higher up, says what is in it.
inline constexpr std::size_t kCacheSlots = 240;

// Standard layout: assembly, Python and GDB read it. One for each CPU of a machine; a machine owns its
// blocks, so counters never mix between two machines in one process.
struct alignas(64) PerCpu {
  PerCpu* self = this;       // [I] what %gs:0 holds on the machine
  std::uint32_t number = 0;  // [I] dense, 0 .. config::max_cpus - 1
  // How often preemption is off, and in the highest bit whether nobody asks this CPU to take another thread: so
  // one decrement says by its zero flag that the last one let go and somebody asks.
  static constexpr std::uint32_t kNobodyAsks = 1u << 31;
  std::uint32_t preempt = kNobodyAsks;
  std::uint32_t preempt_depth() const { return preempt & ~kNobodyAsks; }
  // [I] since memory came into service: the first word of its FrameCache, of a higher floor.
  OwnerFlag* frame_cache = &nobodys_cache;
  HeldRanks held_spin{};
  std::array<std::atomic<std::uint32_t>, kLockRanks>
      contended{};  // [a] times that a lock was not free, by rank
  // The home's own, null on the host: what it knows of this CPU beyond mm/, and the thread that runs here.
  void* home = nullptr;
  void* thread = nullptr;
  alignas(64) std::array<std::atomic<std::int64_t>, kCounterSlots> counters{};   // [a] this CPU's share
  alignas(64) std::array<std::atomic<std::uintptr_t>, kCacheSlots> magazines{};  // [a] by the cache's number
};

}  // namespace memory

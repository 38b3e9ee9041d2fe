// Machine: a whole small computer in one piece of storage, for tests, fuzzers and Python; as many as one
// likes.
// SPDX-License-Identifier: MIT
#pragma once
#include <optional>
#include <span>

#include "mm/memory_manager.hpp"

namespace memory {

// What a machine is built with. `memory` ascends and is disjoint; all ranges are whole frames. Frame 0 may be
// used.
struct MachineShape {
  std::span<const PhysRange> memory{};
  std::span<const PhysRange> reserved{};  // inside `memory`, never handed out; ascending, disjoint
  unsigned cpus = 1;                      // at most config::max_cpus
  MisusePolicy on_misuse = MisusePolicy::refuse;
  PhysAddr direct_end{config::max_memory_gib * 1_GiB};  // frames from here on are HIGHMEM
  PhysAddr room_end{};                                  // memory may be added up to here
  FrameCaches::Service caching = FrameCaches::Service::on;
  PageLevel top = PageLevel::gib_512;  // of trees of page tables
};

// Runs the same start as the kernel, less page tables and the CPU. Its storage holds it, its frame array and
// its RAM:
//
//   | Machine | Frame[] | Pageblock[] | pad to a page | RAM: frame 0 .. limit |
//
// The storage belongs to the caller and outlives the machine. Nothing is freed by destruction but the machine
// itself.
class Machine {
 public:
  // Bytes of storage for that shape; page aligned. Fails with too_big when the shape has too many ranges or
  // CPUs or reaches beyond config::max_memory_gib; invalid when it has no CPU or no memory, when ranges are
  // not whole frames, do not ascend or overlap, or when a reserved one is not inside one of memory.
  static Result<std::size_t> storage_bytes(const MachineShape& shape);

  // Fails as storage_bytes() does, and with invalid when the storage is too small or not page aligned.
  // Everything but the RAM must be cleared when `contents` says so, else it is cleared here.
  enum class Contents : std::uint8_t { cleared, unknown };
  static Result<Machine*> create(std::span<std::byte> storage, Contents contents, const MachineShape& shape);

  ~Machine() = default;
  Machine(const Machine&) = delete;
  Machine& operator=(const Machine&) = delete;

  MemoryManager& manager() { return manager_; }
  Physical& physical() { return manager_.physical(); }
  FrameTable& frames() { return manager_.physical().frames(); }
  PerCpu& cpu(unsigned number) { return cpus_[number]; }
  unsigned cpu_count() const { return cpu_count_; }
  std::int64_t counter(stats::Counter counter) const { return manager_.counter(counter); }
  const stats::Record& record() const { return record_; }
  stats::Record& record() { return record_; }

  // Windows of frames beyond the direct map that are open.
  std::uint32_t windows() const { return beyond_.open(); }

  // Takes the memory into service. Separate from create(), so that it counts on one of this machine's CPUs:
  // the caller stands on it. Once.
  void start();

  // As Physical::add_memory; too_big beyond the shape's room_end.
  Result<void> add_memory(PhysRange memory);

 private:
  class Room final : public StorageMapper {
   public:
    explicit Room(PhysAddr end) : end_(end) {}
    Result<std::size_t> map(PhysRange memory, PhysAddr direct_end) override;

   private:
    PhysAddr end_;
  };

  // Its storage holds every frame; what kmap would show is counted, to see that each comes to an end.
  class Beyond final : public FrameWindows {
   public:
    explicit Beyond(std::byte* ram) : ram_(ram) {}
    std::byte* open(FrameNumber number) override {
      open_.fetch_add(1, std::memory_order_relaxed);
      return ram_ + address_of(number).value;
    }
    void close(std::byte*) override { open_.fetch_sub(1, std::memory_order_relaxed); }
    std::uint32_t open() const { return open_.load(std::memory_order_relaxed); }

   private:
    std::byte* ram_;
    std::atomic<std::uint32_t> open_{0};
  };

  Machine(const MachineShape& shape, const MemoryManager::Storage& storage);
  static Error check(const MachineShape& shape);

  BootInfo info_;
  std::optional<EarlyAllocator> early_;
  std::array<PerCpu, config::max_cpus> cpus_{};
  std::array<PerCpu*, config::max_cpus> cpu_pointers_{};
  unsigned cpu_count_;
  FrameCaches::Service caching_;
  Room room_;
  Beyond beyond_;
  stats::Record record_;
  MemoryManager manager_;
};

}  // namespace memory

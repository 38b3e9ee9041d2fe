// Vmalloc: memory that is in one piece in kernel addresses only, device memory, and an area for each CPU.
// SPDX-License-Identifier: MIT
#pragma once
#include "mm/base/format.hpp"
#include "mm/heap/object_cache.hpp"
#include "mm/virtual/kernel_range.hpp"
#include "mm/virtual/page_table.hpp"

namespace memory {

class Inspector;

// Who asks, which the range keeps: faults and vmallocinfo name it.
struct Origin {
  RangeOwner owner;
  std::uint64_t caller = 0;  // an address in the program
  std::uint32_t number = 0;

  // The line that says this.
  [[gnu::noinline]] static Origin here(RangeOwner owner, std::uint32_t number = 0) {
    return {owner, reinterpret_cast<std::uint64_t>(__builtin_return_address(0)), number};
  }
};

// Everything is a range with a guard page behind it, mapped for the kernel, to read and write, never to execute. Each call
// does all of what it was asked or nothing. From any CPU, not from interrupt handlers, and with no spin lock held, because
// taking something away waits for other CPUs.
class Vmalloc {
 public:
  enum class Contents : std::uint8_t { undefined, zeroed };

  // All of them outlive it; `tables` has the window's addresses for itself.
  Vmalloc(PageTables& tables, KernelRanges& ranges)
      : physical_(tables.physical()), tables_(tables), ranges_(ranges) {}
  Vmalloc(const Vmalloc&) = delete;
  Vmalloc& operator=(const Vmalloc&) = delete;

  // At least `bytes`, page aligned; in blocks of 2 MiB as far as whole ones fit and can be had. Fails with invalid for no
  // bytes, no_memory when there are no frames, tables, records or addresses.
  Result<VirtAddr> allocate(std::uint64_t bytes, const Origin& origin,
                            Contents contents = Contents::undefined);
  // Takes back what allocate() returned. Fails with a misuse error, nothing changed, as KernelRanges::take_back, and with
  // wrong_range when that is something else's.
  Result<void> release(VirtAddr at);

  // Shows [physical, physical + bytes), whatever its alignment, and returns where its first byte appears. Fails with
  // invalid for no bytes or addresses that wrap, no_access where a byte of it is RAM, no_memory as allocate().
  Result<VirtAddr> map_device(PhysAddr physical, std::uint64_t bytes, CacheType cache, const Origin& origin);
  // Takes back what map_device() returned; any address in its first page will do.
  Result<void> unmap_device(VirtAddr at);

  // An area of `bytes` for each of so many CPUs, zeroed, each with a guard page behind it.
  struct PerCpuAreas {
    VirtAddr first;        // of CPU 0
    std::uint64_t stride;  // from one CPU's to the next
    VirtAddr of(unsigned cpu) const { return first + cpu * stride; }
  };
  Result<PerCpuAreas> allocate_per_cpu(std::uint64_t bytes, unsigned cpus, const Origin& origin);
  Result<void> release_per_cpu(const PerCpuAreas& areas);

  // A body of whole pages of frames with the guards that are asked for: what stacks are made of.
  struct Frames {
    Contents contents;
    Gfp zone;  // highmem: the range is the only way to them
  };
  Result<KernelRange*> allocate_range(const RangeRequest& request, Frames what);
  // Precondition: it came from allocate_range(), or KernelRanges::take_back().
  void release_range(KernelRange& range);

  KernelRanges& ranges() { return ranges_; }
  const KernelRanges& ranges() const { return ranges_; }
  PageTables& tables() const { return tables_; }

  // The bytes behind an address of a body, through the frame: in both homes. Fails with not_found where nothing is
  // mapped, no_access where it is no RAM that opens.
  Result<std::byte*> open(VirtAddr at) const;

  // Linux's /proc/vmallocinfo: range, size, caller, pages, kind. `name` puts a caller's address into words.
  using NameCaller = void (*)(Writer& out, std::uint64_t caller);
  void describe(Inspector& to, NameCaller name) const;

 private:
  Result<void> fill(VirtAddr at, std::uint64_t pages, Frames what);
  Result<std::uint64_t> fill_some(VirtAddr at, std::uint64_t pages, Frames what, Order& largest);
  struct Blocks;
  Result<void> take_blocks(Blocks& blocks, std::uint64_t pages, Order& largest, Gfp zone);
  void give_back(const Blocks& blocks);
  Result<void> fill_large(VirtAddr at, Frames what);
  void empty(VirtAddr at, std::uint64_t bytes);
  void clear(FrameRun run);
  bool holds_ram(PhysRange range) const;

  Physical& physical_;
  PageTables& tables_;
  KernelRanges& ranges_;
};

}  // namespace memory

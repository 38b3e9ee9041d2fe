// MisuseReport: all that is known of a misuse of the heap, in one record, whichever part of the heap saw it.
// SPDX-License-Identifier: MIT
#pragma once
#include <cstddef>
#include <cstdint>

#include "mm/base/format.hpp"
#include "mm/base/result.hpp"
#include "mm/heap/object_track.hpp"

namespace memory {

class Heap;
class KernelHeap;
class Inspector;
struct Slab;

// Who keeps the memory that a misuse concerns.
enum class Keeper : std::uint8_t {
  nobody,  // the address is of no object
  cache,   // a KmemCache, kmalloc's size classes included
  large,   // kmalloc, in frames of its own
  kernel_heap,
};

// Standard layout: outside readers find the last one of a machine at ManagerRecord::misuse.
struct MisuseReport {
  static constexpr std::size_t kNameBytes = 32;

  std::uint64_t number = 0;   // the machine's n-th; 0: there was none
  std::uint64_t address = 0;  // that was released; of corruption, the first byte that is wrong
  std::uint64_t object = 0;   // the object or block that it concerns; 0: none is known
  std::uint64_t requested =
      0;  // bytes asked for, or where the profile does not record that, what they were served by
  std::uint64_t told = 0;  // of wrong_size: the bytes that the release spoke of
  HeapCall allocated;
  HeapCall freed;
  HeapCall caught;                    // the call that saw it
  char keeper_name[kNameBytes] = {};  // "kmalloc-64", "kernel heap"; empty: nobody
  char given_to[kNameBytes] = {};     // who was to take it back
  Error error = Error::ok;
  Keeper keeper = Keeper::nobody;

  void name_keeper(Keeper which, std::string_view name);
  void name_receiver(std::string_view name);

  // One line: "double free: cache kmalloc-64, address 0x..., object at 0x... of 64 bytes, ...".
  void write(Writer& out) const;
  // The same without what was done and where: "cache kmalloc-64, object at ...".
  void write_object(Writer& out) const;
  void describe(Inspector& to) const;

  void write_keeper(Writer& out) const;
  void write_rest(Writer& out, std::string_view before) const;
};

// Who is told of damage that the heap finds where nobody's call is wrong, and applies the policy. Declared here, implemented
// by the memory manager.
class MisuseWitness {
 public:
  // `site`: the call that came upon it. May panic.
  virtual void tell(MisuseReport& report, std::uint64_t site) = 0;

 protected:
  ~MisuseWitness() = default;
};

// What the floor of objects knows of `address`, whose release failed with `error`. Takes no lock.
MisuseReport report_on_object(const Heap& heap, Error error, const void* address);
// What an access at `address` did to the object of that slot of the guard pool (GuardPool::slot_meant). Takes no lock.
MisuseReport report_on_guard(const Slab& slab, std::uint64_t address);
// The same of the kernel heap's last refusal.
MisuseReport report_on_block(const KernelHeap& heap, Error error);

std::string_view name_of(Keeper keeper);

}  // namespace memory

// KernelHeap: memory of any size in virtually contiguous ranges, which grow and shrink on demand.
// SPDX-License-Identifier: MIT
#pragma once
#include "mm/base/fail.hpp"
#include "mm/base/sync.hpp"
#include "mm/heap/block_heap.hpp"

namespace memory {

class Inspector;
class Sink;

// A heap over a source of pages, for any number of threads; they may sleep in it, so it is not for interrupt handlers
// nor for holders of spin locks. All failures leave it as it was. Misuse is detected here, whatever the profile, and met
// with a policy above: double_free, interior_free, wild_object, corrupt_header, corrupt_link (see BlockHeap).
class KernelHeap {
 public:
  // Pages that a new range or a longer one gets at least, where the source has them; more when there are many ranges.
  static constexpr std::size_t kGrowPages = 16;

  // `source` and `plan` outlive the heap, which takes nothing from them yet. `secret` should be hard to guess.
  KernelHeap(PageSource& source, FailPlan& plan, std::uint64_t secret);
  KernelHeap(const KernelHeap&) = delete;
  KernelHeap& operator=(const KernelHeap&) = delete;

  // `bytes` at a multiple of 16, contents undefined. 0 bytes are a block like any other: the smallest, an address of its
  // own. Fails with no_memory when the source has no more pages, or when no heap could serve that many bytes.
  Result<void*> malloc(std::size_t bytes);
  // At a multiple of `align`, a power of two up to BlockHeap::kMaxAlign; else it fails with invalid.
  Result<void*> memalign(std::size_t align, std::size_t bytes);
  // The block with its contents made `bytes` large, where it is when its neighbour allows, else elsewhere. Null asks for
  // a new one. Fails as malloc() and free(); then the block is what it was.
  Result<void*> realloc(void* payload, std::size_t bytes);
  // Takes a block back. Null is nothing to do.
  Result<void> free(void* payload);
  // What the block's owner may use of it: what was asked for, rounded up.
  Result<std::size_t> usable_bytes(void* payload) const;

  // Gives back all pages that are free at the ends of ranges; how many. free() does so by itself, and keeps some, when
  // many are.
  std::size_t shrink();

  // To be told when a failure is armed in the plan: small requests do not ask it else.
  enum class Plan : std::uint8_t { idle, armed };
  void set_plan(Plan plan);

  // Runs body(const BlockHeap&), which returns a value, while nobody else is in the heap.
  template <typename Body>
  auto inspect(Body&& body) const {
    return blocks_.with([&](const BlockHeap& blocks) { return body(blocks); });
  }

  HeapLevels levels() const;
  HeapFault last_fault() const;
  // For outside readers; changes under the heap's lock.
  const HeapState& state() const { return *state_; }

  // Every invariant: see block_heap.cpp. O(blocks).
  bool validate_heap() const;
  // Bytes that callers may use of all blocks they have.
  std::uint64_t get_total_allocated() const { return levels().allocated_bytes; }
  // Levels and totals of one moment, and the ranges: the one list of what is told of a heap.
  void describe_heapinfo(Inspector& to) const;
  // The same as lines for people.
  void print_statistics(Sink& to) const;

 private:
  Result<void*> malloc_large(std::size_t bytes);
  std::uint64_t finish(BlockHeap& blocks, Result<VirtAddr> found, std::size_t bytes);
  Result<VirtAddr> serve(BlockHeap& blocks, std::size_t bytes, std::size_t align);
  Error expand(BlockHeap& blocks, std::size_t bytes);
  Error grow(BlockHeap& blocks, std::size_t bytes);
  void trim(BlockHeap& blocks);

  std::atomic<std::size_t> small_end_{BlockHeap::kSmallEnd};  // [a] 0 while a failure is planned
  PageSource& source_;
  FailPlan& plan_;
  mutable Guarded<BlockHeap, Mutex<Rank::heap>> blocks_;
  const HeapState* state_ = nullptr;  // [I]
};

}  // namespace memory

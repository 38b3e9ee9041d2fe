// LeakScan: the objects that no pointer leads to any more: a conservative mark from roots through all that they reach.
// SPDX-License-Identifier: MIT
#pragma once
#include <span>

#include "mm/base/range.hpp"
#include "mm/heap/block_heap.hpp"
#include "mm/heap/heap_walk.hpp"

namespace memory {

// Where a scan begins. Every word at a multiple of 8 in [first, end) may be a pointer.
class RootVisitor {
 public:
  virtual void visit(VirtRange words) = 0;

 protected:
  ~RootVisitor() = default;
};

// What the home knows of pointers to the heap: its data, its stacks, registers. Declared here, implemented by each home.
class LeakRoots {
 public:
  // Runs body(context) while nobody else does anything: no other CPU, no interrupt handler, no other thread.
  virtual void while_still(void (*body)(void*), void* context) = 0;
  // Shows all roots to `to`. While still.
  virtual void show(RootVisitor& to) = 0;

 protected:
  ~LeakRoots() = default;
};

class LeakSink {
 public:
  // Once for each leak, by address. Allocates nothing.
  virtual void found(const HeapObject& leak) = 0;

 protected:
  ~LeakSink() = default;
};

struct LeakCount {
  std::uint64_t objects = 0;  // that were judged
  std::uint64_t leaks = 0;
  std::uint64_t leaked_bytes = 0;
  std::uint64_t words = 0;  // that were looked at
};

// Judged are the objects of all caches but those that caches need themselves, kmalloc's large ones included. A pointer to
// any byte of an object holds it, and what is reached is looked through: what was asked for of an object, all of a block of
// frames. Blocks of the kernel heap that are in use count as roots. Not looked through: frames beyond the direct map, and
// what the heap knows itself of its objects, wherever it lies (slabs and their lists, magazines, caches).
//
// Takes no memory and no lock, and leaves no trace but in the tracks' `leak`; how deep a chain of pointers goes costs no stack.
class LeakScan {
 public:
  // Precondition, while it lives: memory stands still (LeakRoots::while_still), and no lock of the heap is held by those who
  // stand. `hidden`: ranges whose words are no roots.
  LeakScan(const Heap& heap, const BlockHeap& blocks, std::span<const VirtRange> hidden)
      : heap_(heap), frames_(heap.physical().frames()), blocks_(blocks), hidden_(hidden) {}
  LeakScan(const LeakScan&) = delete;
  LeakScan& operator=(const LeakScan&) = delete;

  // Where tracks are kept, objects that are known leaks are roots, and what is found is marked as reported.
  LeakCount scan(LeakRoots& roots, LeakSink& sink);

 private:
  struct Roots;

  void root(VirtRange words);
  void look_through(std::uint64_t first, std::uint64_t end);
  void follow(std::uint64_t word);
  void reach_object(Slab& slab, std::uint64_t address);
  void reach_block(FrameNumber number);
  void push(Frame& head);
  void drain();
  void look_through_slab(Slab& slab);
  void look_through_block(FrameNumber head);
  void judge(const HeapObject& object, LeakSink& sink);
  std::uint64_t hidden_from(std::uint64_t at, std::uint64_t end) const;
  std::uint64_t hidden_until(std::uint64_t at) const;

  const Heap& heap_;
  const FrameTable& frames_;
  const BlockHeap& blocks_;
  std::span<const VirtRange> hidden_;
  std::uint32_t grey_ = 0;  // 1 + the first frame of the first block on the list; 0: none
  LeakCount count_;
};

}  // namespace memory

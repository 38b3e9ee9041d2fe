// Frame, one 32-byte record for each 4 KiB frame of memory, and FrameTable, the array of them.
// SPDX-License-Identifier: MIT
#pragma once
#include <array>
#include <atomic>
#include <cstdint>
#include <type_traits>

#include "mm/base/boot_info.hpp"
#include "mm/base/check.hpp"
#include "mm/base/types.hpp"
#include "mm/physical/pageblock.hpp"

namespace memory {

enum class FrameState : std::uint8_t {
  absent = 0,    // no memory there, or not ours: what cleared bytes say
  reserved = 1,  // memory that is never handed out: the kernel image, boot data, tables made at boot
  managed =
      2,  // belongs to the frame allocator; its bit in the Pageblock says free, or inside an allocated block
  allocated = 3,  // first frame of an allocated block, whose order it holds
};

// Legend: [h] meaningful in the first frame of a block only; [a] atomic; [z] the zone's lock. Fields without a user
// yet are zero, and outside readers check that they are.
struct Frame {
  std::atomic<std::uint32_t> references;  // [a] [h] 1 when handed out
  std::atomic<std::uint32_t> mappings;    // [a] page-table entries that name this frame
  std::uint8_t state_order;               // [z] low half FrameState, high half the order [h]
  std::uint8_t zone_node;                 // [I] low two bits zone, high six node
  std::atomic<std::uint8_t> flags;        // [a] FrameFlag
  std::uint8_t tag;                       // [h] what it was allocated for
  std::uint32_t index;                    // page in owner
  std::uint32_t prev;                     // frame numbers: for the lists of higher floors
  std::uint32_t next;
  std::uint64_t owner;  // tagged pointer: object, slab or page-table root

  FrameState state() const { return static_cast<FrameState>(state_order & 0xf); }
  Order order() const { return Order(static_cast<std::uint8_t>(state_order >> 4)); }
  void set(FrameState state, Order order = Order{0}) { state_order = packed(state, order); }
  static constexpr std::uint8_t packed(FrameState state, Order order = Order{0}) {
    return static_cast<std::uint8_t>(static_cast<unsigned>(state) | raw(order) << 4);
  }
};
static_assert(sizeof(Frame) == 32 && std::is_standard_layout_v<Frame>);

enum class FrameFlag : std::uint8_t {
  poisoned = 1 << 0,  // free, and filled with Poison::free_frame since its release
};

// A view of one frame's bytes; closes when it goes out of scope. Only FrameTable::open makes one.
class Window {
 public:
  std::byte* bytes() const { return bytes_; }

 private:
  friend class FrameTable;
  explicit Window(std::byte* bytes) : bytes_(bytes) {}
  std::byte* bytes_;
};

// Frame numbers [first, end).
struct FrameRun {
  std::uint32_t first;
  std::uint32_t end;
};

// What an outside reader follows to the frame array. Standard layout; FrameTable is its only writer. `range` says a
// second time which frames are not absent, so that a reader who finds the two at odds knows which Frame is wrong.
struct FrameMap {
  static constexpr unsigned kFramesPerBlock = Pageblock::kFrames;
  static constexpr unsigned kBlocksPerSection = 64;
  static constexpr unsigned kFramesPerSection = kFramesPerBlock * kBlocksPerSection;  // 128 MiB of memory
  static constexpr std::size_t kMaxSections = std::size_t{config::max_memory_gib} * 8;

  Frame* frames = nullptr;          // [I] indexed by frame number
  Pageblock* blocks = nullptr;      // [I] indexed by frame number / 512
  std::byte* direct_map = nullptr;  // [I] where physical address 0 would appear
  std::uint64_t limit = 0;          // first frame number above every present pageblock
  std::uint64_t present_frames = 0;
  std::array<std::uint64_t, kMaxSections> sections{};       // a bit for each present pageblock
  std::uint64_t ranges = 0;                                 // how many of `range` hold something
  std::array<FrameRun, config::max_memory_ranges> range{};  // ascending, not touching each other
};

// The frame array: a window of virtual memory indexed by frame number. It is present in units of 2 MiB of memory (a
// Pageblock and its 512 Frames); 64 of them are a section. What is not present is not mapped, and every walker skips
// it. Owns nothing; whoever makes it provides cleared storage under everything that it marks present.
class FrameTable {
 public:
  // `direct_map` is where physical address 0 would appear. Both windows start at frame 0.
  FrameTable(Frame* frames, Pageblock* blocks, std::byte* direct_map)
      : map_{.frames = frames, .blocks = blocks, .direct_map = direct_map} {}
  FrameTable(const FrameTable&) = delete;
  FrameTable& operator=(const FrameTable&) = delete;

  // Makes the frames that `memory` covers present as `reserved`, and every other frame of the touched pageblocks
  // absent. Precondition: the storage of those pageblocks is mapped, and cleared where it was not present before;
  // `memory` is whole frames below config::max_memory_gib, above all that was added before.
  void add(PhysRange memory);

  // First frame number above every present pageblock; a multiple of 512.
  FrameNumber limit() const { return FrameNumber{static_cast<std::uint32_t>(map_.limit)}; }
  std::uint32_t block_limit() const {
    return static_cast<std::uint32_t>(map_.limit / FrameMap::kFramesPerBlock);
  }
  // Frames that add() covered.
  std::uint64_t present_frames() const { return map_.present_frames; }

  bool block_present(std::uint32_t block) const {
    return block < block_limit() &&
           (map_.sections[block / FrameMap::kBlocksPerSection] >> block % FrameMap::kBlocksPerSection & 1) !=
               0;
  }
  // True where operator[] may be used: the frame's record exists (its state may still be absent).
  bool has(FrameNumber number) const { return block_present(raw(number) / FrameMap::kFramesPerBlock); }

  // Precondition: has(number).
  Frame& operator[](FrameNumber number) const { return map_.frames[raw(number)]; }
  FrameNumber number_of(const Frame& frame) const {
    return FrameNumber{static_cast<std::uint32_t>(&frame - map_.frames)};
  }
  // Precondition: block_present(number).
  Pageblock& block(std::uint32_t number) const { return map_.blocks[number]; }
  std::uint32_t number_of(const Pageblock& block) const {
    return static_cast<std::uint32_t>(&block - map_.blocks);
  }

  // The only way from a frame to its bytes.
  Window open(FrameNumber number) const { return Window(map_.direct_map + address_of(number).value); }

  // For outside readers.
  const FrameMap& map() const { return map_; }

 private:
  void describe(FrameRun added);

  FrameMap map_;
};

}  // namespace memory

// Frame, one 32-byte record for each 4 KiB frame of memory, and FrameTable, the array of them.
// SPDX-License-Identifier: MIT
#pragma once
#include <array>
#include <atomic>
#include <cstdint>
#include <span>
#include <type_traits>
#include <utility>

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
  cached = 4,     // first frame of a free block that left its zone: in a CPU's magazine, or on its way
};

// Legend: [h] meaningful in the first frame of a block only; [a] atomic; [z] the zone's lock while the block is in its zone,
// whoever holds the block else: its CPU's magazines, its owner. Fields without a user yet are zero, and
// outside readers check that they are.
struct Frame {
  // [a] Low half: references [h], 1 when handed out. High half: mappings, page-table entries that name this frame. One
  // word, so that a release sees in one comparison that nobody else has a hold on the block.
  std::atomic<std::uint64_t> uses;
  std::atomic<std::uint8_t> state_order;  // [a] [z] low half FrameState, high half the order [h]
  std::uint8_t zone_node;                 // [I] low two bits zone, high six node
  std::atomic<std::uint8_t> flags;        // [a] FrameFlag
  std::atomic<std::uint8_t> tag;  // [a] FrameTag, or the number of the object cache whose slab it is in
  std::uint32_t index;            // page in owner
  std::uint32_t prev;             // frame numbers: for the lists of higher floors
  std::uint32_t next;
  std::atomic<std::uint64_t> owner;  // [a] slab, object or page-table root

  FrameState state() const { return static_cast<FrameState>(state_and_order() & 0xf); }
  Order order() const { return Order(static_cast<std::uint8_t>(state_and_order() >> 4)); }
  unsigned zone() const { return zone_node & 3; }
  // Atomic because a broken caller may release what another CPU has in hand; relaxed, because whoever has a
  // block got it through a lock or a magazine, and that ordered everything.
  bool is(FrameState state, Order order = Order{0}) const {
    return state_and_order() == packed(state, order);
  }
  void set(FrameState state, Order order = Order{0}) {
    state_order.store(static_cast<std::uint8_t>(packed(state, order)), std::memory_order_relaxed);
  }
  // What is added to `uses` and taken from it.
  static constexpr std::uint64_t kReference = 1;
  static constexpr std::uint64_t kMapping = std::uint64_t{1} << 32;
  static constexpr std::uint64_t uses_of(std::uint32_t references, std::uint32_t mappings) {
    return references * kReference + mappings * kMapping;
  }
  std::uint32_t references() const {
    return static_cast<std::uint32_t>(uses.load(std::memory_order_relaxed));
  }
  std::uint32_t mappings() const {
    return static_cast<std::uint32_t>(uses.load(std::memory_order_relaxed) >> 32);
  }
  // Nobody but the allocator's caller has a hold on it: one reference, no mapping.
  bool is_unshared() const { return uses.load(std::memory_order_relaxed) == kReference; }

 private:
  // Not cut to a byte, so that an order that does not exist equals no state.
  static constexpr unsigned packed(FrameState state, Order order) {
    return static_cast<unsigned>(state) | raw(order) << 4;
  }
  unsigned state_and_order() const { return state_order.load(std::memory_order_relaxed); }
};
static_assert(sizeof(Frame) == 32 && std::is_standard_layout_v<Frame>);

// What a Frame's tag says, below the numbers' end the object cache. Each kind says which other fields it uses.
enum class FrameTag : std::uint8_t {
  none = 0,
  // 1 .. kCacheSlots - 1: every frame of a slab. owner: its Slab; index: which frame of the slab. In the first frame
  // mappings: objects out of the slab; references 2, so that nobody releases it as a block of frames.
  large_object =
      kCacheSlots,  // first frame of a block that is one object of kmalloc; references 2, for the same reason
  // mappings: present entries; index: the level; owner: the address of the root
  page_table = kCacheSlots + 1,
  heap_range = kCacheSlots + 2,  // every frame of a range of the kernel heap; references 2 in the first
  guard_pool = kCacheSlots + 3,  // every page of the guard pool, reserved. owner: its object's Slab, or 0
};

enum class FrameFlag : std::uint8_t {
  poisoned = 1 << 0,  // free, and filled with Poison::free_frame since its release
};

// Makes frames appear that the direct map does not hold. Declared here, implemented where page tables are.
class FrameWindows {
 public:
  // Shows the frame to this CPU, on which the caller then stays; in any order, as many at once as kMost. Panics when
  // none is left.
  static constexpr unsigned kMost = 8;
  virtual std::byte* open(FrameNumber number) = 0;
  virtual void close(std::byte* bytes) = 0;

 protected:
  ~FrameWindows() = default;
};

// A view of one frame's bytes; closes when it goes out of scope. Only FrameTable::open makes one. It may pin the thread to
// its CPU, so it is not kept for long.
class Window {
 public:
  Window() = default;  // of nothing
  Window(Window&& other) : bytes_(other.bytes_), slots_(std::exchange(other.slots_, nullptr)) {}
  Window& operator=(Window&& other) {
    if (slots_ != nullptr) slots_->close(bytes_);
    bytes_ = other.bytes_;
    slots_ = std::exchange(other.slots_, nullptr);
    return *this;
  }
  ~Window() {
    if (slots_ != nullptr) [[unlikely]]
      slots_->close(bytes_);
  }

  std::byte* bytes() const { return bytes_; }

 private:
  friend class FrameTable;
  explicit Window(std::byte* bytes, FrameWindows* slots = nullptr) : bytes_(bytes), slots_(slots) {}
  std::byte* bytes_ = nullptr;
  FrameWindows* slots_ = nullptr;  // whose the view is; null: the direct map's
};

// Frame numbers [first, end).
struct FrameRun {
  std::uint32_t first;
  std::uint32_t end;
};

// What an outside reader follows to the frame array. Standard layout; FrameTable is its only writer. `range`
// says a second time which frames are not absent, so that a reader who finds the two at odds knows which
// Frame is wrong. `block_zone` is what every release asks, in one byte: whether there is a Frame, and whose it is.
struct FrameMap {
  static constexpr unsigned kFramesPerBlock = Pageblock::kFrames;
  static constexpr unsigned kBlocksPerSection = 64;
  static constexpr unsigned kFramesPerSection = kFramesPerBlock * kBlocksPerSection;  // 128 MiB of memory
  static constexpr std::size_t kMaxSections = std::size_t{config::max_memory_gib} * 8;
  static constexpr std::size_t kMaxBlocks = kMaxSections * kBlocksPerSection;

  std::array<std::atomic<std::uint8_t>, kMaxBlocks> block_zone{};  // [a] 1 + the zone; 0: not present
  Frame* frames = nullptr;                                         // [I] indexed by frame number
  Pageblock* blocks = nullptr;                                     // [I] indexed by frame number / 512
  std::byte* direct_map = nullptr;       // [I] where physical address 0 would appear
  std::uint64_t direct_frames = 0;       // [I] frames from this number on are not in the direct map
  std::atomic<std::uint64_t> limit = 0;  // [a] first frame number above every present pageblock
  std::atomic<std::uint64_t> present_frames = 0;
  std::array<std::atomic<std::uint64_t>, kMaxSections> sections{};  // [a] a bit for each present pageblock
  std::uint64_t ranges = 0;                                         // how many of `range` hold something
  std::array<FrameRun, config::max_memory_ranges> range{};          // ascending, not touching each other
};

// The frame array: a window of virtual memory indexed by frame number. It is present in units of 2 MiB of
// memory (a Pageblock and its 512 Frames); 64 of them are a section. What is not present is not mapped, and
// every walker skips it. Owns nothing; whoever makes it provides cleared storage under everything that it
// marks present.
class FrameTable {
 public:
  // `direct_map` is where physical address 0 would appear, and holds the frames below `direct_end`. All windows
  // start at frame 0.
  FrameTable(Frame* frames, Pageblock* blocks, std::byte* direct_map, PhysAddr direct_end)
      : map_{.block_zone = {},
             .frames = frames,
             .blocks = blocks,
             .direct_map = direct_map,
             .direct_frames = direct_end.value / kPageSize} {}
  FrameTable(const FrameTable&) = delete;
  FrameTable& operator=(const FrameTable&) = delete;

  // Whether `memory` can be added: ok; invalid when it is empty or not whole frames; exists when a frame of it
  // is present; too_big beyond config::max_memory_gib or when the ranges of the map are used up.
  Error addable(PhysRange memory) const;

  // Makes the frames that `memory` covers present as `reserved` frames of `zone`, and every other frame of the touched
  // pageblocks absent. Precondition: addable(memory); the storage of those pageblocks is mapped, and cleared
  // where it was not present before. One caller at a time; readers need not stand still.
  void add(PhysRange memory, unsigned zone);

  // First frame number above every present pageblock; a multiple of 512.
  FrameNumber limit() const {
    return FrameNumber{static_cast<std::uint32_t>(map_.limit.load(std::memory_order_acquire))};
  }
  std::uint32_t block_limit() const { return raw(limit()) / FrameMap::kFramesPerBlock; }
  // Frames that add() covered.
  std::uint64_t present_frames() const { return map_.present_frames.load(std::memory_order_relaxed); }

  bool block_present(std::uint32_t block) const {
    return block < FrameMap::kMaxBlocks && zone_place(std::size_t{block}) != 0;
  }
  // 1 + the zone of the frame, or 0 where has() is false.
  std::size_t zone_place(FrameNumber number) const {
    constexpr std::uint64_t kEnd = FrameMap::kMaxBlocks * FrameMap::kFramesPerBlock;
    if (raw(number) >= kEnd) [[unlikely]]
      return 0;
    return zone_place(std::size_t{raw(number)} / FrameMap::kFramesPerBlock);
  }
  // True where operator[] may be used: the frame's record exists (its state may still be absent).
  bool has(FrameNumber number) const { return zone_place(number) != 0; }

  // Precondition: has(number).
  Frame& operator[](FrameNumber number) const { return map_.frames[raw(number)]; }
  FrameNumber number_of(const Frame& frame) const {
    return FrameNumber{static_cast<std::uint32_t>(&frame - map_.frames)};
  }
  // Precondition: block_present(number).
  Pageblock& block(std::uint32_t number) const { return map_.blocks[number]; }
  // Precondition: block_present() for each.
  std::span<Pageblock> blocks(std::uint32_t first, std::uint32_t count) const {
    return {map_.blocks + first, count};
  }
  std::uint32_t number_of(const Pageblock& block) const {
    return static_cast<std::uint32_t>(&block - map_.blocks);
  }

  // Whether the direct map holds the frame: then a Window costs nothing.
  bool in_direct_map(FrameNumber number) const { return raw(number) < map_.direct_frames; }
  // The frame that a directly mapped address lies in; kNoFrame where there is none. Any address may be asked for.
  FrameNumber frame_behind(std::uint64_t address) const {
    const std::uint64_t number = (address - reinterpret_cast<std::uint64_t>(map_.direct_map)) / kPageSize;
    if (number >= map_.direct_frames) return kNoFrame;
    const FrameNumber frame{static_cast<std::uint32_t>(number)};
    return has(frame) ? frame : kNoFrame;
  }
  // The first frame of the allocated or cached block that the frame lies in, or kNoFrame. Exact when memory stands still.
  FrameNumber block_around(FrameNumber frame) const;
  // Whether nobody has the frame: it is in its zone, or in a magazine. Exact when memory stands still. Precondition:
  // has(frame).
  bool is_free(FrameNumber frame) const;
  // The only way from a frame to its bytes. Precondition: it is in the direct map, or show_beyond() was called.
  Window open(FrameNumber number) const {
    if (!in_direct_map(number)) [[unlikely]]
      return Window(beyond_->open(number), beyond_);
    return Window(map_.direct_map + address_of(number).value);
  }
  // Frames beyond the direct map appear through these from now on.
  void show_beyond(FrameWindows& windows) { beyond_ = &windows; }

  // For outside readers.
  const FrameMap& map() const { return map_; }

 private:
  std::size_t zone_place(std::size_t block) const {
    return map_.block_zone[block].load(std::memory_order_acquire);
  }
  std::size_t place_of(FrameRun run) const;
  void describe(FrameRun added);

  FrameMap map_;
  FrameWindows* beyond_ = nullptr;
};

}  // namespace memory

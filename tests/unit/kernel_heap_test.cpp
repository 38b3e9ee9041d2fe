// SPDX-License-Identifier: MIT
#include "mm/heap/kernel_heap.hpp"

#include <cstring>

#include "mm/base/format.hpp"
#include "mm/base/random.hpp"
#include "mm/stats/inspector.hpp"
#include "tests/unit/heap_world.hpp"

using namespace memory;

namespace {

std::uint64_t address(const void* payload) { return reinterpret_cast<std::uint64_t>(payload); }
HeapBlock& block_of(void* payload) { return *reinterpret_cast<HeapBlock*>(address(payload) - 8); }
std::byte* bytes_of(void* payload) { return static_cast<std::byte*>(payload); }

// Everything that a refusal may not change.
struct Totals {
  HeapLevels levels;
  std::uint64_t allocations, frees;
  bool operator==(const Totals& other) const {
    return levels.total_bytes == other.levels.total_bytes && levels.used_bytes == other.levels.used_bytes &&
           levels.active_blocks == other.levels.active_blocks &&
           levels.largest_free == other.levels.largest_free && allocations == other.allocations &&
           frees == other.frees;
  }
};
Totals totals(const KernelHeap& heap) {
  return {heap.levels(), heap.state().allocations, heap.state().frees};
}

}  // namespace

TEST(kernel_heap, hands_out_what_was_asked_at_multiples_of_16) {
  auto* const world = unit::fresh<unit::HeapWorld>();
  ASSERT(world != nullptr && world->arena.ok());
  KernelHeap& heap = world->heap;
  EXPECT_EQ(world->arena.held(), 0u);  // nothing before it is needed
  for (const std::size_t bytes : {0, 1, 23, 24, 25, 40, 41, 1000, 1001, 4096, 70'000}) {
    const auto made = heap.malloc(bytes);
    ASSERT(made.ok());
    EXPECT_EQ(address(made.take()) % 16, 0u);
    const auto usable = heap.usable_bytes(made.take());
    ASSERT(usable.ok());
    EXPECT(usable.take() >= bytes && usable.take() < bytes + (bytes < 9 ? 25 : 16));
    std::memset(made.take(), 0x5a, usable.take());
  }
  EXPECT_EQ(heap.levels().active_blocks, 11u);
  EXPECT(heap.validate_heap());
}

TEST(kernel_heap, a_block_costs_eight_bytes_and_its_rounding) {
  EXPECT_EQ(BlockHeap::block_bytes(24), 32u);
  EXPECT_EQ(BlockHeap::block_bytes(25), 48u);
  EXPECT_EQ(BlockHeap::block_bytes(40), 48u);
  EXPECT_EQ(BlockHeap::block_bytes(0), 32u);
}

TEST(kernel_heap, absurd_requests_are_refused_like_any_other) {
  auto* const world = unit::fresh<unit::HeapWorld>();
  ASSERT(world != nullptr && world->arena.ok());
  KernelHeap& heap = world->heap;
  void* const kept = heap.malloc(100).take();
  for (const std::size_t bytes :
       {~std::size_t{0}, ~std::size_t{0} - 7, ~std::size_t{0} - 23, std::size_t{1} << 63,
        std::size_t{1} << 32, BlockHeap::kMaxBytes, BlockHeap::kMaxBytes + 1}) {
    EXPECT_EQ(heap.malloc(bytes).error(), Error::no_memory);
    EXPECT_EQ(heap.memalign(4096, bytes).error(), Error::no_memory);
    EXPECT_EQ(heap.realloc(kept, bytes).error(), Error::no_memory);
  }
  for (const std::size_t align : {std::size_t{0}, std::size_t{3}, std::size_t{24}, BlockHeap::kMaxAlign * 2})
    EXPECT_EQ(heap.memalign(align, 8).error(), Error::invalid);
  EXPECT(heap.free(nullptr).ok());
  EXPECT(heap.free(kept).ok());
  EXPECT(heap.validate_heap());
}

TEST(kernel_heap, free_neighbours_become_one_block_in_every_order) {
  constexpr unsigned kOrders[6][3] = {{0, 1, 2}, {0, 2, 1}, {1, 0, 2}, {1, 2, 0}, {2, 0, 1}, {2, 1, 0}};
  auto* const world = unit::fresh<unit::HeapWorld>();
  ASSERT(world != nullptr && world->arena.ok());
  KernelHeap& heap = world->heap;
  void* const first = heap.malloc(64).take();
  for (const auto& order : kOrders) {
    const Totals before = totals(heap);
    void* blocks[3];
    for (void*& block : blocks) block = heap.malloc(200).take();
    void* const last = heap.malloc(64).take();
    EXPECT_EQ(address(blocks[2]) - address(blocks[1]), address(blocks[1]) - address(blocks[0]));
    for (const unsigned n : order) {
      EXPECT(heap.free(blocks[n]).ok());
      EXPECT(heap.validate_heap());
    }
    // Three blocks of 208 bytes are one of 624.
    EXPECT_EQ(heap.malloc(616).take(), blocks[0]);
    EXPECT(heap.free(blocks[0]).ok());
    EXPECT(heap.free(last).ok());
    EXPECT_EQ(heap.levels().largest_free, before.levels.largest_free);
  }
  EXPECT(heap.free(first).ok());
  EXPECT_EQ(heap.levels().free_bytes, heap.levels().largest_free + 8);
}

TEST(kernel_heap, aligned_blocks_are_aligned_and_lose_nothing) {
  auto* const world = unit::fresh<unit::HeapWorld>();
  ASSERT(world != nullptr && world->arena.ok());
  KernelHeap& heap = world->heap;
  void* blocks[17];
  unsigned count = 0;
  for (std::size_t align = 1; align <= 65'536; align *= 2) {
    const auto made = heap.memalign(align, 3 * align / 2 + 1);
    ASSERT(made.ok());
    EXPECT_EQ(address(made.take()) % align, 0u);
    std::memset(made.take(), 0x77, 3 * align / 2 + 1);
    blocks[count++] = made.take();
    EXPECT(heap.validate_heap());
  }
  while (count > 0) EXPECT(heap.free(blocks[--count]).ok());
  EXPECT_EQ(heap.levels().used_bytes, 0u);
  EXPECT_EQ(heap.levels().free_bytes, heap.levels().largest_free + 8);  // all in one piece again
  EXPECT(heap.validate_heap());
}

TEST(kernel_heap, realloc_stays_where_its_neighbour_allows) {
  auto* const world = unit::fresh<unit::HeapWorld>();
  ASSERT(world != nullptr && world->arena.ok());
  KernelHeap& heap = world->heap;
  void* const block = heap.realloc(nullptr, 100).take();
  for (unsigned n = 0; n < 100; ++n) bytes_of(block)[n] = std::byte(n);
  EXPECT_EQ(heap.realloc(block, 500).take(), block);  // into the free block behind it
  EXPECT(heap.validate_heap());
  void* const behind = heap.malloc(50).take();
  EXPECT_EQ(heap.realloc(block, 504).take(), block);  // rounded up it was as large already
  void* const moved = heap.realloc(block, 600).take();
  EXPECT(moved != block);
  for (unsigned n = 0; n < 100; ++n) EXPECT(bytes_of(moved)[n] == std::byte(n));
  EXPECT_EQ(heap.free(block).error(), Error::double_free);  // it was given back
  EXPECT_EQ(heap.realloc(moved, 40).take(), moved);         // what is too much is free again
  EXPECT(heap.validate_heap());
  EXPECT_EQ(heap.usable_bytes(moved).take(), 40u);
  EXPECT_EQ(heap.realloc(moved, 0).take(), moved);
  EXPECT_EQ(heap.usable_bytes(moved).take(), 40u);  // 16 bytes less would be no block
  EXPECT(heap.free(behind).ok() && heap.free(moved).ok());
  EXPECT_EQ(heap.levels().free_bytes, heap.levels().largest_free + 8);
}

TEST(kernel_heap, grows_in_large_steps_and_gives_back_what_is_free_at_the_end) {
  auto* const world = unit::fresh<unit::HeapWorld>();
  ASSERT(world != nullptr && world->arena.ok());
  KernelHeap& heap = world->heap;
  auto* const blocks = unit::fresh<std::array<void*, 1500>>();
  ASSERT(blocks != nullptr);
  for (void*& block : *blocks) block = heap.malloc(1000).take();
  EXPECT(world->arena.held() >= 1500 * 1008 / kPageSize);
  EXPECT(heap.state().expansions <= world->arena.held() / KernelHeap::kGrowPages + 1);
  EXPECT_EQ(heap.state().range_count, 1u);
  EXPECT_EQ(heap.levels().total_bytes, world->arena.held() * kPageSize);
  for (void*& block : *blocks) EXPECT(heap.free(block).ok());
  EXPECT(world->arena.held() * kPageSize <= BlockHeap::kTrimBytes);  // by itself
  EXPECT(world->arena.held() != 0);
  EXPECT(heap.state().contractions >= 1);
  EXPECT(heap.validate_heap());
  const std::size_t kept = world->arena.held();
  EXPECT_EQ(heap.shrink(), kept);
  EXPECT_EQ(world->arena.held(), 0u);
  EXPECT_EQ(heap.levels().total_bytes, 0u);
  EXPECT(heap.validate_heap());
  EXPECT(heap.malloc(1000).ok());  // and from the beginning
}

TEST(kernel_heap, prints_what_it_holds_and_did) {
  struct Page final : Sink {
    void write(std::string_view words) override { text.text(words); }
    bool says(std::string_view words) const { return text.view().find(words) != std::string_view::npos; }
    TextBuffer<1024> text;
  };
  auto* const world = unit::fresh<unit::HeapWorld>();
  auto* const page = unit::fresh<Page>();
  ASSERT(world != nullptr && world->arena.ok() && page != nullptr);
  void* const kept = world->heap.malloc(1000).take();
  EXPECT(world->heap.free(world->heap.malloc(40).take()).ok());
  EXPECT_EQ(world->heap.get_total_allocated(), 1000u);
  world->heap.print_statistics(*page);
  EXPECT(page->says("total_bytes:        65536\n"));
  EXPECT(page->says("allocated_bytes:     1000\n"));
  EXPECT(page->says("free_bytes:         64512\n"));  // 16 bytes of the range are neither
  EXPECT(page->says("largest_free:       64504\n"));
  EXPECT(page->says("fill_percent:           1\n"));
  EXPECT(page->says("active_blocks:          1\n"));
  EXPECT(page->says("allocations:            2\n"));
  EXPECT(page->says("expansions:             1\n"));
  EXPECT(page->says("ranges\n"));
  EXPECT(page->says("free_at_end\n"));
  EXPECT(world->heap.free(kept).ok());
}

TEST(kernel_heap, a_page_in_use_is_never_given_back) {
  auto* const world = unit::fresh<unit::HeapWorld>();
  ASSERT(world != nullptr && world->arena.ok());
  KernelHeap& heap = world->heap;
  // Live blocks of all sizes at the end of the range, so that it is cut at every place in a page.
  for (std::size_t bytes = 16; bytes < 9000; bytes += 48) {
    void* const live = heap.malloc(bytes).take();
    std::memset(live, 0x33, bytes);
    void* const large = heap.malloc(20'000).take();
    EXPECT(heap.free(large).ok());
    heap.shrink();
    EXPECT(heap.validate_heap());
    EXPECT(address(live) + bytes <= heap.state().ranges[0].end);
    for (std::size_t n = 0; n < bytes; ++n)
      if (bytes_of(live)[n] != std::byte{0x33}) {
        EXPECT(bytes_of(live)[n] == std::byte{0x33});
        break;
      }
    const std::size_t kept = heap.levels().free_bytes;
    EXPECT(kept < kPageSize + 64);
    EXPECT(heap.free(live).ok());
  }
}

TEST(kernel_heap, ranges_that_cannot_grow_come_and_go_whole) {
  auto* const world = unit::fresh<unit::HeapWorld>(unit::Arena::Ranges::rigid);
  ASSERT(world != nullptr && world->arena.ok());
  KernelHeap& heap = world->heap;
  void* blocks[60];
  unsigned count = 0;
  while (count < 60) {
    const auto made = heap.malloc(30'000);
    if (!made.ok()) break;
    blocks[count++] = made.take();
  }
  EXPECT(heap.state().range_count > 5);
  EXPECT(heap.validate_heap());
  EXPECT_EQ(heap.free(bytes_of(blocks[7]) + 16).error(), Error::interior_free);
  Random random{unit::seed()};
  while (count > 0) {
    const std::uint64_t n = random.below(count);
    EXPECT(heap.free(blocks[n]).ok());
    blocks[n] = blocks[--count];
  }
  EXPECT(heap.validate_heap());
  heap.shrink();
  EXPECT_EQ(world->arena.held(), 0u);
  EXPECT_EQ(heap.state().range_count, 0u);
}

TEST(kernel_heap, looks_through_the_last_list_before_it_fails) {
  auto* const world = unit::fresh<unit::HeapWorld>();
  ASSERT(world != nullptr && world->arena.ok());
  KernelHeap& heap = world->heap;
  void* blocks[12];
  for (unsigned n = 0; n < 12; ++n) {
    blocks[n] = heap.malloc(10'000 - 8).take();  // one class: 9984 .. 10 111 bytes
    EXPECT(heap.malloc(16).ok());
  }
  void* const wanted = heap.malloc(10'096 - 8).take();
  EXPECT(heap.malloc(16).ok());
  while (heap.malloc(1000).ok()) world->arena.limit(0);  // nothing else is left
  EXPECT(heap.free(wanted).ok());
  for (void* const block : blocks) EXPECT(heap.free(block).ok());  // in front of it, and too small
  EXPECT_EQ(heap.malloc(10'096 - 8).take(), wanted);
  EXPECT_EQ(heap.malloc(10'096 - 8).error(), Error::no_memory);
  EXPECT(heap.validate_heap());
}

TEST(kernel_heap, names_every_misuse_and_changes_nothing) {
  auto* const world = unit::fresh<unit::HeapWorld>();
  ASSERT(world != nullptr && world->arena.ok());
  KernelHeap& heap = world->heap;
  void* const before = heap.malloc(300).take();
  void* const block = heap.malloc(500).take();
  void* const absorbed = heap.malloc(100).take();
  void* const after = heap.malloc(300).take();
  void* const freed = heap.malloc(200).take();
  void* const last = heap.malloc(16).take();
  EXPECT(heap.free(freed).ok());
  EXPECT(heap.free(absorbed).ok());
  EXPECT(heap.free(block).ok());  // with the one behind it
  const Totals start = totals(heap);
  std::uint64_t on_stack = 0;

  EXPECT_EQ(heap.free(freed).error(), Error::double_free);
  EXPECT_EQ(heap.free(block).error(), Error::double_free);
  EXPECT_EQ(heap.free(absorbed).error(), Error::double_free);  // late: its header is gone
  EXPECT_EQ(heap.last_fault().address, address(absorbed));
  EXPECT_EQ(heap.last_fault().place, address(block) - 8);  // the free block that it lies in now
  for (const std::size_t offset :
       {std::size_t{1}, std::size_t{8}, std::size_t{16}, std::size_t{160}, std::size_t{299}}) {
    EXPECT_EQ(heap.free(bytes_of(after) + offset).error(), Error::interior_free);
    EXPECT_EQ(heap.last_fault().place, address(after) - 8);
  }
  EXPECT_EQ(heap.free(bytes_of(after) - 8).error(), Error::interior_free);  // its header
  EXPECT_EQ(heap.free(&on_stack).error(), Error::wild_object);
  EXPECT_EQ(heap.free(reinterpret_cast<void*>(16)).error(), Error::wild_object);
  EXPECT_EQ(heap.free(reinterpret_cast<void*>(~std::uint64_t{15})).error(), Error::wild_object);
  EXPECT_EQ(heap.free(reinterpret_cast<void*>(heap.state().ranges[0].end)).error(), Error::wild_object);
  EXPECT_EQ(heap.free(reinterpret_cast<void*>(heap.state().ranges[0].end - 8)).error(), Error::wild_object);
  EXPECT_EQ(heap.free(reinterpret_cast<void*>(heap.state().ranges[0].first)).error(), Error::wild_object);
  EXPECT_EQ(heap.realloc(freed, 10).error(), Error::double_free);
  EXPECT_EQ(heap.realloc(bytes_of(after) + 32, 10).error(), Error::interior_free);
  EXPECT_EQ(heap.usable_bytes(&on_stack).error(), Error::wild_object);
  EXPECT_EQ(heap.state().misuses, 18u);

  EXPECT(totals(heap) == start);
  EXPECT(heap.validate_heap());
  EXPECT(heap.free(before).ok() && heap.free(after).ok() && heap.free(last).ok());
  EXPECT_EQ(heap.levels().active_blocks, 0u);
}

TEST(kernel_heap, what_looks_like_a_header_inside_a_block_is_none) {
  auto* const world = unit::fresh<unit::HeapWorld>();
  ASSERT(world != nullptr && world->arena.ok());
  KernelHeap& heap = world->heap;
  void* const first = heap.malloc(200).take();
  void* const second = heap.malloc(200).take();
  void* const last = heap.malloc(16).take();
  EXPECT(heap.free(first).ok());
  EXPECT(heap.free(second).ok());
  void* const both = heap.malloc(400).take();
  EXPECT_EQ(both, first);
  EXPECT_EQ(heap.free(second).error(), Error::interior_free);  // its header was cleared when it merged
  std::memcpy(bytes_of(both) + 192, bytes_of(last) - 8, 8);    // a true one, but of another place
  EXPECT_EQ(heap.free(bytes_of(both) + 200).error(), Error::interior_free);
  void* const grown = heap.malloc(64).take();
  EXPECT(heap.free(last).ok() && heap.free(both).ok() && heap.free(grown).ok());
}

TEST(kernel_heap, any_wrong_bit_of_a_header_is_found_before_harm_is_done) {
  auto* const world = unit::fresh<unit::HeapWorld>();
  ASSERT(world != nullptr && world->arena.ok());
  KernelHeap& heap = world->heap;
  void* const before = heap.malloc(300).take();
  void* const block = heap.malloc(500).take();
  void* const after = heap.malloc(300).take();
  void* const guard = heap.malloc(16).take();
  std::uint64_t& footer = *reinterpret_cast<std::uint64_t*>(address(block) - 16);
  for (const bool neighbours_free : {false, true}) {
    if (neighbours_free) EXPECT(heap.free(before).ok() && heap.free(after).ok());
    const Totals start = totals(heap);
    const struct {
      std::uint64_t* word;
      Error expected;
      bool only_while_free;
    } kWords[] = {{&block_of(block).header, Error::corrupt_header, false},
                  {&block_of(after).header, Error::corrupt_header, false},
                  {&footer, Error::corrupt_header, true},
                  {&block_of(before).header, Error::corrupt_header, true},
                  {&block_of(before).next, Error::corrupt_link, true},
                  {&block_of(before).previous, Error::corrupt_link, true},
                  {&block_of(after).next, Error::corrupt_link, true},
                  {&block_of(after).previous, Error::corrupt_link, true}};
    for (const auto& wrong : kWords)
      for (unsigned bit = 0; bit < 64; ++bit) {
        if (wrong.only_while_free && !neighbours_free) continue;
        *wrong.word ^= std::uint64_t{1} << bit;
        EXPECT_EQ(heap.free(block).error(), wrong.expected);
        EXPECT_EQ(heap.last_fault().address, address(block));
        EXPECT(!heap.validate_heap());
        *wrong.word ^= std::uint64_t{1} << bit;
        EXPECT(totals(heap) == start);
        EXPECT(heap.validate_heap());
      }
  }
  EXPECT(heap.free(block).ok() && heap.free(guard).ok());
  EXPECT_EQ(heap.levels().free_bytes, heap.levels().largest_free + 8);
}

TEST(kernel_heap, an_allocation_finds_wrong_bits_of_the_block_that_it_takes) {
  auto* const world = unit::fresh<unit::HeapWorld>();
  ASSERT(world != nullptr && world->arena.ok());
  KernelHeap& heap = world->heap;
  void* const block = heap.malloc(500).take();
  void* const after = heap.malloc(300).take();
  void* const other = heap.malloc(500).take();
  void* const guard = heap.malloc(16).take();
  EXPECT(heap.free(other).ok() && heap.free(block).ok());  // both on one list, `block` in front
  const Totals start = totals(heap);
  std::uint64_t* const kHeaders[] = {&block_of(block).header, &block_of(after).header};
  std::uint64_t* const kLinks[] = {&block_of(block).next, &block_of(block).previous,
                                   &block_of(other).previous};
  const auto flip_each = [&](std::uint64_t& word, Error expected) {
    for (unsigned bit = 0; bit < 64; ++bit) {
      word ^= std::uint64_t{1} << bit;
      EXPECT_EQ(heap.malloc(500).error(), expected);
      EXPECT_EQ(heap.memalign(64, 400).error(), expected);
      word ^= std::uint64_t{1} << bit;
      EXPECT(totals(heap) == start);
    }
  };
  for (std::uint64_t* const word : kHeaders) flip_each(*word, Error::corrupt_header);
  for (std::uint64_t* const word : kLinks) flip_each(*word, Error::corrupt_link);
  EXPECT(heap.validate_heap());
  EXPECT_EQ(heap.malloc(500).take(), block);
  EXPECT(heap.free(guard).ok());
}

TEST(kernel_heap, an_overflow_is_found_when_the_block_is_freed) {
  auto* const world = unit::fresh<unit::HeapWorld>();
  ASSERT(world != nullptr && world->arena.ok());
  KernelHeap& heap = world->heap;
  void* const block = heap.malloc(40).take();
  void* const after = heap.malloc(40).take();
  EXPECT(heap.free(heap.malloc(100).take()).ok());
  std::memset(block, 0x41, 41);  // one byte too many, into the header behind it
  EXPECT_EQ(heap.free(block).error(), Error::corrupt_header);
  EXPECT_EQ(heap.last_fault().place, address(after) - 8);
  EXPECT_EQ(heap.free(after).error(), Error::corrupt_header);
  EXPECT_EQ(heap.realloc(block, 4000).error(), Error::corrupt_header);
  EXPECT(!heap.validate_heap());
}

// ASan reports the write itself, so there it cannot be tried.
TEST(kernel_heap, a_write_after_free_is_found_where_freed_memory_is_poisoned) {
  if (unit::kAddressSanitizer || !config::poison_frames) return;
  auto* const world = unit::fresh<unit::HeapWorld>();
  ASSERT(world != nullptr && world->arena.ok());
  KernelHeap& heap = world->heap;
  void* const block = heap.malloc(200).take();
  void* const guard = heap.malloc(16).take();
  EXPECT(heap.free(block).ok() && guard != nullptr);
  bytes_of(block)[100] = std::byte{1};
  EXPECT_PANIC((void)heap.malloc(200), "write after free");
}

namespace {

// Runs `work` with the first, second ... request failing until it succeeds; says how many failed.
template <typename Work>
unsigned fail_each(unit::HeapWorld& world, Work&& work) {
  KernelHeap& heap = world.heap;
  for (unsigned n = 1; n < 50; ++n) {
    const Totals before = totals(heap);
    const std::size_t held = world.arena.held();
    world.plan.arm(n);
    heap.set_plan(KernelHeap::Plan::armed);
    const Error error = work();
    const bool struck = world.plan.struck();
    world.plan.arm(0);
    heap.set_plan(KernelHeap::Plan::idle);
    EXPECT(heap.validate_heap());
    if (!struck) {
      EXPECT_EQ(error, Error::ok);
      return n - 1;
    }
    EXPECT_EQ(error, Error::no_memory);
    EXPECT(totals(heap) == before && world.arena.held() == held);
  }
  return 50;
}

}  // namespace

TEST(kernel_heap, every_request_may_fail_and_leaves_all_as_it_was) {
  auto* const world = unit::fresh<unit::HeapWorld>();
  ASSERT(world != nullptr && world->arena.ok());
  KernelHeap& heap = world->heap;
  void* made = nullptr;
  const auto keep = [&made](Result<void*> result) {
    if (result.ok()) made = result.take();
    return result.error();
  };
  EXPECT_EQ(fail_each(*world, [&] { return keep(heap.malloc(100)); }), 2u);  // the block, the pages
  void* const small = made;
  std::memset(small, 0x11, 100);
  EXPECT_EQ(fail_each(*world, [&] { return keep(heap.malloc(100)); }), 1u);
  void* const behind = made;
  EXPECT_EQ(fail_each(*world, [&] { return keep(heap.memalign(8192, 100'000)); }), 2u);
  EXPECT(heap.free(made).ok());
  EXPECT_EQ(fail_each(*world, [&] { return keep(heap.realloc(small, 300'000)); }), 2u);
  for (unsigned n = 0; n < 100; ++n) EXPECT(bytes_of(made)[n] == std::byte{0x11});
  EXPECT(heap.free(made).ok() && heap.free(behind).ok());
  EXPECT_EQ(world->plan.last_site(), FailSite::heap_pages);
}

TEST(kernel_heap, when_memory_is_out_it_says_so_and_goes_on) {
  auto* const world = unit::fresh<unit::HeapWorld>();
  ASSERT(world != nullptr && world->arena.ok());
  KernelHeap& heap = world->heap;
  world->arena.limit(64);
  auto* const blocks = unit::fresh<std::array<void*, 1000>>();
  ASSERT(blocks != nullptr);
  unsigned count = 0;
  for (; count < 1000; ++count) {
    const auto made = heap.malloc(1000);
    if (!made.ok()) {
      EXPECT_EQ(made.error(), Error::no_memory);
      break;
    }
    (*blocks)[count] = made.take();
  }
  EXPECT_EQ(world->arena.held(), 64u);
  EXPECT_EQ(count, (64 * kPageSize - 16) / 1008);  // to the last one that fits
  EXPECT_EQ(heap.state().failures, 1u);
  EXPECT(heap.validate_heap());
  EXPECT(heap.free((*blocks)[5]).ok());
  EXPECT_EQ(heap.malloc(1000).take(), (*blocks)[5]);
}

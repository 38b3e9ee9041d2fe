// Vmalloc: a range of addresses, then frames one page or 2 MiB at a time, until all is there or nothing.
//
// Theory. Who maps what is said once, by the page tables: nothing else lists the frames of a range. So taking back is
// unmapping, and the batch that unmaps gives each block back when no CPU can reach it any more. Frames come in blocks, 2 MiB
// behind one entry or up to eight frames behind as many: a block's first Frame knows how many entries are its own.
//
//   addresses   | 2 MiB | 2 MiB | 4 KiB 4 KiB 4 KiB | guard |         aligned to 2 MiB where there is a whole one
//
// Order of steps, each undone by what it returned to:  addresses -> frames and entries, some at a time -> done;
// and back:  leaving -> unmapped -> flushed on every CPU -> frames free -> addresses free.
// SPDX-License-Identifier: MIT
#include "mm/virtual/vmalloc.hpp"

#include <algorithm>

#include "mm/stats/inspector.hpp"
#include "mm/stats/stats.hpp"

namespace memory {

namespace {

using stats::Counter;

constexpr std::uint64_t kLargePages = 512;
constexpr Order kLargeOrder{9};
constexpr std::uint64_t kLargeBytes = kLargePages * kPageSize;
// What the CPUs' magazines hold: blocks that cost no lock, and leave whole pageblocks whole.
constexpr Order kSmallOrder{FrameCache::kSmallOrders - 1};

constexpr std::uint64_t pages_for(std::uint64_t bytes) {
  return bytes / kPageSize + (bytes % kPageSize != 0);
}

// More than any window has, and far from wrapping.
constexpr std::uint64_t kMostBytes = std::uint64_t{1} << 46;

constexpr Protection kData{.access = Access::read_write};

}  // namespace

// ---- memory

void Vmalloc::clear(FrameRun run) {
  for (FrameNumber number{run.first}; raw(number) < run.end; number = number + 1)
    platform::clear_page(physical_.frames().open(number).bytes());
}

// Precondition: `at` is aligned to 2 MiB.
Result<void> Vmalloc::fill_large(VirtAddr at, Frames what) {
  const FrameNumber block = TRY(physical_.allocate(kLargeOrder, what.zone));
  if (what.contents == Contents::zeroed)
    clear({raw(block), raw(block) + static_cast<std::uint32_t>(kLargePages)});
  const auto mapped = tables_.map(at, address_of(block), kLargeBytes, kData);
  if (!mapped.ok()) CHECK(physical_.release(block, kLargeOrder).ok());
  return mapped;
}

// Blocks in hand between two visits to the tables.
struct Vmalloc::Blocks {
  static constexpr std::size_t kMost = 64;
  std::array<FrameRun, kMost> runs;
  std::size_t count = 0;
  std::uint64_t pages = 0;

  std::span<const FrameRun> all() const { return {runs.data(), count}; }
};

// Takes so many pages, or fewer where there is no room for more blocks: of at most `largest`, which becomes 0 where there
// are none: then frames come one by one. Those that were had when it fails stay.
Result<void> Vmalloc::take_blocks(Blocks& blocks, std::uint64_t pages, Order& largest, Gfp zone) {
  Order order = largest;
  while (blocks.pages < pages && blocks.count < Blocks::kMost) {
    while (frames_in(order) > pages - blocks.pages) order = Order(static_cast<std::uint8_t>(raw(order) - 1));
    const auto block = physical_.allocate(order, zone);
    if (!block.ok()) [[unlikely]] {
      if (order == Order{0}) return block.error();
      order = largest = Order{0};
      continue;
    }
    const std::uint32_t first = raw(block.take());
    blocks.runs[blocks.count++] = {first, first + static_cast<std::uint32_t>(frames_in(order))};
    blocks.pages += frames_in(order);
  }
  return {};
}

void Vmalloc::give_back(const Blocks& blocks) {
  for (const FrameRun run : blocks.all()) {
    const FrameNumber first{run.first};
    CHECK(physical_.release(first, physical_.frames()[first].order()).ok());
  }
}

// How many pages.
Result<std::uint64_t> Vmalloc::fill_some(VirtAddr at, std::uint64_t pages, Frames what, Order& largest) {
  Blocks blocks;
  Result<void> done = take_blocks(blocks, pages, largest, what.zone);
  if (done.ok() && what.contents == Contents::zeroed)
    for (const FrameRun run : blocks.all()) clear(run);
  if (done.ok()) done = tables_.map_runs(at, blocks.all(), blocks.pages, kData);
  if (done.ok()) [[likely]]
    return blocks.pages;
  give_back(blocks);
  return done.error();
}

Result<void> Vmalloc::fill(VirtAddr at, std::uint64_t pages, Frames what) {
  const VirtAddr first = at;
  Order largest = kSmallOrder;
  while (pages > 0) {
    std::uint64_t filled = kLargePages;
    if (pages < kLargePages || !at.aligned_to(kLargeBytes) || !fill_large(at, what).ok()) {
      const auto some = fill_some(at, pages, what, largest);
      if (!some.ok()) [[unlikely]] {
        if (at != first) empty(first, at - first);
        return some.error();
      }
      filled = some.take();
    }
    at += filled * kPageSize;
    pages -= filled;
  }
  return {};
}

void Vmalloc::empty(VirtAddr at, std::uint64_t bytes) {
  FlushBatch flush(tables_);
  CHECK(tables_.unmap(at, bytes, flush, Unmapped::drop).ok());
}

Result<KernelRange*> Vmalloc::allocate_range(const RangeRequest& request, Frames what) {
  const auto range = ranges_.allocate(request);
  if (!range.ok()) [[unlikely]] {
    stats::add(Counter::range_failures);
    return range.error();
  }
  const VirtRange body = range.take()->body();
  const std::uint64_t pages = body.bytes() / kPageSize;
  const auto filled = fill(body.first, pages, what);
  if (!filled.ok()) [[unlikely]] {
    ranges_.release(*range.take());
    stats::add(Counter::range_failures);
    return filled.error();
  }
  stats::add(Counter::range_allocations);
  stats::add(Counter::vmalloc_frames, static_cast<std::int64_t>(pages));
  return range.take();
}

void Vmalloc::release_range(KernelRange& range) {
  const VirtRange body = range.body();
  empty(body.first, body.bytes());
  ranges_.release(range);
  stats::add(Counter::range_releases);
  stats::add(Counter::vmalloc_frames, -static_cast<std::int64_t>(body.bytes() / kPageSize));
}

Result<VirtAddr> Vmalloc::allocate(std::uint64_t bytes, const Origin& origin, Contents contents) {
  if (bytes == 0) return Error::invalid;
  if (bytes > kMostBytes) return Error::no_memory;
  const std::uint64_t pages = pages_for(bytes);
  KernelRange* const range = TRY(allocate_range({.bytes = pages * kPageSize,
                                                 .align = pages < kLargePages ? kPageSize : kLargeBytes,
                                                 .kind = RangeKind::vmalloc,
                                                 .owner = origin.owner,
                                                 .number = origin.number,
                                                 .caller = origin.caller},
                                                {contents, Gfp::highmem}));
  return range->body().first;
}

Result<void> Vmalloc::release(VirtAddr at) {
  const auto range = ranges_.take_back(at, RangeKind::vmalloc);
  if (!range.ok()) [[unlikely]] {
    stats::add(Counter::range_misuses);
    return range.error();
  }
  release_range(*range.take());
  return {};
}

// ---- devices

bool Vmalloc::holds_ram(PhysRange range) const {
  const FrameTable& frames = physical_.frames();
  const FrameMap& map = frames.map();
  const std::uint64_t first = range.first.value / kPageSize,
                      end = (range.end.value + kPageSize - 1) / kPageSize;
  for (std::uint64_t n = 0; n < map.ranges; ++n)
    if (first < map.range[n].end && map.range[n].first < end) return true;
  return false;
}

Result<VirtAddr> Vmalloc::map_device(PhysAddr physical, std::uint64_t bytes, CacheType cache,
                                     const Origin& origin) {
  constexpr PhysAddr kEnd{std::uint64_t{1}
                          << 52};  // Intel SDM volume 3, section 4.1.4: the most bits there are
  if (bytes == 0 || physical >= kEnd || bytes > kEnd - physical) return Error::invalid;
  const PhysRange pages{physical.aligned_down(kPageSize), (physical + bytes).aligned_up(kPageSize)};
  if (holds_ram(pages)) return Error::no_access;
  const auto range = ranges_.allocate({.bytes = pages.bytes(),
                                       .align = pages.bytes() < kLargeBytes ? kPageSize : kLargeBytes,
                                       .kind = RangeKind::device,
                                       .owner = origin.owner,
                                       .number = origin.number,
                                       .physical = pages.first,
                                       .caller = origin.caller});
  if (!range.ok()) {
    stats::add(Counter::range_failures);
    return range.error();
  }
  const VirtAddr first = range.take()->body().first;
  const auto mapped =
      tables_.map(first, pages.first, pages.bytes(), {.access = Access::read_write, .cache = cache});
  if (!mapped.ok()) {
    ranges_.release(*range.take());
    stats::add(Counter::range_failures);
    return mapped.error();
  }
  stats::add(Counter::range_allocations);
  return first + (physical - pages.first);
}

Result<void> Vmalloc::unmap_device(VirtAddr at) {
  const auto range = ranges_.take_back(at.aligned_down(kPageSize), RangeKind::device);
  if (!range.ok()) {
    stats::add(Counter::range_misuses);
    return range.error();
  }
  const VirtRange body = range.take()->body();
  {
    FlushBatch flush(tables_);
    CHECK(tables_.unmap(body.first, body.bytes(), flush).ok());
  }
  ranges_.release(*range.take());
  stats::add(Counter::range_releases);
  return {};
}

// ---- an area for each CPU
//
//   | CPU 0 | guard | CPU 1 | guard | CPU 2 | guard |      one range; the last guard is the range's

Result<Vmalloc::PerCpuAreas> Vmalloc::allocate_per_cpu(std::uint64_t bytes, unsigned cpus,
                                                       const Origin& origin) {
  if (bytes == 0 || bytes > kMostBytes / config::max_cpus || cpus == 0 || cpus > config::max_cpus)
    return Error::invalid;
  const std::uint64_t area = pages_for(bytes) * kPageSize;
  const std::uint64_t stride = area + kPageSize;
  const auto range = ranges_.allocate({.bytes = cpus * stride - kPageSize,
                                       .kind = RangeKind::per_cpu,
                                       .owner = origin.owner,
                                       .number = cpus,
                                       .caller = origin.caller});
  if (!range.ok()) {
    stats::add(Counter::range_failures);
    return range.error();
  }
  const PerCpuAreas areas{range.take()->body().first, stride};
  for (unsigned cpu = 0; cpu < cpus; ++cpu) {
    const auto filled = fill(areas.of(cpu), area / kPageSize, {Contents::zeroed, Gfp::kernel});
    if (filled.ok()) continue;
    while (cpu-- > 0) empty(areas.of(cpu), area);
    ranges_.release(*range.take());
    stats::add(Counter::range_failures);
    return filled.error();
  }
  stats::add(Counter::range_allocations);
  stats::add(Counter::vmalloc_frames, static_cast<std::int64_t>(cpus * (area / kPageSize)));
  return areas;
}

Result<void> Vmalloc::release_per_cpu(const PerCpuAreas& areas) {
  const auto range = ranges_.take_back(areas.first, RangeKind::per_cpu);
  if (!range.ok()) {
    stats::add(Counter::range_misuses);
    return range.error();
  }
  const std::uint32_t cpus = range.take()->number;
  const std::uint64_t area = range.take()->stride() - kPageSize;
  for (unsigned cpu = 0; cpu < cpus; ++cpu) empty(areas.first + cpu * (area + kPageSize), area);
  ranges_.release(*range.take());
  stats::add(Counter::range_releases);
  stats::add(Counter::vmalloc_frames, -static_cast<std::int64_t>(cpus * (area / kPageSize)));
  return {};
}

// ---- looking

Result<std::byte*> Vmalloc::open(VirtAddr at) const {
  const Translation found = TRY(tables_.query(at));
  const FrameNumber number = frame_at(found.physical);
  const FrameTable& frames = physical_.frames();
  if (!frames.has(number) || frames[number].state() == FrameState::absent || !frames.in_direct_map(number))
    return Error::no_access;
  return frames.open(number).bytes() + found.physical.value % kPageSize;
}

void Vmalloc::describe(Inspector& to, NameCaller name) const {
  to.begin_array("", Layout::table);
  ranges_.for_each([&](const FoundRange& range) {
    TextBuffer<48> where;
    where.address(range.whole.first.value).text("-").address(range.whole.end.value);
    TextBuffer<96> caller;
    name(caller, range.caller);
    to.begin_object("", Layout::row);
    to.text("range", where.view());
    to.number("bytes", static_cast<std::int64_t>(range.whole.bytes()), Unit::none);
    to.text("caller", caller.view());
    to.number("pages", static_cast<std::int64_t>(range.mapped_pages()), Unit::none);
    to.text("kind", name_of(range.kind));
    to.text("owner", range.owner.view());
    to.number("number", range.number, Unit::none);
    to.hex("phys", range.physical.value);
    to.end_object();
  });
  to.end_array();
}

}  // namespace memory

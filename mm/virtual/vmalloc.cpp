// Vmalloc: a range of addresses, then frames one page or 2 MiB at a time, until all is there or nothing.
//
// Theory. Who maps what is said once, by the page tables: nothing else lists the frames of a range. So taking back is
// unmapping, and the batch that unmaps gives each frame back when no CPU can reach it any more. A page of 4 KiB is a block
// of one frame and a page of 2 MiB a block of 512, which makes the size of the entry the order of the block.
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
constexpr std::size_t kAtOnce = 32;  // frames in hand between two visits to the tables

constexpr std::uint64_t pages_for(std::uint64_t bytes) {
  return bytes / kPageSize + (bytes % kPageSize != 0);
}

// More than any window has, and far from wrapping.
constexpr std::uint64_t kMostBytes = std::uint64_t{1} << 46;

constexpr Protection kData{.access = Access::read_write};

}  // namespace

// ---- memory

void Vmalloc::clear(FrameNumber number) { platform::clear_page(physical_.frames().open(number).bytes()); }

// Precondition: `at` is aligned to 2 MiB.
Result<void> Vmalloc::fill_large(VirtAddr at, Frames what) {
  const FrameNumber block = TRY(physical_.allocate(kLargeOrder, what.zone));
  if (what.contents == Contents::zeroed)
    for (std::uint64_t n = 0; n < kLargePages; ++n) clear(block + n);
  const auto mapped = tables_.map(at, address_of(block), kLargeBytes, kData);
  if (!mapped.ok()) CHECK(physical_.release(block, kLargeOrder).ok());
  return mapped;
}

// Up to kAtOnce pages; how many.
Result<std::uint64_t> Vmalloc::fill_some(VirtAddr at, std::uint64_t pages, Frames what) {
  std::array<FrameNumber, kAtOnce> frames;
  const std::uint64_t wanted = std::min<std::uint64_t>(pages, kAtOnce);
  Result<void> done;
  std::uint64_t had = 0;
  for (; had < wanted; ++had) {
    const auto frame = physical_.allocate(Order{0}, what.zone);
    if (!frame.ok()) [[unlikely]] {
      done = frame.error();
      break;
    }
    frames[had] = frame.take();
    if (what.contents == Contents::zeroed) clear(frames[had]);
  }
  if (done.ok()) done = tables_.map_pages(at, std::span(frames.data(), wanted), kData);
  if (done.ok()) [[likely]]
    return wanted;
  while (had > 0) CHECK(physical_.release(frames[--had], Order{0}).ok());
  return done.error();
}

Result<void> Vmalloc::fill(VirtAddr at, std::uint64_t pages, Frames what) {
  const VirtAddr first = at;
  while (pages > 0) {
    std::uint64_t filled = kLargePages;
    if (pages < kLargePages || !at.aligned_to(kLargeBytes) || !fill_large(at, what).ok()) {
      const auto some = fill_some(at, pages, what);
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

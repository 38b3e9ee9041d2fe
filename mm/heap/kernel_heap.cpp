// KernelHeap: the lock, pages on demand, what the blocks need them for.
// SPDX-License-Identifier: MIT
#include "mm/heap/kernel_heap.hpp"

#include <algorithm>
#include <array>
#include <cstring>

#include "mm/heap/block_heap_fast.hpp"
#include "mm/stats/render.hpp"

namespace memory {

namespace {

VirtAddr address_of(const void* payload) { return VirtAddr{reinterpret_cast<std::uint64_t>(payload)}; }

// What is left at the end of a range when a long free tail goes home.
constexpr std::size_t kKeepBytes = BlockHeap::kTrimBytes / 4;

}  // namespace

KernelHeap::KernelHeap(PageSource& source, FailPlan& plan, std::uint64_t secret)
    : source_(source), plan_(plan), blocks_(secret) {
  blocks_.with([this](const BlockHeap& blocks) { state_ = &blocks.state(); });
}

// ---- pages ---------------------------------------------------------------------------------------------------------

// A free block of `bytes` at least: by lengthening a range, or else by a new one.
Error KernelHeap::grow(BlockHeap& blocks, std::size_t bytes) {
  const auto pages_for = [](std::size_t needed) {
    return std::max((needed + kPageSize - 1) / kPageSize, std::size_t{1});
  };
  for (unsigned n = 0; n < blocks.ranges(); ++n) {
    const VirtRange range = blocks.range(n);
    const std::size_t tail = blocks.tail_bytes(n);
    const std::size_t pages = pages_for(bytes > tail ? bytes - tail : 0);
    if (range.bytes() / kPageSize + pages > BlockHeap::kMaxRangePages) continue;
    const auto longer = source_.grow(range, pages);
    if (!longer.ok()) continue;
    const auto extended = blocks.extend(n, pages * kPageSize);
    if (!extended.ok()) source_.shrink(longer.take(), pages);
    return extended.error();
  }
  const std::size_t pages = pages_for(bytes + BlockHeap::kRangeOverhead);
  if (!blocks.room() || pages > BlockHeap::kMaxRangePages) return Error::no_memory;
  blocks.add(TRY(source_.grow(VirtRange{}, pages)));
  return Error::ok;
}

// With some to spare where there is some.
[[gnu::noinline]] Error KernelHeap::expand(BlockHeap& blocks, std::size_t bytes) {
  if (plan_.strikes(FailSite::heap_pages)) return Error::no_memory;
  // Larger with the number of ranges, of which there are not many.
  const std::size_t pages = kGrowPages << blocks.ranges() / 2;
  const std::size_t spare = std::max(bytes, pages * kPageSize - BlockHeap::kRangeOverhead);
  const Error error = grow(blocks, spare);
  return error == Error::no_memory && spare != bytes ? grow(blocks, bytes) : error;
}

// A range whose end is free for long keeps kKeepBytes of that.
[[gnu::noinline]] void KernelHeap::trim(BlockHeap& blocks) {
  for (unsigned n = 0; n < blocks.ranges(); ++n)
    if (blocks.tail_bytes(n) >= BlockHeap::kTrimBytes)
      blocks.cut(n, (blocks.tail_bytes(n) - kKeepBytes) / kPageSize, source_);
}

std::size_t KernelHeap::shrink() {
  return blocks_.with([this](BlockHeap& blocks) {
    std::size_t pages = 0;
    for (unsigned n = blocks.ranges(); n-- > 0;) pages += blocks.cut(n, BlockHeap::kMaxRangePages, source_);
    return pages;
  });
}

// ---- blocks --------------------------------------------------------------------------------------------------------

// What the lists have after a closer look, else with more pages, else after a look at everything.
[[gnu::noinline]] Result<VirtAddr> KernelHeap::serve(BlockHeap& blocks, std::size_t bytes,
                                                     std::size_t align) {
  const Result<VirtAddr> found = blocks.search(bytes, align, BlockHeap::Search::brief);
  if (found.error() != Error::no_memory) return found;
  const Error expanded = expand(blocks, BlockHeap::worst_bytes(bytes, align));
  if (expanded != Error::ok && expanded != Error::no_memory) return expanded;
  const Result<VirtAddr> last = blocks.search(bytes, align, BlockHeap::Search::full);
  if (!last.ok()) ++blocks.state().failures;
  return last;
}

// An address or an Error, as Result<void*> has them, but nothing that may not leave the lock.
inline std::uint64_t KernelHeap::finish(BlockHeap& blocks, Result<VirtAddr> found, std::size_t bytes) {
  if (found.error() == Error::no_memory) [[unlikely]]
    found = serve(blocks, bytes, HeapBlock::kGranule);
  return found.ok() ? found.take().value : static_cast<std::uint64_t>(found.error());
}

Result<void*> KernelHeap::malloc(std::size_t bytes) {
  if (bytes >= small_end_.load(std::memory_order_relaxed)) [[unlikely]]
    return malloc_large(bytes);
  return reinterpret_cast<void*>(blocks_.with(
      [=, this](BlockHeap& blocks) { return finish(blocks, blocks.allocate_small(bytes), bytes); }));
}

[[gnu::noinline]] Result<void*> KernelHeap::malloc_large(std::size_t bytes) {
  if (bytes > BlockHeap::kMaxBytes || plan_.strikes(FailSite::heap_block)) return Error::no_memory;
  return reinterpret_cast<void*>(
      blocks_.with([=, this](BlockHeap& blocks) { return finish(blocks, blocks.allocate(bytes), bytes); }));
}

void KernelHeap::set_plan(Plan plan) {
  small_end_.store(plan == Plan::armed ? 0 : BlockHeap::kSmallEnd, std::memory_order_relaxed);
}

Result<void*> KernelHeap::memalign(std::size_t align, std::size_t bytes) {
  if (align == 0 || (align & (align - 1)) != 0 || align > BlockHeap::kMaxAlign) return Error::invalid;
  if (align <= HeapBlock::kGranule) return malloc(bytes);
  if (bytes > BlockHeap::kMaxBytes || plan_.strikes(FailSite::heap_block)) return Error::no_memory;
  const auto made = blocks_.with([=, this](BlockHeap& blocks) { return serve(blocks, bytes, align); });
  if (!made.ok()) return made.error();
  return reinterpret_cast<void*>(made.take().value);
}

Result<void> KernelHeap::free(void* payload) {
  if (payload == nullptr) return {};
  return blocks_.with([=, this](BlockHeap& blocks) -> Result<void> {
    const BlockHeap::Release release = blocks.release(address_of(payload));
    if (release == BlockHeap::Release::done) [[likely]]
      return {};
    if (release == BlockHeap::Release::refused) return blocks.state().fault.error;
    trim(blocks);
    return {};
  });
}

// The old block is the caller's until it is freed, so its contents are copied without the lock.
Result<void*> KernelHeap::realloc(void* payload, std::size_t bytes) {
  if (payload == nullptr) return malloc(bytes);
  std::size_t had = 0;
  const Error resized = blocks_.with([&](BlockHeap& blocks) {
    const auto usable = blocks.usable_bytes(address_of(payload));
    if (!usable.ok()) return usable.error();
    had = usable.take();
    return blocks.resize(address_of(payload), bytes).error();
  });
  if (resized == Error::ok) return payload;
  if (resized != Error::no_memory) return resized;
  void* const moved = TRY(malloc(bytes));
  std::memcpy(moved, payload, std::min(had, bytes));
  const auto released = free(payload);
  if (!released.ok()) {  // its neighbour is corrupt: the block stays what it was
    (void)free(moved);
    return released.error();
  }
  return moved;
}

Result<std::size_t> KernelHeap::usable_bytes(void* payload) const {
  return blocks_.with([=](BlockHeap& blocks) { return blocks.usable_bytes(address_of(payload)); });
}

// ---- what it says of itself ----------------------------------------------------------------------------------------

HeapLevels KernelHeap::levels() const {
  return blocks_.with([](const BlockHeap& blocks) { return blocks.levels(); });
}

HeapFault KernelHeap::last_fault() const {
  return blocks_.with([](const BlockHeap& blocks) { return blocks.state().fault; });
}

bool KernelHeap::validate_heap() const {
  return blocks_.with([](const BlockHeap& blocks) { return blocks.valid(); });
}

namespace {

struct RangeMoment {
  std::uint64_t first;
  std::uint32_t pages;
  std::uint32_t free_at_end;  // bytes
};

// What a heap holds and did, taken at once under its lock, told without it.
struct Moment {
  HeapLevels levels;
  std::uint64_t allocations, frees, failures, misuses, expansions, contractions, range_count;
  std::array<RangeMoment, HeapState::kMaxRanges> ranges;
};

void take_moment(const BlockHeap& blocks, Moment& now) {
  const HeapState& state = blocks.state();
  now.levels = blocks.levels();
  now.allocations = state.allocations;
  now.frees = state.frees;
  now.failures = state.failures;
  now.misuses = state.misuses;
  now.expansions = state.expansions;
  now.contractions = state.contractions;
  now.range_count = state.range_count;
  for (unsigned n = 0; n < blocks.ranges(); ++n) {
    const VirtRange range = blocks.range(n);
    now.ranges[n] = {range.first.value, static_cast<std::uint32_t>(range.bytes() / kPageSize),
                     static_cast<std::uint32_t>(blocks.tail_bytes(n))};
  }
}

}  // namespace

void KernelHeap::describe_heapinfo(Inspector& to) const {
  Moment now;
  blocks_.with([&now](const BlockHeap& blocks) { take_moment(blocks, now); });
  const auto number = [&to](std::string_view name, std::uint64_t value) {
    to.number(name, static_cast<std::int64_t>(value), Unit::none);
  };
  const HeapLevels& levels = now.levels;
  to.begin_object("", Layout::lines);
  number("total_bytes", levels.total_bytes);
  number("allocated_bytes", levels.allocated_bytes);
  number("used_bytes", levels.used_bytes);
  number("free_bytes", levels.free_bytes);
  number("largest_free", levels.largest_free);
  number("fill_percent", levels.total_bytes == 0 ? 0 : levels.allocated_bytes * 100 / levels.total_bytes);
  number("active_blocks", levels.active_blocks);
  number("allocations", now.allocations);
  number("frees", now.frees);
  number("failures", now.failures);
  number("misuses", now.misuses);
  number("expansions", now.expansions);
  number("contractions", now.contractions);
  to.begin_array("ranges", Layout::table);
  for (std::uint64_t n = 0; n < now.range_count; ++n) {
    to.begin_object("", Layout::row);
    to.hex("first", now.ranges[n].first);
    number("bytes", now.ranges[n].pages * kPageSize);
    number("free_at_end", now.ranges[n].free_at_end);
    to.end_object();
  }
  to.end_array();
  to.end_object();
}

void KernelHeap::print_statistics(Sink& to) const {
  TextRenderer columns(to);
  describe_heapinfo(columns);
}

}  // namespace memory

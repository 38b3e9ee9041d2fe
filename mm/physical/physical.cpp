// Physical: memory comes into service, and the paths that the caches do not serve.
// SPDX-License-Identifier: MIT
#include "mm/physical/physical.hpp"

namespace memory {

using stats::Counter;

Physical::Physical(Frame* frames, Pageblock* blocks, std::byte* direct_map, PhysAddr direct_end)
    : frames_(frames, blocks, direct_map, direct_end), node_(frames_, direct_end), caches_(node_) {
  record_.frames = &frames_.map();
  record_.nodes = 1;
  record_.node = {&node_.record()};
  record_.caches = caches_.all().data();
  record_.cache_count = caches_.all().size();
}

// ---- into service -----------------------------------------------------------------------------------------------

void Physical::make_present(PhysRange memory) {
  node_.for_each_part(memory, [this](ZoneKind kind, PhysRange part) {
    frames_.add(part, raw(kind));
    node_.zone(kind).span(part);
  });
  stats::add(Counter::frames_present, static_cast<std::int64_t>(memory.bytes() / kPageSize));
}

void Physical::donate(PhysRange memory) {
  node_.for_each_part(memory, [this](ZoneKind kind, PhysRange part) { node_.zone(kind).donate(part); });
  const auto frames = static_cast<std::int64_t>(memory.bytes() / kPageSize);
  stats::add(Counter::frames_managed, frames);
  stats::add(Counter::frames_free, frames);
}

void Physical::start(const BootInfo& info, EarlyAllocator& early) {
  for (std::size_t n = 0; n < info.memory_ranges; ++n)
    if (info.memory[n].kind == MemoryKind::available && !info.memory[n].range.empty())
      make_present(info.memory[n].range);
  record_.early_frames = early.allocated_frames();
  stats::add(Counter::frames_early, static_cast<std::int64_t>(early.allocated_frames()));
  early.hand_over([this](PhysRange range) { donate(range); });
  node_.choose_first_zones();
  serve_from_caches();
}

Result<void> Physical::add_memory(PhysRange memory, StorageMapper& storage) {
  const Mutex<Rank::range>::Hold hold(adding_);
  if (const Error error = frames_.addable(memory); error != Error::ok) return error;
  if (fail_plan_.strikes(FailSite::section_storage)) return Error::no_memory;
  const std::size_t taken = TRY(storage.map(memory, PhysAddr{frames_.map().direct_frames * kPageSize}));
  CHECK(taken <= memory.bytes() / kPageSize);
  make_present(memory);
  donate({memory.first + taken * kPageSize, memory.end});
  node_.choose_first_zones();
  serve_from_caches();
  record_.additions.fetch_add(1, std::memory_order_relaxed);
  stats::add(Counter::memory_additions);
  return {};
}

// ---- what the caches do not serve -------------------------------------------------------------------------------

// A block, `cached`, out of the first zone that can spare it, or kNone.
std::uint32_t Physical::take_from_zones(Order order, Gfp flags) {
  const ZoneKind first = node_.first_zone(flags);
  for (unsigned kind = raw(first) + 1; kind-- > 0;) {
    const auto here = static_cast<ZoneKind>(kind);
    const auto block = node_.zone(here).take(order, node_.floor(here, first, flags));
    if (block.ok()) return raw(block.take());
  }
  return FrameCaches::kNone;
}

[[gnu::noinline]] Result<FrameNumber> Physical::allocate_slowly(Order order, Gfp flags) {
  DCHECK(memory::valid(flags));
  if (order > kMaxOrder) return Error::invalid;
  std::uint32_t block = FrameCaches::kNone;
  if (!fail_plan_.strikes(FailSite::frame_block)) {
    const ZoneKind first = node_.first_zone(flags);
    block = caches_.refill_and_take(first, order, node_.floor(first, first, flags));
    if (block == FrameCaches::kNone) block = take_from_zones(order, flags);
    if (block == FrameCaches::kNone && caches_.drain() > 0) block = take_from_zones(order, flags);
    if (block == FrameCaches::kNone && reclaimer_ != nullptr && reclaimer_->reclaim() > 0) {
      (void)caches_.drain();
      block = take_from_zones(order, flags);
    }
  }
  if (block != FrameCaches::kNone) return hand_out(FrameNumber{block}, order);
  record_.failures.fetch_add(1, std::memory_order_relaxed);
  stats::add(Counter::frame_failures);
  return Error::no_memory;
}

[[gnu::noinline]] void Physical::release_slowly(FrameNumber number, Order order) {
  const ZoneKind kind = node_.kind_of(number);
  if (caches_.make_room_and_put(kind, order, raw(number))) return;
  node_.zone(kind).give(number, order);
}

[[gnu::noinline]] Error Physical::refuse(FrameNumber number, Order order) {
  if (order > kMaxOrder) return Error::invalid;
  const Error error = frames_.has(number) ? node_.zone_of(number).misuse_of(number, order) : Error::wild_free;
  record_.misuses.fetch_add(1, std::memory_order_relaxed);
  stats::add(Counter::frame_misuses);
  return error;
}

// Sets the caches' service as it should be now, and their sizes for the zones as they are now.
void Physical::serve_from_caches() {
  caches_.set_service(fail_plan_.armed() ? FrameCaches::Service::off : caching_);
}

void Physical::set_caching(FrameCaches::Service service) {
  caching_ = service;
  serve_from_caches();
}

void Physical::fail_nth(std::uint64_t n) {
  fail_plan_.arm(n);
  serve_from_caches();
}

// ---- poison -----------------------------------------------------------------------------------------------------

// Frames that were donated and never freed are not filled: filling all of memory at boot would make the host commit
// all of it. Frames beyond the direct map have no poison.
void Physical::verify_poison(FrameNumber number, Order order) {
  for (FrameNumber at = number; at < number + frames_in(order); ++at) {
    auto& flags = frames_[at].flags;
    const auto poisoned = static_cast<std::uint8_t>(FrameFlag::poisoned);
    if ((flags.load(std::memory_order_relaxed) & poisoned) == 0) continue;
    platform::unpoison(frames_.open(at).bytes(), kPageSize, platform::Poison::free_frame);
    flags.fetch_and(static_cast<std::uint8_t>(~poisoned), std::memory_order_relaxed);
  }
}

void Physical::poison(FrameNumber number, Order order) {
  if (!frames_.in_direct_map(number)) return;
  for (FrameNumber at = number; at < number + frames_in(order); ++at) {
    platform::poison(frames_.open(at).bytes(), kPageSize, platform::Poison::free_frame);
    frames_[at].flags.fetch_or(static_cast<std::uint8_t>(FrameFlag::poisoned), std::memory_order_relaxed);
  }
  record_.poisoned_frames.fetch_add(frames_in(order), std::memory_order_relaxed);
  stats::add(Counter::frames_poisoned, static_cast<std::int64_t>(frames_in(order)));
}

// ---- levels -----------------------------------------------------------------------------------------------------

ZoneLevels Physical::zone_levels() const {
  ZoneLevels sum{};
  for (const Zone& zone : node_.zones()) {
    const ZoneLevels levels = zone.levels();
    sum.free_frames += levels.free_frames;
    sum.managed_frames += levels.managed_frames;
  }
  return sum;
}

PhysicalLevels Physical::levels() const {
  const ZoneLevels zones = zone_levels();
  const std::uint64_t cached = caches_.cached_frames();
  return {.present = frames_.present_frames(),
          .managed = zones.managed_frames,
          .free = zones.free_frames + cached,
          .cached = cached,
          .reserved = frames_.present_frames() - zones.managed_frames};
}

std::array<std::uint64_t, config::max_order + 1> Physical::free_blocks() const {
  std::array<std::uint64_t, config::max_order + 1> sum{};
  for (const Zone& zone : node_.zones()) {
    const auto blocks = zone.free_blocks();
    for (std::size_t order = 0; order < sum.size(); ++order) sum[order] += blocks[order];
  }
  return sum;
}

bool Physical::valid() const {
  for (const Zone& zone : node_.zones())
    if (!zone.valid()) return false;
  return caches_.valid(frames_);
}

}  // namespace memory

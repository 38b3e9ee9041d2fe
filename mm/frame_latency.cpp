// FrameLatency: the run and its description.
// SPDX-License-Identifier: MIT
#include "mm/frame_latency.hpp"

#include <algorithm>

#include "mm/base/bits.hpp"
#include "mm/stats/inspector.hpp"

namespace memory {

namespace {

// What the zones gave out on this CPU less what came home, in frames.
std::int64_t zone_frames() {
  constexpr auto kSlot = static_cast<std::size_t>(stats::Counter::frames_free);
  return platform::percpu().counters[kSlot].load(std::memory_order_relaxed);
}

}  // namespace

unsigned LatencyHistogram::bucket_of(std::uint64_t spent) {
  return std::min(spent == 0 ? 0u : 63u - static_cast<unsigned>(__builtin_clzll(spent)), kBuckets - 1);
}

void LatencyHistogram::add(std::uint64_t spent) {
  ++buckets[bucket_of(spent)];
  ++calls;
  least = std::min(least, spent);
  most = std::max(most, spent);
  ticks += spent;
}

Result<void> FrameLatency::open(MemoryManager& manager, std::uint64_t (*ticks)(), std::uint64_t seed) {
  manager_ = &manager;
  ticks_ = ticks;
  random_ = Random{seed};
  table_frame_ = TRY(manager.alloc_pages(kTableOrder));
  table_ = reinterpret_cast<Held*>(manager.physical().frames().open(table_frame_).bytes());
  held_ = 0;
  filling_ = true;
  refused_ = 0;
  for (auto& verb : histograms_)
    for (auto& order : verb) order.fill({});
  own_ticks_ = ~std::uint64_t{0};
  for (unsigned n = 0; n < 8; ++n) {
    const std::uint64_t before = ticks_();
    own_ticks_ = std::min(own_ticks_, ticks_() - before);
  }
  return {};
}

void FrameLatency::close() {
  while (held_ > 0) {
    const Held last = table_[--held_];
    CHECK(manager_->free_pages(last.number, Order{static_cast<std::uint8_t>(last.order)}).ok());
  }
  CHECK(manager_->free_pages(table_frame_, kTableOrder).ok());
  table_ = nullptr;
}

template <typename Body>
void FrameLatency::measure(Verb verb, Order order, Body&& body) {
  const std::uint64_t state = platform::irq_save();
  const std::int64_t before = zone_frames();
  const std::uint64_t start = ticks_();
  const bool done = body();
  const std::uint64_t spent = ticks_() - start;
  const Path path = zone_frames() == before && done ? Path::fast : Path::slow;
  platform::irq_restore(state);
  histograms_[raw(verb)][raw(order)][raw(path)].add(spent > own_ticks_ ? spent - own_ticks_ : 0);
}

void FrameLatency::step() {
  const ZoneLevels levels = manager_->physical().zone_levels();
  if (levels.free_frames * 10 < levels.managed_frames || held_ == kMostHeld) filling_ = false;
  if (levels.free_frames * 10 > levels.managed_frames * 7 || held_ == 0) filling_ = true;
  const bool against_the_tide = random_.below(4) == 0;
  if (held_ == 0 || (filling_ != against_the_tide && held_ < kMostHeld)) return allocate();
  release(random_.below(held_));
}

// Order n is half as likely as order n - 1.
void FrameLatency::allocate() {
  const Order order{static_cast<std::uint8_t>(lowest_bit(random_.next() | 1u << config::max_order))};
  Held& held = table_[held_];
  bool taken = false;
  measure(Verb::alloc, order, [&] {
    const auto block = manager_->alloc_pages(order);
    taken = block.ok();
    if (taken) held = {block.take(), memory::raw(order)};
    return taken;
  });
  if (taken)
    ++held_;
  else
    ++refused_;
}

void FrameLatency::release(std::size_t slot) {
  const Held held = table_[slot];
  const Order order{static_cast<std::uint8_t>(held.order)};
  measure(Verb::free, order, [&] { return manager_->free_pages(held.number, order).ok(); });
  table_[slot] = table_[--held_];
}

void FrameLatency::describe(Inspector& to) const {
  constexpr std::string_view kVerbs[] = {"alloc", "free"};
  constexpr std::string_view kPaths[] = {"fast", "slow"};
  unsigned first = LatencyHistogram::kBuckets;
  unsigned end = 0;
  const auto each = [this](auto&& body) {
    for (std::size_t verb = 0; verb < 2; ++verb)
      for (std::size_t order = 0; order < kOrders; ++order)
        for (std::size_t path = 0; path < 2; ++path)
          if (histograms_[verb][order][path].calls > 0) body(verb, order, path);
  };
  each([&](std::size_t verb, std::size_t order, std::size_t path) {
    const LatencyHistogram& histogram = histograms_[verb][order][path];
    first = std::min(first, LatencyHistogram::bucket_of(histogram.least));
    end = std::max(end, LatencyHistogram::bucket_of(histogram.most) + 1);
  });
  const auto number = [&to](std::string_view name, std::uint64_t value) {
    to.number(name, static_cast<std::int64_t>(value), Unit::none);
  };
  number("refused", refused_);
  number("first_bucket", std::min(first, end));
  to.begin_array("from", Layout::row);
  for (unsigned bucket = first; bucket < end; ++bucket) number("", std::uint64_t{1} << bucket);
  to.end_array();
  to.begin_array("paths", Layout::lines);
  each([&](std::size_t verb, std::size_t order, std::size_t path) {
    const LatencyHistogram& histogram = histograms_[verb][order][path];
    to.begin_object("", Layout::row);
    to.text("call", kVerbs[verb]);
    number("order", order);
    to.text("path", kPaths[path]);
    number("calls", histogram.calls);
    number("least", histogram.least);
    number("mean", histogram.ticks / histogram.calls);
    number("most", histogram.most);
    to.begin_array("buckets", Layout::row);
    for (unsigned bucket = first; bucket < end; ++bucket) number("", histogram.buckets[bucket]);
    to.end_array();
    to.end_object();
  });
  to.end_array();
}

}  // namespace memory

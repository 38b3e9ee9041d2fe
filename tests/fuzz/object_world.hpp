// The machine of kmalloc_fuzz.cpp, what is drawn for it, and what must hold of it against the model.
// SPDX-License-Identifier: MIT
#pragma once
#include <fuzzer/FuzzedDataProvider.h>

#include <array>
#include <memory>
#include <optional>
#include <set>

#include "mm/base/random.hpp"
#include "mm/host/machine.hpp"
#include "tests/fuzz/object_model.hpp"
#include "tests/unit/world.hpp"

namespace object_model {

inline constexpr std::size_t kMostCaches = 8;
inline constexpr std::size_t kMostLive = 600;
inline constexpr std::uint64_t kLowEnd = 16_MiB;

inline std::int64_t constructed = 0;
inline void construct(void* object) {
  ++constructed;
  std::memcpy(object, &kMade, sizeof kMade);
}
inline void destruct(void* object) {
  --constructed;
  MUST(std::memcmp(object, &kMade, sizeof kMade) == 0);
}

// Out of reach is what ASan reports.
class Hider final : public FrameHider {
 public:
  explicit Hider(const FrameTable& frames) : frames_(frames) {}
  void hide(FrameNumber first, Order order) override {
    hidden_.insert(raw(first));
    platform::poison(frames_.open(first).bytes(), bytes_in(order), platform::Poison::free_frame);
  }
  void show(FrameNumber first, Order order) override {
    hidden_.erase(raw(first));
    platform::unpoison(frames_.open(first).bytes(), bytes_in(order), platform::Poison::free_frame);
  }
  bool hides(const void* at) const {
    return hidden_.contains(raw(frames_.frame_behind(reinterpret_cast<std::uint64_t>(at))));
  }
  std::size_t count() const { return hidden_.size(); }

 private:
  const FrameTable& frames_;
  std::set<std::uint32_t> hidden_;
};

// Frames that somebody else has.
struct Block {
  FrameNumber first;
  Order order;
};

// Numbers out of the input, or while a stream is played, out of that: so a short input makes a long history.
class Draw {
 public:
  Draw(const std::uint8_t* data, std::size_t size) : input_(data, size) {}

  bool empty() { return input_.remaining_bytes() == 0; }
  void play(std::uint64_t seed) { stream_.emplace(seed); }
  void stop() { stream_.reset(); }

  std::uint64_t up_to(std::uint64_t last) {
    if (!stream_) return input_.ConsumeIntegralInRange<std::uint64_t>(0, last);
    const std::uint64_t word = stream_->next();
    return last == ~std::uint64_t{0} ? word : word % (last + 1);
  }
  std::uint64_t below(std::uint64_t end) { return up_to(end - 1); }
  bool flip() { return up_to(1) != 0; }
  std::size_t size() {
    const std::uint64_t kind = up_to(255);
    if (kind == 255) return up_to(3 * Kmalloc::kMaxBytes);
    const std::uint64_t most = std::uint64_t{16} << kind % (kind < 192 ? 10 : 14);
    return kind % 4 == 0 ? most : up_to(most);
  }
  Gfp flags() {
    constexpr Gfp kFlags[] = {Gfp::kernel, Gfp::atomic, Gfp::user, Gfp::kernel | Gfp::dma,
                              Gfp::atomic | Gfp::dma};
    return kFlags[below(std::size(kFlags))];
  }

 private:
  FuzzedDataProvider input_;
  std::optional<Random> stream_;
};

class ObjectWorld {
 public:
  ObjectWorld(const std::uint8_t* data, std::size_t size) : draw(data, size) {
    draw.play(draw.up_to(0xffff));  // two bytes for the machine
    host::seed_random(draw.up_to(255));
    constructed = 0;
    const auto cpus = static_cast<unsigned>(1 + draw.up_to(1));
    const auto slots = static_cast<std::uint32_t>(draw.up_to(6));
    const auto every = static_cast<std::uint32_t>(draw.up_to(4));
    const FrameNumber pool = draw_memory(slots);
    draw.stop();
    machine_.reset(host::Machine::create({.memory = memory_, .reserved = reserved_, .cpus = cpus}).take());
    hider_.emplace(machine().frames());
    stand_on(0);
    if (slots > 0) heap().guards().start(machine().frames(), *hider_, pool, slots, every);
    free_before_ = physical().levels().free;
  }

  Draw draw;
  Model model;
  std::vector<KmemCache*> caches;        // of create()
  std::vector<KmemCache*> constructing;  // of these, with a constructor
  std::vector<KmemCache*> low_caches;    // of these, below 16 MiB
  std::vector<Block> hogs;

  memory::Machine& machine() { return **machine_; }
  MemoryManager& manager() { return machine().manager(); }
  Physical& physical() { return machine().physical(); }
  Heap& heap() { return manager().heap(); }
  Kmalloc& kmalloc() { return manager().kmalloc(); }
  bool is_all_free() { return physical().levels().free == free_before_ && constructed == 0; }
  void stand_on(unsigned cpu) {
    cpu_.reset();
    cpu_.emplace(machine().cpu(cpu));
  }
  bool is_low(const KmemCache* cache) const {
    return std::ranges::find(low_caches, cache) != low_caches.end();
  }
  KmemCache* any_cache() { return caches.empty() ? nullptr : caches[draw.below(caches.size())]; }

  std::uint64_t physical_of(const void* at) {
    return static_cast<std::uint64_t>(static_cast<const std::byte*>(at) -
                                      machine().frames().map().direct_map);
  }

  // The place of a live object for which `fits`, from a drawn one on.
  template <typename Fits>
  std::optional<std::size_t> any_live(Fits&& fits) {
    const std::size_t count = model.live.size();
    if (count == 0) return {};
    const std::size_t from = draw.below(count);
    for (std::size_t n = 0; n < count; ++n)
      if (fits(model.live[(from + n) % count])) return (from + n) % count;
    return {};
  }

  // An address that may be anybody's.
  void* any_address() {
    static int global;
    const FrameTable& frames = machine().frames();
    std::byte* const memory = frames.map().direct_map;
    const std::size_t end = memory_.back().end.value;
    const std::uint64_t kind = draw.up_to(9);
    if (kind <= 3 && !model.live.empty())
      return model.live[draw.below(model.live.size())].at + static_cast<std::int16_t>(draw.up_to(0xffff));
    if (kind <= 5) return dead_[draw.below(dead_.size())];
    if (kind == 6) return reinterpret_cast<void*>(draw.up_to(~std::uint64_t{0}));
    if (kind == 7) return caches.empty() ? static_cast<void*>(&global) : any_cache();
    const std::size_t first = memory_.front().first.value;
    const std::size_t at = first + draw.up_to(end + 2 * kPageSize - first);
    return memory + (kind == 8 ? at / 64 * 64 : at);
  }
  void died(const Live& one) { dead_[dead_next_++ % dead_.size()] = one.at; }

  // Whether a request for such a block may fail: no zone has one twice as large above its watermark.
  bool is_short_of(Order order, Gfp flags) {
    const ZoneKind first = physical().node().first_zone(flags);
    for (unsigned kind = raw(first) + 1; kind-- > 0;) {
      const auto here = static_cast<ZoneKind>(kind);
      const Zone& zone = physical().zone(here);
      const auto blocks = zone.free_blocks();
      const std::uint64_t spare = physical().node().floor(here, first, Gfp::kernel) + 4 * frames_in(order);
      if (zone.levels().free_frames < spare) continue;
      for (std::size_t larger = raw(order) + 1u; larger < blocks.size(); ++larger)
        if (blocks[larger] > 0) return false;
    }
    return true;
  }
  // Runs a call that obtains memory: it fails just when its failure was planned, and else only when memory is short.
  template <typename Call>
  auto obtain(std::size_t bytes, Gfp flags, Call&& call) {
    const FailPlan& plan = physical().fail_plan();
    const bool pending = plan.pending();
    const auto made = call();
    if (pending && !plan.pending()) {
      MUST(made.error() == Error::no_memory);
    } else if (!made.ok()) {
      MUST(made.error() == Error::no_memory);
      const auto order =
          static_cast<unsigned>(bytes > kPageSize ? std::bit_width((bytes - 1) / kPageSize) : 0);
      const Order needed{static_cast<std::uint8_t>(std::max<unsigned>(order, SlabCut::kMaxOrder))};
      MUST(is_short_of(needed, flags) || is_short_of(needed, anywhere(flags)));
    }
    return made;
  }

  // Whether that object of the guard pool is in sight, and nothing beside its page.
  bool is_alone(const unsigned char* at) const {
    return !hider_->hides(at) && hider_->hides(at - kPageSize) && hider_->hides(at + kPageSize);
  }
  bool is_hidden(const void* at) const { return hider_->hides(at); }
  // Something was handed out: it is what was asked for, and somebody's from now on.
  void keep(void* at, std::size_t bytes, KmemCache* cache, bool low) {
    const Slab* const slab = heap().slab_at(at);
    Live one{.at = static_cast<unsigned char*>(at), .bytes = bytes, .room = 0, .cache = cache, .low = low};
    one.guarded = slab != nullptr && slab->in_guard_pool();
    one.pattern = ++pattern_;
    const std::size_t most = cache != nullptr ? bytes : room_for(bytes, low);
    one.room = one.guarded ? std::max<std::size_t>(bytes, 1) : most;
    if (cache != nullptr) {
      one.constructed = std::ranges::find(constructing, cache) != constructing.end();
      MUST(reinterpret_cast<std::uint64_t>(at) % cache->record().align == 0);
      MUST(cache->misuse_of(at) == Error::ok);
    } else {
      MUST(reinterpret_cast<std::uint64_t>(at) % align_for(bytes) == 0);
      MUST(kmalloc().usable_bytes(at).take() == one.room);
      MUST(kmalloc().misuse_of(at) == Error::ok);
    }
    if (low) MUST(physical_of(at) + one.room <= kLowEnd);
    if (one.guarded) MUST(!low && !one.constructed && !physical().fail_plan().armed());
    if (one.guarded) MUST(is_alone(one.at));
    if (one.constructed) MUST(std::memcmp(at, &kMade, sizeof kMade) == 0);
    one.fill();
    model.live.push_back(one);
  }
  // A number for all that a refused call must leave alone.
  std::uint64_t state() {
    std::uint64_t sum = unit::fingerprint(machine());
    const auto mix = [&sum](std::uint64_t word) {
      sum = (sum ^ word) * 0x9e37'79b9'7f4a'7c15, sum ^= sum >> 29;
    };
    heap().for_each([&mix](const KmemCache& cache) {
      const CacheLevels levels = cache.levels();
      for (const std::uint64_t level : {levels.allocated, levels.guarded, levels.cached, levels.objects,
                                        levels.slabs, levels.empty_slabs, levels.magazines})
        mix(level);
    });
    const GuardPoolRecord& guards = heap().guards().record();
    for (std::uint32_t n = 0; n < guards.count; ++n) {
      std::uint64_t words[sizeof(GuardSlot) / 8];
      std::memcpy(words, static_cast<const void*>(guards.slots + n), sizeof words);
      for (const std::uint64_t word : words) mix(word);
    }
    mix(heap().idle().slab_bytes());
    mix(heap().idle().out_bytes());
    return sum;
  }
  // Nothing is left in between.
  void quiesce() {
    heap().quiesce();
    physical().quiesce();
    std::uint64_t out_bytes = 0;
    heap().for_each([&out_bytes](const KmemCache& cache) {
      const CacheLevels levels = cache.levels();
      MUST(levels.cached == 0 && levels.empty_slabs == 0 && levels.magazines == 0);
      out_bytes += levels.allocated * cache.cut().stride;
    });
    MUST(out_bytes == heap().idle().out_bytes());
    prove();
  }
  // Each cache has what the model has, and all frames that are not free are somebody's.
  void prove() {
    MUST(manager().valid());
    std::uint64_t frames = 0;
    std::int64_t count_made = 0;
    std::uint64_t slab_bytes = 0;
    heap().for_each([&](const KmemCache& cache) {
      const CacheLevels levels = cache.levels();
      frames += levels.slabs << cache.cut().order;
      slab_bytes += levels.slabs * bytes_in(Order{cache.cut().order});
      if (std::ranges::find(constructing, &cache) != constructing.end())
        count_made += static_cast<std::int64_t>(levels.objects);
      if (cache.watched()) prove(cache, levels);
    });
    for (const Live& one : model.live)
      if (one.cache == nullptr && one.room > kMaxClassBytes) frames += one.room / kPageSize;
    for (const Block& block : hogs) frames += frames_in(block.order);
    MUST(physical().levels().free + frames == free_before_);
    const std::uint32_t slots = heap().guards().record().count;
    const auto guarded = static_cast<std::size_t>(std::ranges::count_if(model.live, &Live::guarded));
    MUST(hider_->count() == (slots == 0 ? 0 : 2 * slots + 1 - guarded));
    MUST(count_made == constructed && slab_bytes == heap().idle().slab_bytes());
  }
  void prove(const KmemCache& cache, const CacheLevels& levels) {
    std::vector<const void*> expected;
    std::uint64_t guarded = 0;
    const bool low = cache.name().starts_with("dma-");
    for (const Live& one : model.live) {
      const bool own = one.cache != nullptr ? one.cache == &cache
                                            : is_kmallocs(cache) && one.low == low &&
                                                  room_for(one.bytes, low) == cache.object_bytes();
      if (own) expected.push_back(one.at), guarded += one.guarded;
    }
    std::vector<const void*> found(kMostLive);
    found.resize(cache.live_objects(found));
    std::ranges::sort(expected);
    std::ranges::sort(found);
    MUST(found == expected);
    MUST(levels.guarded == guarded && levels.active() == expected.size());
  }

 private:
  // All of it low, a little of it, or both zones; the first frame of the guard pool's.
  FrameNumber draw_memory(std::uint32_t slots) {
    const std::uint64_t shape = draw.up_to(2);
    if (shape == 0) memory_ = {unit::frames(0, 1200)};
    if (shape == 1) memory_ = {unit::frames(3, 160)};
    if (shape == 2) memory_ = {unit::frames(3900, 4096), unit::frames(4096, 4600)};
    const std::uint64_t first = memory_.front().first.value / kPageSize + 10;
    if (slots > 0) reserved_ = {unit::frames(first, first + GuardPool::frames_for(slots))};
    return FrameNumber{static_cast<std::uint32_t>(first)};
  }

  std::vector<PhysRange> memory_;
  std::vector<PhysRange> reserved_;
  std::unique_ptr<host::Machine> machine_;
  std::optional<Hider> hider_;
  std::optional<host::Cpu> cpu_;
  std::uint64_t free_before_ = 0;
  std::array<void*, 32> dead_{};  // what was released last
  std::size_t dead_next_ = 0;
  unsigned char pattern_ = 0;
};

}  // namespace object_model

// libFuzzer target: any calls of the floor of objects on a small machine of one or two CPUs, right and wrong, against a table of
// what is live and what it holds.
// SPDX-License-Identifier: MIT
#include "tests/fuzz/object_world.hpp"

namespace {

using namespace memory;
using namespace object_model;

enum class Action : std::uint8_t {
  kmalloc,
  kzalloc,
  array,
  krealloc,
  kfree,
  create,
  destroy,
  allocate,
  release,
  allocate_bulk,
  release_bulk,
  stray,
  wrong_size,
  overrun,
  free_frames,
  give_back,
  change_cpu,
  fail,
  hog,
  ebb,
  prove,
  storm
};
constexpr auto kCalls = static_cast<std::uint64_t>(Action::storm);

// Whether a refused call is seen to change nothing, which costs more than the call.
enum class Look : std::uint8_t { errors, state };

class Run : ObjectWorld {
 public:
  using ObjectWorld::ObjectWorld;

  void go() {
    while (!draw.empty()) step(any_action(Action::storm, 32));
    manager().fail_nth(0);
    prove();
    while (!model.live.empty()) release(model.live.size() - 1);
    while (!caches.empty()) destroy(caches.size() - 1);
    unhog();
    quiesce();
    MUST(is_all_free());
  }

 private:
  // ---- right calls ----
  void allocate_kmalloc(Action how) {
    if (model.live.size() >= kMostLive) return;
    const std::size_t count = how == Action::array ? draw.size() : 1;
    const std::size_t each = how == Action::array && draw.flip() ? ~std::size_t{0} / 3 : draw.size();
    std::size_t bytes = 0;
    const bool wraps = __builtin_mul_overflow(count, each, &bytes);
    const Gfp flags = draw.up_to(63) == 0 ? Gfp::highmem : draw.flags();
    const auto call = [&]() -> Result<void*> {
      if (how == Action::array) return kmalloc().allocate_array(count, each, flags);
      if (how == Action::kzalloc) return kmalloc().allocate_zeroed(each, flags);
      return bytes % 2 == 0 ? kmalloc().allocate(each, flags) : manager().krealloc(nullptr, each, flags);
    };
    if (const Error error = wraps ? Error::too_big : refusal_of(bytes, flags); error != Error::ok) {
      MUST(call().error() == error);
      return;
    }
    const auto made = obtain(bytes, flags, call);
    if (!made.ok()) return;
    if (how != Action::kmalloc)
      for (std::size_t n = 0, end = kmalloc().usable_bytes(made.take()).take(); n < end; ++n)
        MUST(static_cast<unsigned char*>(made.take())[n] == 0);
    keep(made.take(), bytes, nullptr, has(flags, Gfp::dma));
  }
  void resize() {
    const auto slot = any_live([](const Live& one) { return one.cache == nullptr; });
    if (!slot) return;
    const Live old = model.live[*slot];
    const std::size_t bytes = draw.size();
    const Gfp flags = draw.flags();
    const auto call = [&] { return manager().krealloc(old.at, bytes, flags); };
    if (!old.guarded && bytes <= Kmalloc::kMaxBytes && room_for(bytes, old.low) == old.room) {
      MUST(call().take() == old.at);
      old.intact();
      model.live[*slot].bytes = bytes;
      MUST(reinterpret_cast<std::uint64_t>(old.at) % align_for(bytes) == 0);
      return;
    }
    const Error error = refusal_of(bytes, flags);
    const auto made = error != Error::ok ? call() : obtain(bytes, flags, call);
    if (error != Error::ok) MUST(made.error() == error);
    if (!made.ok()) return old.intact();
    Live moved = model.take(*slot);
    died(old);
    moved.at = static_cast<unsigned char*>(made.take());
    MUST(moved.at != old.at);
    moved.intact(std::min(bytes, old.room));
    keep(made.take(), bytes, nullptr, has(flags, Gfp::dma));
  }
  // Releases it, then once more.
  void release(std::size_t slot) {
    const Live one = model.take(slot);
    one.intact();
    if (one.cache != nullptr) {
      MUST(manager().cache_free(*one.cache, one.at).ok());
    } else {
      MUST((one.bytes % 2 == 0 ? manager().kfree(one.at) : manager().kfree_sized(one.at, one.bytes)).ok());
    }
    died(one);
    if (one.guarded) MUST(is_hidden(one.at));
    MUST(model.verdict(manager(), one.cache, one.at) == Error::double_free);
    refused(one.cache, one.at, Look::errors);
  }

  // ---- caches ----
  void create() {
    const unsigned align_bits = static_cast<unsigned>(2 + draw.up_to(11));
    const std::size_t bytes = draw.size();
    CacheShape shape{.name = "fuzzed", .object_bytes = static_cast<std::uint32_t>(bytes)};
    shape.align = 1u << align_bits;
    if (draw.flip()) shape.zone = Gfp::kernel | Gfp::dma;
    if (draw.flip()) shape.magazines = CacheShape::Magazines::off;
    const bool constructs = draw.flip() && bytes >= sizeof kMade;
    if (constructs) shape.construct = construct, shape.destruct = destruct;
    const bool aligned = align_bits >= 3 && align_bits <= 12;
    if (bytes == 0 || !aligned || bytes > SlabCut::kMaxBytes) {
      MUST(heap().create(shape).error() == (bytes == 0 || !aligned ? Error::invalid : Error::too_big));
      return;
    }
    if (caches.size() >= kMostCaches) return;
    const auto made = obtain(1, Gfp::kernel, [&] { return heap().create(shape); });
    if (!made.ok()) return;
    MUST(heap().made(made.take()->number()) == made.take() && made.take()->object_bytes() == bytes);
    caches.push_back(made.take());
    if (constructs) constructing.push_back(made.take());
    if (has(shape.zone, Gfp::dma)) low_caches.push_back(made.take());
  }
  void destroy(std::size_t which) {
    KmemCache* const cache = caches[which];
    if (model.count_of(cache) != 0) {
      MUST(heap().destroy(*cache).error() == Error::busy);
      return;
    }
    const unsigned number = cache->number();
    MUST(heap().destroy(*cache).ok() && heap().cache(number) == nullptr);
    std::erase(caches, cache);
    std::erase(constructing, cache);
    std::erase(low_caches, cache);
    MUST(heap().destroy(*cache).error() == Error::not_found);
  }
  void allocate_from(KmemCache& cache) {
    if (model.live.size() >= kMostLive) return;
    const Gfp flags = draw.flags();
    const bool low = is_low(&cache);
    if (has(flags, Gfp::dma) && !low) {
      MUST(cache.allocate(flags).error() == Error::invalid);
      return;
    }
    const auto made =
        obtain(cache.object_bytes(), low ? flags | Gfp::dma : flags, [&] { return cache.allocate(flags); });
    if (made.ok()) keep(made.take(), cache.object_bytes(), &cache, low);
  }
  void allocate_bulk(KmemCache& cache) {
    std::vector<void*> objects(draw.below(80) + 1);
    if (model.live.size() + objects.size() > kMostLive) return;
    const bool low = is_low(&cache);
    const Gfp flags = low ? Gfp::kernel | Gfp::dma : Gfp::kernel;
    // What it had obtained until then is free again when it failed, so it may have needed twice as much.
    const std::size_t slabs = objects.size() / cache.cut().objects + 1;
    const std::size_t most = 2 * slabs * bytes_in(Order{cache.cut().order});
    const auto made = obtain(most, flags, [&] { return cache.allocate_bulk(objects, Gfp::kernel); });
    if (!made.ok()) return;
    for (void* const object : objects) keep(object, cache.object_bytes(), &cache, low);
  }
  // Some of a cache's objects, maybe with one too many among them.
  void release_bulk(KmemCache& cache) {
    std::size_t most = draw.below(80) + 1;
    std::vector<void*> objects;
    for (const Live& one : model.live)
      if (one.cache == &cache && most > 0) objects.push_back(one.at), one.intact(), --most;
    if (objects.empty()) return;
    Error expected = Error::ok;
    if (draw.flip()) {
      void* const wrong = draw.flip() ? objects[draw.below(objects.size())] : any_address();
      const std::size_t place = draw.below(objects.size());
      expected = model.verdict(manager(), &cache, wrong);
      if (expected == Error::ok) {  // an object of the cache: there twice, unless it was none of those
        const bool twice = std::ranges::find(objects, wrong) != objects.end();
        if (twice) expected = Error::double_free;
        if (!twice) return;
      }
      objects.insert(objects.begin() + static_cast<std::ptrdiff_t>(place), wrong);
    }
    const std::uint64_t before = state();
    MUST(cache.release_bulk(objects).error() == expected);
    if (expected != Error::ok) {
      MUST(state() == before);
      return;
    }
    for (void* const object : objects) {
      const auto found = std::ranges::find(model.live, object, &Live::at);
      died(model.take(static_cast<std::size_t>(found - model.live.begin())));
    }
  }

  // ---- wrong calls ----
  // Calls that take `address`, which `receiver` must refuse as the model says, change nothing.
  void refused(KmemCache* receiver, void* address, Look look) {
    const Error expected = model.verdict(manager(), receiver, address);
    if (expected == Error::ok || address == nullptr) return;
    const std::uint64_t before = look == Look::state ? state() : 0;
    const std::uint64_t number = manager().last_misuse().number;
    const std::size_t bytes = reinterpret_cast<std::uint64_t>(address) / 8 % 5000;
    if (receiver != nullptr) {
      MUST(receiver->misuse_of(address) == expected);
      MUST(manager().cache_free(*receiver, address).error() == expected);
    } else {
      MUST(kmalloc().misuse_of(address) == expected);
      MUST(kmalloc().usable_bytes(address).error() == expected);
      MUST(manager().kfree_sized(address, bytes).error() == expected);
      MUST(manager().krealloc(address, bytes).error() == expected);
      MUST(manager().kfree(address).error() == expected);
    }
    const MisuseReport report = manager().last_misuse();
    MUST(report.number == number + (receiver != nullptr ? 1 : 3) && report.error == expected);
    MUST(report.address == reinterpret_cast<std::uint64_t>(address));
    if (look == Look::state) MUST(state() == before);
  }
  void wrong_size() {
    const auto slot = any_live([](const Live& one) { return one.cache == nullptr; });
    if (!slot) return;
    const Live& one = model.live[*slot];
    const std::size_t bytes = draw.size();
    if (bytes <= Kmalloc::kMaxBytes && room_for(bytes, one.low) == room_for(one.bytes, one.low)) return;
    const std::uint64_t before = state();
    MUST(manager().kfree_sized(one.at, bytes).error() == Error::wrong_size);
    MUST(state() == before);
    one.intact();
  }
  // Writes beside an object of the guard pool: nobody takes it back until that is undone.
  void overrun() {
    const auto slot = any_live([](const Live& one) { return one.guarded; });
    if (!slot) return;
    const Live& one = model.live[*slot];
    const std::size_t at = reinterpret_cast<std::uint64_t>(one.at) % kPageSize;
    const std::size_t wrong = draw.below(kPageSize);
    if (wrong >= at && wrong < at + one.room) return;
    unsigned char& byte = (one.at - at)[wrong];
    const Error expected = wrong < at ? Error::underflow : Error::overflow;
    byte = static_cast<unsigned char>(~byte);
    const auto address = reinterpret_cast<std::uint64_t>(&byte);
    MUST(heap().guards().slot_meant(address) == heap().slab_at(one.at));
    MUST(report_on_guard(*heap().slab_at(one.at), address).error == expected);
    const std::uint64_t before = state();
    void* const objects[] = {one.at};
    if (one.cache != nullptr) {
      MUST(manager().cache_free(*one.cache, one.at).error() == expected);
      MUST(one.cache->release_bulk(objects).error() == expected);
    } else {
      MUST(manager().kfree(one.at).error() == expected);
      MUST(manager().kfree_sized(one.at, one.bytes).error() == expected);
    }
    MUST(state() == before);
    if (one.cache == nullptr) {
      const Error moved = manager().krealloc(one.at, one.bytes).error();
      MUST(moved == expected || moved == Error::no_memory);
    }
    byte = static_cast<unsigned char>(~byte);
    one.intact();
  }
  // The frames of an object are nobody's to give away.
  void free_frames() {
    if (model.live.empty()) return;
    const Live& one = model.live[draw.below(model.live.size())];
    const FrameNumber frame = machine().frames().frame_behind(reinterpret_cast<std::uint64_t>(one.at));
    const std::uint64_t before = state();
    for (std::uint8_t order = 0; order <= raw(kMaxOrder); ++order)
      MUST(is_misuse(manager().free_pages(frame, Order{order}).error()));
    MUST(state() == before);
    one.intact();
  }

  // ---- the rest of the machine ----
  void give_back() {
    KmemCache* const cache = any_cache();
    const std::uint64_t how = draw.up_to(5);
    if (how == 0) return quiesce();
    if (how == 1) (void)heap().shrink();
    if (how == 2) (void)physical().drain();
    if (cache == nullptr) return;
    const auto before = cache->levels();
    if (how == 3) (void)cache->shrink();
    if (how == 4) (void)cache->trim();
    if (how == 5) cache->quiesce();
    if (how >= 3 && how <= 5) MUST(cache->levels().cached == 0 && cache->levels().empty_slabs == 0);
    MUST(cache->levels().allocated == before.allocated);
  }
  void hog() {
    const Order order{static_cast<std::uint8_t>(draw.up_to(6))};
    for (std::uint64_t n = draw.up_to(255); n > 0; --n) {
      const auto got = physical().allocate(order, Gfp::atomic);
      if (!got.ok()) return;
      hogs.push_back({got.take(), order});
    }
  }
  void unhog() {
    for (; !hogs.empty(); hogs.pop_back())
      MUST(physical().release(hogs.back().first, hogs.back().order).ok());
  }
  // Much is released at once: what lies idle is given back.
  void ebb() {
    for (std::uint64_t n = draw.up_to(kMostLive); n > 0 && !model.live.empty(); --n)
      release(draw.below(model.live.size()));
  }
  void fail() {
    const std::uint64_t n = draw.up_to(11);
    manager().fail_nth(n <= 6 ? n : 0);
  }

  // Numbers above the last action's mean that one.
  Action any_action(Action last, std::uint64_t draws) {
    return static_cast<Action>(std::min(draw.below(draws), static_cast<std::uint64_t>(last)));
  }
  void storm() {
    const std::uint64_t seed = draw.up_to(255);
    const std::uint64_t steps = draw.up_to(255);
    draw.play(seed);
    for (std::uint64_t n = 0; n < steps; ++n) step(any_action(Action::prove, kCalls));
    draw.stop();
  }
  void step(Action action) {
    KmemCache* const cache = any_cache();
    switch (action) {
      case Action::kmalloc:
      case Action::kzalloc:
      case Action::array: return allocate_kmalloc(action);
      case Action::krealloc: return resize();
      case Action::kfree:
      case Action::release: {
        const bool of_cache = action == Action::release;
        const auto slot = any_live([&](const Live& one) { return (one.cache != nullptr) == of_cache; });
        return slot ? release(*slot) : void();
      }
      case Action::create: return create();
      case Action::destroy: return caches.empty() ? void() : destroy(draw.below(caches.size()));
      case Action::allocate: return cache != nullptr ? allocate_from(*cache) : create();
      case Action::allocate_bulk: return cache != nullptr ? allocate_bulk(*cache) : create();
      case Action::release_bulk: return cache != nullptr ? release_bulk(*cache) : void();
      case Action::stray: return refused(draw.flip() ? cache : nullptr, any_address(), Look::state);
      case Action::wrong_size: return wrong_size();
      case Action::overrun: return overrun();
      case Action::free_frames: return free_frames();
      case Action::give_back: return give_back();
      case Action::change_cpu: stand_on(static_cast<unsigned>(draw.below(machine().cpu_count()))); return;
      case Action::fail: return fail();
      case Action::hog: return hogs.empty() || draw.flip() ? hog() : unhog();
      case Action::ebb: return ebb();
      case Action::prove: return prove();
      case Action::storm: return storm();
    }
  }
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  Run(data, size).go();
  return 0;
}

// KmemCache: objects out of slabs and home again; slabs out of frames and back. See kmem_cache.cpp.
// SPDX-License-Identifier: MIT
#include <algorithm>
#include <new>
#include <utility>

#include "mm/base/bits.hpp"
#include "mm/heap/heap.hpp"
#include "mm/heap/kmem_cache.hpp"

namespace memory {

namespace {

// Two references, so that nobody else can release the frames; and how many objects are out, for outside readers.
void show_taken(Slab& slab) {
  slab.head->uses.store(Frame::uses_of(2, slab.taken), std::memory_order_relaxed);
}

}  // namespace

struct KmemCache::Objects {
  void** objects;
  std::uint8_t** states;
  std::uint32_t wanted;
  std::uint32_t have = 0;
};

// Objects out of `slab`, lowest first, until it is full or there are enough.
void KmemCache::take_from(SlabLists& lists, Slab& slab, Objects& out) {
  const std::uint32_t before = out.have;
  const auto bits = slab.free_bits();
  for (std::size_t word = 0; word < bits.size() && out.have < out.wanted; ++word) {
    std::uint64_t left = bits[word];
    while (left != 0 && out.have < out.wanted) {
      const std::size_t index = word * 64 + lowest_bit(left);
      left &= left - 1;
      std::uint8_t& state = slab.states()[index];
      CHECK(object_is(state, ObjectState::free));  // K1
      set_object(state, ObjectState::cached);
      out.objects[out.have] = slab.first + std::size_t{index} * record_.cut.stride;
      out.states[out.have++] = &state;
    }
    bits[word] = left;
  }
  const std::uint32_t taken = out.have - before;
  slab.taken = static_cast<std::uint16_t>(slab.taken + taken);
  show_taken(slab);
  lists.taken += taken;
}

// Fisher and Yates: what was taken from a slab in the order of its addresses is handed out in any.
void KmemCache::shuffle(Objects& taken) {
  for (std::uint32_t left = taken.have; left > 1; --left) {
    const auto other = static_cast<std::uint32_t>(platform::random() % left);
    std::swap(taken.objects[left - 1], taken.objects[other]);
    std::swap(taken.states[left - 1], taken.states[other]);
  }
}

// Up to `count` objects, `cached`, out of slabs; makes a slab when there is none with room. How many there were.
std::uint32_t KmemCache::take_many(Gfp flags, void** objects, std::uint8_t** states, std::uint32_t count) {
  Objects out{objects, states, count};
  const auto take = [&](SlabLists& lists) {
    while (out.have < out.wanted) {
      Slab* slab = lists.partial.front();
      if (slab == nullptr) {
        slab = lists.empty.pop_front();
        if (slab == nullptr) return;
        lists.partial.push_front(*slab);
      }
      take_from(lists, *slab, out);
      if (slab->taken < slab->objects) return;
      lists.partial.remove(*slab);
      lists.full.push_back(*slab);
    }
  };
  slabs_.with(take);
  while (out.have == 0) {
    const auto made = make_slab(flags);
    if (!made.ok()) return 0;
    slabs_.with([&](SlabLists& lists) {
      lists.empty.push_front(*made.take());
      take(lists);
    });
  }
  heap_.idle().went_out(std::size_t{out.have} * record_.cut.stride);
  if constexpr (config::random_slab_order) shuffle(out);
  return out.have;
}

void KmemCache::give_one(SlabLists& lists, Slab& slab, std::uint64_t index, SlabLists::Slabs& spare) {
  std::uint8_t& state = slab.states()[index];
  CHECK(object_is(state, ObjectState::cached));  // K3
  set_object(state, ObjectState::free);
  slab.free_bits()[index / 64] |= std::uint64_t{1} << index % 64;
  --lists.taken;
  const bool was_full = slab.taken-- == slab.objects;
  show_taken(slab);
  if (slab.taken > 0 && !was_full) return;
  (was_full ? lists.full : lists.partial).remove(slab);
  if (slab.taken > 0) {
    lists.partial.push_front(slab);
  } else if (lists.empty.size() < spare_most_) {
    lists.empty.push_front(slab);
  } else {
    spare.push_back(slab);
  }
}

// Objects that are `cached` go home; slabs that this empties go back to the frames when there are enough of them.
void KmemCache::give_back(void* const* objects, std::uint8_t* const* states, std::uint32_t count) {
  SlabLists::Slabs spare;
  slabs_.with([&](SlabLists& lists) {
    for (std::uint32_t n = 0; n < count; ++n) {
      Slab* const slab = slab_at(objects[n]);
      CHECK(slab != nullptr && slab->cache == this);  // K3
      const auto index = static_cast<std::uint64_t>(states[n] - slab->states());
      CHECK(index < slab->objects);
      give_one(lists, *slab, index, spare);
    }
  });
  heap_.idle().came_home(std::size_t{count} * record_.cut.stride);
  unmake_all(spare);
}

// A slab on no list, all of it free.
Result<Slab*> KmemCache::make_slab(Gfp flags) {
  Physical& physical = heap_.physical();
  const SlabCut& cut = record_.cut;
  const Order order{cut.order};
  Gfp from = anywhere(flags);
  if (has(zone_, Gfp::dma)) from = from | Gfp::dma;
  const FrameNumber number = TRY(physical.allocate(order, from));
  std::byte* const bytes = physical.frames().open(number).bytes();
  void* room = bytes;
  if (records_ == SlabCut::Records::outside) {
    const auto record = heap_.records_for(cut.objects).allocate(anywhere(flags));
    if (!record.ok()) {
      CHECK(physical.release(number, order).ok());
      return record.error();
    }
    room = record.take();
  }
  const std::uint32_t colour = slabs_.with([&cut](SlabLists& lists) {
    const std::uint32_t mine = lists.colour;
    lists.colour = mine + 1 < cut.colours ? mine + 1 : 0;
    return mine;
  });
  Frame* const head = &physical.frames()[number];
  auto* const slab = new (room) Slab{.node = {},
                                     .cache = this,
                                     .first = bytes + cut.first + std::size_t{colour} * cut.colour_step,
                                     .inverse = cut.inverse,
                                     .objects = cut.objects,
                                     .head = head,
                                     .taken = 0,
                                     .shift = cut.shift,
                                     .number = static_cast<std::uint8_t>(record_.number),
                                     .unused = 0};
  for (std::uint32_t index = 0; index < Slab::states_bytes(cut.objects); ++index)
    set_object(slab->states()[index], ObjectState::free);
  for (std::size_t word = 0; word < slab->free_bits().size(); ++word)
    slab->free_bits()[word] =
        low_bits(static_cast<unsigned>(std::min<std::size_t>(cut.objects - word * 64, 64)));
  for (std::uint32_t n = 0; n < frames_in(order); ++n) {
    head[n].index = n;
    head[n].owner.store(reinterpret_cast<std::uint64_t>(slab), std::memory_order_relaxed);
    head[n].tag.store(static_cast<std::uint8_t>(record_.number), std::memory_order_relaxed);
  }
  show_taken(*slab);
  if (construct_ != nullptr)
    for (std::uint32_t index = 0; index < cut.objects; ++index)
      construct_(slab->first + std::size_t{index} * cut.stride);
  if constexpr (kGuardedHeap)
    if (watched()) guard_new(*slab);
  heap_.idle().slab_made(bytes_in(order));
  return slab;
}

// Takes a slab that is on no list and has nothing taken apart.
void KmemCache::unmake(Slab& slab) {
  CHECK(slab.taken == 0 && slab.cache == this);
  Physical& physical = heap_.physical();
  const Order order{record_.cut.order};
  Frame* const head = slab.head;
  if (destruct_ != nullptr)
    for (std::uint32_t index = 0; index < slab.objects; ++index)
      destruct_(slab.first + std::size_t{index} * record_.cut.stride);
  for (std::uint32_t n = 0; n < frames_in(order); ++n) {
    head[n].tag.store(0, std::memory_order_relaxed);
    head[n].owner.store(0, std::memory_order_relaxed);
    head[n].index = 0;
  }
  head->uses.store(Frame::kReference, std::memory_order_relaxed);
  if (records_ == SlabCut::Records::outside)
    CHECK(heap_.records_for(record_.cut.objects).release(&slab).ok());
  CHECK(physical.release(physical.frames().number_of(*head), order).ok());
  heap_.idle().slab_unmade(bytes_in(order));
}

// How many frames that were.
std::uint64_t KmemCache::unmake_all(SlabLists::Slabs& slabs) {
  std::uint64_t frames = 0;
  while (Slab* const slab = slabs.pop_front()) {
    unmake(*slab);
    frames += frames_in(Order{record_.cut.order});
  }
  return frames;
}

}  // namespace memory

// Ranges of vmalloc, objects and threads: made by one CPU, freed by whoever comes first.
//
// Theory. A parcel's first and last word hold its stamp, which no other parcel ever has. Who frees it finds both whole,
// spoils them, and gives it back; then the maker, whose CPU wrote to it, looks once more: a range must have gone from his
// CPU, too, or be somebody else's, whose memory was cleared before it was shown. Only a translation that survived its flush
// shows the spoiled stamp.
//
//   empty --maker--> offered --anybody, by compare-and-swap--> taken --the same--> gone --maker looks--> empty
// SPDX-License-Identifier: MIT
#include "kernel/arch/x86_64/probe.hpp"
#include "kernel/shell/stress_worker.hpp"
#include "kernel/task/scheduler.hpp"
#include "kernel/task/thread.hpp"
#include "mm/base/check.hpp"

namespace kernel::shell {

namespace {

using memory::VirtAddr;
using State = Parcel::State;
using Kind = Parcel::Kind;

constexpr std::uint64_t kMostPages = 6;

std::uint64_t spoiled(std::uint64_t stamp) { return stamp ^ kStale; }

bool make_range(StressWorker& me, Parcel& parcel) {
  const std::uint64_t bytes = (1 + me.random.below(kMostPages)) * memory::kPageSize;
  const auto made = memory::manager().vmalloc(bytes, memory::Origin::here("stress", me.cpu),
                                              memory::Vmalloc::Contents::zeroed);
  if (!made.ok()) return false;
  parcel.first = reinterpret_cast<std::uint64_t*>(made.take().value);
  parcel.words = static_cast<std::uint32_t>(bytes / sizeof(std::uint64_t));
  me.count(StressPath::ranges);
  return true;
}

bool make_object(StressWorker& me, Parcel& parcel) {
  const auto made = me.cache->allocate();
  if (!made.ok()) return false;
  parcel.first = static_cast<std::uint64_t*>(made.take());
  parcel.words = me.cache->object_bytes() / sizeof(std::uint64_t);
  me.count(StressPath::objects);
  return true;
}

// The maker's CPU has used its addresses: it must have forgotten them.
void look_again(StressWorker& me, const Parcel& parcel) {
  if (parcel.kind != Kind::range) return;
  std::uint64_t found = 0;
  if (probe_read(parcel.first, &found) && (found == parcel.stamp || found == spoiled(parcel.stamp)))
    stress_fails("a range was read through a stale translation", found, 0);
  me.count(StressPath::range_looks);
}

void check_stamp(const Parcel& parcel) {
  for (const std::uint32_t word : {0u, parcel.words - 1})
    if (parcel.first[word] != parcel.stamp)
      stress_fails(parcel.kind == Kind::range ? "a word of a range" : "a word of an object",
                   parcel.first[word], parcel.stamp);
}

void release(StressWorker& me, const StressWorker& maker, const Parcel& parcel) {
  const bool here = &me == &maker;
  check_stamp(parcel);
  parcel.first[0] = parcel.first[parcel.words - 1] = spoiled(parcel.stamp);
  if (parcel.kind == Kind::range) {
    CHECK(memory::manager().vfree(VirtAddr{reinterpret_cast<std::uint64_t>(parcel.first)}).ok());
    me.count(here ? StressPath::ranges_freed_here : StressPath::ranges_freed_elsewhere);
  } else {
    CHECK(me.cache->release(parcel.first).ok());
    me.count(here ? StressPath::objects_freed_here : StressPath::objects_freed_elsewhere);
  }
}

}  // namespace

void offer_parcel(StressWorker& me) {
  Parcel& parcel = me.parcels[me.random.below(StressWorker::kParcels)];
  const State state = parcel.state.load(std::memory_order_acquire);
  if (state == State::offered || state == State::taken) return;
  if (state == State::gone) look_again(me, parcel);
  parcel.state.store(State::empty, std::memory_order_relaxed);
  parcel.kind = me.random.below(2) == 0 ? Kind::range : Kind::object;
  if (!(parcel.kind == Kind::range ? make_range(me, parcel) : make_object(me, parcel))) {
    ++me.report.refused;
    return;
  }
  parcel.stamp = std::uint64_t{me.cpu} << 56 | ++me.parcels_made << 8 | 0x5a;
  parcel.first[0] = parcel.first[parcel.words - 1] = parcel.stamp;
  parcel.state.store(State::offered, std::memory_order_release);
}

void free_parcel(StressWorker& me, StressWorker& other) {
  Parcel& parcel = other.parcels[me.random.below(StressWorker::kParcels)];
  State expected = State::offered;
  if (!parcel.state.compare_exchange_strong(expected, State::taken, std::memory_order_acq_rel)) return;
  release(me, other, parcel);
  parcel.state.store(State::gone, std::memory_order_release);
}

void free_parcels(StressWorker& me) {
  for (Parcel& parcel : me.parcels) {
    const State state = parcel.state.load(std::memory_order_acquire);
    CHECK(state != State::taken);
    if (state == State::offered) release(me, me, parcel);
    parcel.state.store(State::empty, std::memory_order_relaxed);
  }
}

// It keeps something on its stack while it goes from CPU to CPU.
void run_thread(StressWorker& me) {
  struct Errand {
    std::uint64_t seed;
    bool whole;
  } errand{me.random.next(), false};
  const auto body = [](void* context) {
    Errand& own = *static_cast<Errand*>(context);
    std::array<std::uint64_t, 32> words;
    for (std::size_t n = 0; n < words.size(); ++n) words[n] = own.seed + n;
    for (unsigned turn = 0; turn < 3; ++turn) {
      asm volatile("" : : "r"(words.data()) : "memory");
      scheduler::yield();
    }
    own.whole = true;
    for (std::size_t n = 0; n < words.size(); ++n) own.whole &= words[n] == own.seed + n;
  };
  const auto thread = spawn("stress errand", body, &errand);
  if (!thread.ok()) {
    ++me.report.refused;
    return;
  }
  join(*thread.take());
  if (!errand.whole) stress_fails("a thread's stack", 0, errand.seed);
  me.count(StressPath::threads);
}

}  // namespace kernel::shell

// Theory. A lock that is always taken downward in rank cannot be part of a cycle of waiters, so it cannot
// deadlock. The ranks held are two small stacks, one for the CPU's spin locks and one for the thread's
// sleeping locks; a rank must be below the lowest of both. The lowest need not be the last: a try is recorded
// out of order, because it cannot wait.
//
// A rank is entered before its lock is waited for, so a deadlock panics instead of hanging.
// SPDX-License-Identifier: MIT
#include "mm/base/sync.hpp"

#include "mm/base/format.hpp"

namespace memory {

std::string_view name_of(Rank rank) {
  constexpr std::string_view kNames[] = {"none",
#define RANK(name) #name,
                                         MEMORY_LOCK_RANKS(RANK)
#undef RANK
  };
  const auto index = static_cast<std::size_t>(rank);
  return index < std::size(kNames) ? kNames[index] : "?";
}

namespace lock_order {

namespace {

// The lowest rank on the stack, or none.
Rank lowest(const HeldRanks& held) {
  Rank low = Rank::none;
  for (std::size_t i = 0; i < held.depth; ++i) {
    const Rank rank{held.ranks[i]};
    if (low == Rank::none || rank < low) low = rank;
  }
  return low;
}

[[noreturn, gnu::cold]] void refuse(Rank wanted, std::string_view what, Rank held) {
  TextBuffer<112> reason;
  reason.text("lock order: ").text(name_of(wanted)).text(what).text(name_of(held));
  platform::panic(reason.view());
}

void check_below(Rank rank, const HeldRanks& held) {
  const Rank low = lowest(held);
  if (low != Rank::none && rank >= low) refuse(rank, " taken while holding ", low);
}

void push(HeldRanks& held, Rank rank) {
  if (held.depth == held.ranks.size())
    refuse(rank, " taken with too many locks held, the lowest ", lowest(held));
  held.ranks[held.depth++] = static_cast<std::uint8_t>(rank);
}

// Takes the newest entry of that rank off the stack.
void pop(HeldRanks& held, Rank rank) {
  std::size_t i = held.depth;
  while (i > 0 && Rank{held.ranks[i - 1]} != rank) --i;
  if (i == 0) refuse(rank, " let go but not held here; the lowest held is ", lowest(held));
  for (; i < held.depth; ++i) held.ranks[i - 1] = held.ranks[i];
  --held.depth;
}

}  // namespace

// Interrupts are off while the CPU's stack changes: a handler pushes and pops on the same one.

void enter_spin(Rank rank) {
  const InterruptsOff off;
  check_below(rank, platform::held_spin());
  check_below(rank, platform::held_sleep());
  push(platform::held_spin(), rank);
}

void entered_by_trying(Rank rank) {
  const InterruptsOff off;
  push(platform::held_spin(), rank);
}

void leave_spin(Rank rank) {
  const InterruptsOff off;
  pop(platform::held_spin(), rank);
}

void enter_sleeping(Rank rank) {
  const Rank spinning = [] {
    const PreemptionOff stay;  // on this CPU
    return lowest(platform::held_spin());
  }();
  if (spinning != Rank::none) refuse(rank, ", which may sleep, taken while holding the spin lock ", spinning);
  check_below(rank, platform::held_sleep());
  push(platform::held_sleep(), rank);
}

void leave_sleeping(Rank rank) { pop(platform::held_sleep(), rank); }

Snapshot::Snapshot() {
  const InterruptsOff off;
  spin_ = platform::held_spin();
  sleep_ = platform::held_sleep();
}

void Snapshot::restore() const {
  const InterruptsOff off;
  platform::held_spin() = spin_;
  platform::held_sleep() = sleep_;
}

}  // namespace lock_order

namespace {

// The time of one wait: counted, and in builds that check told to whoever looks.
class Waiting {
 public:
  Waiting(Rank rank, CallSite site, const LockSite* holder, HeldRanks& (*where)()) : where_(where) {
    const PreemptionOff stay;
    platform::percpu().contended[static_cast<std::size_t>(rank)].fetch_add(1, std::memory_order_relaxed);
    if constexpr (!config::debug) return;
    HeldRanks& mine = where_();
    mine.told = false;
    mine.file = site.file;
    mine.line = static_cast<std::uint32_t>(site.line);
    mine.holder = holder;
    mine.since_ns = platform::now_ns();
    tell(mine, rank);
  }
  ~Waiting() {
    if constexpr (config::debug) tell(where_(), Rank::none);
  }
  Waiting(const Waiting&) = delete;

 private:
  static void tell(HeldRanks& mine, Rank rank) {
    std::atomic_ref<std::uint8_t>(mine.wanted)
        .store(static_cast<std::uint8_t>(rank), std::memory_order_release);
  }
  HeldRanks& (*where_)();
};

HeldRanks& spinning() { return platform::held_spin(); }
HeldRanks& sleeping() { return platform::held_sleep(); }

}  // namespace

// Looks until the word seems free, and only then writes: waiters share the cache line until the holder
// leaves.
[[gnu::cold]] void SpinWord::acquire_contended(Rank rank, CallSite site, const LockSite* holder) {
  const Waiting waiting(rank, site, holder, spinning);
  do {
    while (word_.load(std::memory_order_relaxed) != 0) platform::relax();
  } while (!try_acquire());
}

// Takes the word as 2: whether others still sleep is not known, so the release wakes them to be sure.
[[gnu::cold]] void MutexWord::acquire_contended(Rank rank, CallSite site, const LockSite* holder) {
  const Waiting waiting(rank, site, holder, sleeping);
  while (word_.exchange(2, std::memory_order_acquire) != 0) platform::wait(word_, 2);
}

[[gnu::cold]] void RwWord::acquire_read_contended(Rank rank, CallSite site, const LockSite* holder) {
  const Waiting waiting(rank, site, holder, sleeping);
  std::uint32_t seen = word_.load(std::memory_order_relaxed);
  while (true) {
    if ((seen & (kWriter | kWriterWaits)) == 0) {
      if (word_.compare_exchange_weak(seen, seen + 1, std::memory_order_acquire, std::memory_order_relaxed))
        return;
      continue;
    }
    const std::uint32_t marked = seen | kSleepers;
    if (!word_.compare_exchange_weak(seen, marked, std::memory_order_relaxed)) continue;
    platform::wait(word_, marked);
    seen = word_.load(std::memory_order_relaxed);
  }
}

// Whoever gets in clears kWriterWaits; other waiting writers set it again, for each release wakes them all.
[[gnu::cold]] void RwWord::acquire_write_contended(Rank rank, CallSite site, const LockSite* holder) {
  const Waiting waiting(rank, site, holder, sleeping);
  std::uint32_t seen = word_.load(std::memory_order_relaxed);
  while (true) {
    if ((seen & (kWriter | kReaders)) == 0) {
      const std::uint32_t mine = (seen & kSleepers) | kWriter;
      if (word_.compare_exchange_weak(seen, mine, std::memory_order_acquire, std::memory_order_relaxed))
        return;
      continue;
    }
    const std::uint32_t marked = seen | kSleepers | kWriterWaits;
    if (!word_.compare_exchange_weak(seen, marked, std::memory_order_relaxed)) continue;
    platform::wait(word_, marked);
    seen = word_.load(std::memory_order_relaxed);
  }
}

// The last reader wakes everybody but leaves kWriterWaits: readers keep back until a writer had its turn.
void RwWord::release_read() {
  std::uint32_t seen = word_.load(std::memory_order_relaxed);
  std::uint32_t left;
  do {
    left = seen - 1;
    if ((left & kReaders) == 0) left &= ~kSleepers;
  } while (!word_.compare_exchange_weak(seen, left, std::memory_order_release, std::memory_order_relaxed));
  if ((seen & kSleepers) != 0 && (left & kSleepers) == 0) platform::wake(word_);
}

}  // namespace memory

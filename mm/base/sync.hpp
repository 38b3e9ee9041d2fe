// Locks: data lives inside its lock. Guarded<T, Lock> over four kinds: Spin, IrqSpin, Mutex, RwLock.
//
// Which one? Spin (preemption off) for short work; IrqSpin (interrupts off) only for data that an interrupt
// handler touches; Mutex and RwLock (sleep through platform::wait/wake) for work that may take long. No lock
// may be taken twice by its holder. None is fair; an RwLock starves neither readers nor writers.
//
// Order. Every lock has a Rank and is taken only while each held rank is higher; equal ranks are refused too.
// A sleeping lock is never taken while a spin lock is held. Where config::debug says so both are checked
// before the lock is waited for, and a breach panics ("lock order: zone taken while holding log"). The ranks
// of spin locks belong to the CPU, those of sleeping locks to the thread (platform::held_spin, held_sleep).
// An interrupt handler's locks must therefore lie below every lock that runs with interrupts on. A handler of
// an NMI may only try, and only when the machine will not go on afterwards.
//
// Waiting. Each CPU counts, by rank, how often a lock was not free (PerCpu::contended). Where config::debug says so a
// lock also remembers where it was taken, and who waits says for what and since when (HeldRanks), so that the home can
// report a wait that takes too long with both places.
//
// Memory orderings. Taking a lock is an acquire on its word, letting go a release on it: what a holder wrote
// is seen by every later holder. Sleepers mark the word with relaxed exchanges, which continue the release
// sequence that the later acquire reads from. There are no fences.
//
// Panic. A Hold lets go when an exception unwinds (host), silently. Where a saved context is restored instead
// (ktest) destructors do not run: lock_order::Snapshot puts the ranks back; a lock left held belongs to the
// dead test. SPDX-License-Identifier: MIT
#pragma once
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <string_view>
#include <type_traits>
#include <utility>

#include "mm/base/config.hpp"
#include "mm/base/platform.hpp"
#include "mm/base/result.hpp"
#include "mm/base/thread_annotations.hpp"

namespace memory {

struct Frame;

// Declared from the innermost (taken last) to the outermost (taken first).
#define MEMORY_LOCK_RANKS(RANK) \
  RANK(log)                     \
  RANK(timer)                   \
  RANK(wait_queue)              \
  RANK(run_queue)               \
  RANK(zone)                    \
  RANK(depot)                   \
  RANK(cache)                   \
  RANK(page_table)              \
  RANK(range)                   \
  RANK(heap)                    \
  RANK(object)                  \
  RANK(address_space)           \
  RANK(process)

enum class Rank : std::uint8_t {
  none,  // no lock has it
#define RANK(name) name,
  MEMORY_LOCK_RANKS(RANK)
#undef RANK
};

std::string_view name_of(Rank rank);
#define RANK(name) Rank::name,
inline constexpr Rank kEveryRank[] = {Rank::none, MEMORY_LOCK_RANKS(RANK)};
static_assert(kLockRanks == std::size(kEveryRank));
#undef RANK

// A place in the source: as a default argument, where the function is called.
struct CallSite {
  const char* file = nullptr;
  int line = 0;
  static constexpr CallSite here(const char* file = __builtin_FILE(), int line = __builtin_LINE()) {
    return {file, line};
  }
};

// Where a lock was taken last, for whoever waits for it in vain. One word: the text's address, whose highest 16 bits repeat
// the one below, and the line.
class LockSite {
 public:
  void set(CallSite site) {
    word_.store(
        reinterpret_cast<std::uint64_t>(site.file) << 16 | (static_cast<unsigned>(site.line) & 0xffff),
        std::memory_order_relaxed);
  }
  CallSite get() const {
    const std::uint64_t word = word_.load(std::memory_order_relaxed);
    return {reinterpret_cast<const char*>(static_cast<std::int64_t>(word) >> 16),
            static_cast<int>(word & 0xffff)};
  }

 private:
  std::atomic<std::uint64_t> word_{0};
};
struct NoLockSite {
  void set(CallSite) {}
};
// In each lock of builds that check.
using OptionalLockSite = std::conditional_t<config::debug, LockSite, NoLockSite>;

// Where the holder of that lock says where it took it; null in builds that do not check.
constexpr const LockSite* told_by(const LockSite& site) { return &site; }
constexpr const LockSite* told_by(const NoLockSite&) { return nullptr; }

namespace lock_order {

// These panic when the order is broken. spin: preemption is off until the matching leave.
void enter_spin(Rank rank);
void entered_by_trying(Rank rank);  // a try cannot deadlock: recorded, not checked
void leave_spin(Rank rank);
void enter_sleeping(Rank rank);
void leave_sleeping(Rank rank);

// The ranks held here and now, to be put back when a test's panic has thrown its holders away.
class Snapshot {
 public:
  Snapshot();
  void restore() const;  // on the same CPU and thread
  bool empty() const { return spin_.depth == 0 && sleep_.depth == 0; }

 private:
  HeldRanks spin_;
  HeldRanks sleep_;
};

// One entry in the held ranks; nothing in builds that do not check.
template <Rank rank>
struct SpinEntry {
  SpinEntry() {
    if constexpr (config::debug) enter_spin(rank);
  }
  ~SpinEntry() {
    if constexpr (config::debug) leave_spin(rank);
  }
  SpinEntry(const SpinEntry&) = delete;
};

template <Rank rank>
struct SleepingEntry {
  SleepingEntry() {
    if constexpr (config::debug) enter_sleeping(rank);
  }
  ~SleepingEntry() {
    if constexpr (config::debug) leave_sleeping(rank);
  }
  SleepingEntry(const SleepingEntry&) = delete;
};

}  // namespace lock_order

class [[nodiscard]] PreemptionOff {
 public:
  PreemptionOff() { platform::preempt_off(); }
  ~PreemptionOff() { platform::preempt_on(); }
  PreemptionOff(const PreemptionOff&) = delete;
};

class [[nodiscard]] InterruptsOff {
 public:
  InterruptsOff() : state_(platform::irq_save()) {}
  ~InterruptsOff() { platform::irq_restore(state_); }
  InterruptsOff(const InterruptsOff&) = delete;

 private:
  std::uint64_t state_;
};

// Whether an interrupt may come now.
inline bool interrupts_are_on() {
  const std::uint64_t state = platform::irq_save();
  platform::irq_restore(state);
  return (state & platform::kInterruptsOn) != 0;
}

// The words are told who asks, as values: they cost nothing where nobody waits.

// Test-and-test-and-set: 0 free, 1 held. A queue lock would convoy where a virtual CPU is descheduled.
class SpinWord {
 public:
  bool try_acquire() { return word_.exchange(1, std::memory_order_acquire) == 0; }
  void acquire(Rank rank, CallSite site, const LockSite* holder) {
    if (!try_acquire()) [[unlikely]]
      acquire_contended(rank, site, holder);
  }
  void release() { word_.store(0, std::memory_order_release); }

 private:
  void acquire_contended(Rank rank, CallSite site, const LockSite* holder);
  std::atomic<std::uint32_t> word_{0};  // [a]
};

// 0 free, 1 held, 2 held and somebody may sleep on the word.
class MutexWord {
 public:
  void acquire(Rank rank, CallSite site, const LockSite* holder) {
    std::uint32_t expected = 0;
    if (!word_.compare_exchange_strong(expected, 1, std::memory_order_acquire, std::memory_order_relaxed))
        [[unlikely]]
      acquire_contended(rank, site, holder);
  }
  // wake() is given the word after it was let go: its owner may be gone by then, only the address counts.
  void release() {
    if (word_.exchange(0, std::memory_order_release) == 2) [[unlikely]]
      platform::wake(word_);
  }

 private:
  void acquire_contended(Rank rank, CallSite site, const LockSite* holder);
  std::atomic<std::uint32_t> word_{0};  // [a]
};

// The number of readers, and three flags. A waiting writer holds new readers back; when a writer leaves,
// readers and writers race afresh, so neither side starves the other.
class RwWord {
 public:
  void acquire_read(Rank rank, CallSite site, const LockSite* holder) {
    std::uint32_t seen = word_.load(std::memory_order_relaxed);
    if ((seen & (kWriter | kWriterWaits)) != 0 ||
        !word_.compare_exchange_strong(seen, seen + 1, std::memory_order_acquire, std::memory_order_relaxed))
        [[unlikely]]
      acquire_read_contended(rank, site, holder);
  }
  void acquire_write(Rank rank, CallSite site, const LockSite* holder) {
    std::uint32_t expected = 0;
    if (!word_.compare_exchange_strong(expected, kWriter, std::memory_order_acquire,
                                       std::memory_order_relaxed)) [[unlikely]]
      acquire_write_contended(rank, site, holder);
  }
  void release_read();
  void release_write() {
    if ((word_.exchange(0, std::memory_order_release) & kSleepers) != 0) [[unlikely]]
      platform::wake(word_);
  }

 private:
  static constexpr std::uint32_t kWriter = 1u << 31;       // a writer holds it
  static constexpr std::uint32_t kSleepers = 1u << 30;     // somebody may sleep on the word
  static constexpr std::uint32_t kWriterWaits = 1u << 29;  // new readers hold back
  static constexpr std::uint32_t kReaders = kWriterWaits - 1;

  void acquire_read_contended(Rank rank, CallSite site, const LockSite* holder);
  void acquire_write_contended(Rank rank, CallSite site, const LockSite* holder);
  std::atomic<std::uint32_t> word_{0};  // [a]
};

// The body of the two spinning kinds. Quiet is what it keeps away while held: PreemptionOff, InterruptsOff.
template <Rank rank, typename Quiet>
class CAPABILITY("spin lock") BasicSpin {
 public:
  constexpr BasicSpin() = default;
  BasicSpin(const BasicSpin&) = delete;
  BasicSpin& operator=(const BasicSpin&) = delete;

  class SCOPED_CAPABILITY [[nodiscard]] Hold {
   public:
    explicit Hold(BasicSpin& lock, CallSite site = CallSite::here()) ACQUIRE(lock) : lock_(lock) {
      lock_.word_.acquire(rank, site, told_by(lock_.site_));
      lock_.site_.set(site);
    }
    ~Hold() RELEASE() { lock_.word_.release(); }
    Hold(const Hold&) = delete;

   private:
    Quiet quiet_;
    [[no_unique_address]] lock_order::SpinEntry<rank> entry_;
    BasicSpin& lock_;
  };

  // Holds the lock or not, never waits: ask ok().
  class [[nodiscard]] TryHold {
   public:
    explicit TryHold(BasicSpin& lock, CallSite site = CallSite::here())
        : lock_(lock), ok_(lock.word_.try_acquire()) {
      if (ok_) lock_.site_.set(site);
      if constexpr (config::debug) {
        if (ok_) lock_order::entered_by_trying(rank);
      }
    }
    ~TryHold() {
      if (!ok_) return;
      lock_.word_.release();
      if constexpr (config::debug) lock_order::leave_spin(rank);
    }
    TryHold(const TryHold&) = delete;
    bool ok() const { return ok_; }

   private:
    Quiet quiet_;
    BasicSpin& lock_;
    const bool ok_;
  };

 private:
  SpinWord word_;
  [[no_unique_address]] OptionalLockSite site_;
};

template <Rank rank>
using Spin = BasicSpin<rank, PreemptionOff>;
template <Rank rank>
using IrqSpin = BasicSpin<rank, InterruptsOff>;

template <Rank rank>
class CAPABILITY("mutex") Mutex {
 public:
  constexpr Mutex() = default;
  Mutex(const Mutex&) = delete;
  Mutex& operator=(const Mutex&) = delete;

  class SCOPED_CAPABILITY [[nodiscard]] Hold {
   public:
    explicit Hold(Mutex& lock, CallSite site = CallSite::here()) ACQUIRE(lock) : lock_(lock) {
      lock_.word_.acquire(rank, site, told_by(lock_.site_));
      lock_.site_.set(site);
    }
    ~Hold() RELEASE() { lock_.word_.release(); }
    Hold(const Hold&) = delete;

   private:
    [[no_unique_address]] lock_order::SleepingEntry<rank> entry_;
    Mutex& lock_;
  };

 private:
  MutexWord word_;
  [[no_unique_address]] OptionalLockSite site_;
};

template <Rank rank>
class CAPABILITY("reader-writer lock") RwLock {
 public:
  constexpr RwLock() = default;
  RwLock(const RwLock&) = delete;
  RwLock& operator=(const RwLock&) = delete;

  class SCOPED_CAPABILITY [[nodiscard]] Hold {  // the only one
   public:
    explicit Hold(RwLock& lock, CallSite site = CallSite::here()) ACQUIRE(lock) : lock_(lock) {
      lock_.word_.acquire_write(rank, site, told_by(lock_.site_));
      lock_.site_.set(site);
    }
    ~Hold() RELEASE() { lock_.word_.release_write(); }
    Hold(const Hold&) = delete;

   private:
    [[no_unique_address]] lock_order::SleepingEntry<rank> entry_;
    RwLock& lock_;
  };

  class SCOPED_CAPABILITY [[nodiscard]] ReadHold {  // together with other readers
   public:
    explicit ReadHold(RwLock& lock, CallSite site = CallSite::here()) ACQUIRE_SHARED(lock) : lock_(lock) {
      lock_.word_.acquire_read(rank, site, told_by(lock_.site_));
      lock_.site_.set(site);
    }
    ~ReadHold() RELEASE() { lock_.word_.release_read(); }
    ReadHold(const ReadHold&) = delete;

   private:
    [[no_unique_address]] lock_order::SleepingEntry<rank> entry_;
    RwLock& lock_;
  };

 private:
  RwWord word_;
  [[no_unique_address]] OptionalLockSite site_;
};

inline constexpr std::size_t kLockBytes = config::debug ? 16 : 4;
static_assert(sizeof(Spin<Rank::zone>) == kLockBytes && sizeof(IrqSpin<Rank::zone>) == kLockBytes);
static_assert(sizeof(Mutex<Rank::zone>) == kLockBytes && sizeof(RwLock<Rank::zone>) == kLockBytes);

// What `with` may return: no reference and no pointer, so nothing of the value gets out from under its lock.
// Frame* is the exception: a frame belongs to whoever allocated it, not to the lock.
template <typename T>
inline constexpr bool kMayLeaveLock = !std::is_reference_v<T>;
template <typename T>
inline constexpr bool kMayLeaveLock<const T> = kMayLeaveLock<T>;
template <typename T>
inline constexpr bool kMayLeaveLock<T*> = std::is_same_v<std::remove_cv_t<T>, Frame>;
template <typename T>
inline constexpr bool kMayLeaveLock<Result<T>> = kMayLeaveLock<T>;

// A T that cannot be reached without its lock. Constant-initialised when T's constructor is constexpr.
template <typename T, typename Lock>
class Guarded {
 public:
  template <typename... Args>
  explicit constexpr Guarded(Args&&... args) : value_(std::forward<Args>(args)...) {}
  Guarded(const Guarded&) = delete;
  Guarded& operator=(const Guarded&) = delete;

  // Runs body(value) with the lock held (by a writer alone) and returns what it returned, by value.
  template <typename Body>
  auto with(Body&& body, CallSite site = CallSite::here()) {
    static_assert(kMayLeaveLock<std::invoke_result_t<Body, T&>>, "the value must not leave its lock");
    typename Lock::Hold hold(lock_, site);
    return std::forward<Body>(body)(value_);
  }
  template <typename Body>
  auto with(Body&& body, CallSite site = CallSite::here()) const {
    static_assert(kMayLeaveLock<std::invoke_result_t<Body, const T&>>, "the value must not leave its lock");
    typename Lock::Hold hold(lock_, site);
    return std::forward<Body>(body)(value_);
  }

  // The same on a constant value, beside other readers. Only over RwLock.
  template <typename Body>
  auto read(Body&& body, CallSite site = CallSite::here()) const {
    static_assert(kMayLeaveLock<std::invoke_result_t<Body, const T&>>, "the value must not leave its lock");
    typename Lock::ReadHold hold(lock_, site);
    return std::forward<Body>(body)(value_);
  }

  // Runs body(value) when the lock is free, never waits; says whether it ran. Only over Spin and IrqSpin.
  template <typename Body>
  [[nodiscard]] bool try_with(Body&& body) NO_THREAD_SAFETY_ANALYSIS {  // a hold that asks is beyond it
    typename Lock::TryHold hold(lock_);
    if (!hold.ok()) return false;
    std::forward<Body>(body)(value_);
    return true;
  }

  // Where the value lies behind its lock, for the tables that outside readers follow.
  static constexpr std::size_t value_offset() { return offsetof(Guarded, value_); }

  // Runs body(value) without the lock. Precondition: nobody else runs (a panic that stopped the other CPUs);
  // a holder may have been stopped half way, so the value may be inconsistent.
  template <typename Body>
  void with_world_stopped(Body&& body) NO_THREAD_SAFETY_ANALYSIS {
    std::forward<Body>(body)(value_);
  }

 private:
  mutable Lock lock_;
  T value_ GUARDED_BY(lock_);
};

}  // namespace memory

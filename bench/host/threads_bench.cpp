// Two threads on the host library's kmalloc, and on malloc: objects that one makes and the other takes back, and the loop
// of a server (P. Larson and M. Krishnan, "Memory Allocation for Long-Running Server Applications", ISMM 1998), as
// harness.hpp says. Times only: under callgrind threads take turns. `make bench` runs it.
// SPDX-License-Identifier: MIT
#include <array>
#include <atomic>
#include <barrier>
#include <memory>
#include <thread>
#include <vector>

#include "bench/host/harness.hpp"
#include "mm/base/random.hpp"
#include "mm/mm.h"

namespace {

using bench::fail;
using bench::measure;
using memory::Random;

constexpr std::size_t kObject = 64;
constexpr unsigned kHandedOver = 1'000'000;
constexpr std::size_t kLive = 1'000;  // that a server's thread has
constexpr unsigned kSteps = 500'000;  // of a thread, before its objects are another's
constexpr unsigned kGenerations = 4;

// What a thread does before it allocates, and after.
struct Coronel {
  static void enter(unsigned cpu) {
    if (mm_enter(bench::machine, cpu) != 0) fail("no CPU");
  }
  static void leave() { mm_enter(nullptr, 0); }
  static void* allocate(std::size_t bytes) { return kmalloc(bytes, GFP_KERNEL); }
  static void release(void* object) {
    if (kfree(object) != 0) fail("an object was not taken back");
  }
};

struct Malloc {
  static void enter(unsigned) {}
  static void leave() {}
  static void* allocate(std::size_t bytes) { return std::malloc(bytes); }
  static void release(void* object) { std::free(object); }
};

template <typename Allocator>
void* made(std::size_t bytes) {
  void* const object = Allocator::allocate(bytes);
  if (object == nullptr) fail("no memory");
  *static_cast<volatile char*>(object) = 1;
  return object;
}

// Objects on their way, first in, first out, from one thread to another.
class Belt {
 public:
  void put(void* object) {
    const std::size_t end = end_.load(std::memory_order_relaxed);
    while (end - first_.load(std::memory_order_acquire) == kRoom) std::this_thread::yield();
    objects_[end % kRoom] = object;
    end_.store(end + 1, std::memory_order_release);
  }
  void* take() {
    const std::size_t first = first_.load(std::memory_order_relaxed);
    while (end_.load(std::memory_order_acquire) == first) std::this_thread::yield();
    void* const object = objects_[first % kRoom];
    first_.store(first + 1, std::memory_order_release);
    return object;
  }

 private:
  static constexpr std::size_t kRoom = 1024;
  std::array<void*, kRoom> objects_{};
  alignas(64) std::atomic<std::size_t> first_{0};
  alignas(64) std::atomic<std::size_t> end_{0};
};

template <typename Body>
void on_two_threads(Body&& body) {
  std::thread other([&body] { body(1); });
  body(0);
  other.join();
}

template <typename Allocator>
void hand_over() {
  const auto belt = std::make_unique<Belt>();
  on_two_threads([&](unsigned which) {
    Allocator::enter(which);
    for (unsigned n = 0; n < kHandedOver; ++n) {
      if (which == 0) {
        belt->put(made<Allocator>(kObject));
      } else {
        Allocator::release(belt->take());
      }
    }
    Allocator::leave();
  });
}

// A thread replaces random ones of its objects; then they are the other's, as when a connection is served by whoever is
// free.
template <typename Allocator>
void serve() {
  std::array<std::vector<void*>, 2> live{std::vector<void*>(kLive), std::vector<void*>(kLive)};
  std::barrier turn(2);
  on_two_threads([&](unsigned which) {
    Allocator::enter(which);
    Random random{which + 1};
    for (void*& object : live[which]) object = made<Allocator>(random.between(16, 512));
    for (unsigned generation = 0; generation < kGenerations; ++generation) {
      std::vector<void*>& mine = live[(which + generation) % 2];
      for (unsigned step = 0; step < kSteps; ++step) {
        void*& object = mine[random.below(kLive)];
        Allocator::release(object);
        object = made<Allocator>(random.between(16, 512));
      }
      turn.arrive_and_wait();
    }
    for (void* const object : live[which]) Allocator::release(object);
    Allocator::leave();
  });
}

template <typename Allocator>
void run() {
  measure("hand-over", kHandedOver, [] { hand_over<Allocator>(); });
  measure("larson", std::uint64_t{2} * kGenerations * kSteps, [] { serve<Allocator>(); });
}

}  // namespace

int main(int count, char** words) { return bench::run_for(count, words, run<Coronel>, run<Malloc>, 2); }

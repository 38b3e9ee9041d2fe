// The scheduler's queues of threads. Only scheduler.cpp changes them; outside readers follow them.
// SPDX-License-Identifier: MIT
#pragma once
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <span>

#include "kernel/task/thread.hpp"
#include "mm/base/sync.hpp"

namespace kernel {

using ThreadQueue = memory::List<Thread, offsetof(Thread, queue_link)>;
using Sleepers = memory::List<Thread, offsetof(Thread, timer_link)>;  // the earliest first

// Of one CPU. Standard layout. The invariants are in scheduler.cpp.
struct alignas(64) RunQueue {
  memory::Guarded<ThreadQueue, memory::IrqSpin<memory::Rank::run_queue>> ready{};
  std::atomic<std::uint32_t> length{0};  // of `ready`
  std::atomic<bool> idle{false};         // the CPU looks for threads, or sleeps
  memory::Guarded<Sleepers, memory::IrqSpin<memory::Rank::timer>> sleepers{};
  std::atomic<std::uint64_t> next_wake_ns{~std::uint64_t{0}};  // no sleeper is earlier
};

// The threads that wait on words with one hash. Standard layout.
struct alignas(64) WaitQueue {
  memory::Guarded<ThreadQueue, memory::IrqSpin<memory::Rank::wait_queue>> waiters{};
  std::atomic<std::uint32_t> count{0};  // those in it, and those about to look at their word
};
inline constexpr std::size_t kWaitQueues = 64;

namespace scheduler {
std::span<const RunQueue> run_queues();  // by CPU
std::span<const WaitQueue> wait_queues();
}  // namespace scheduler

}  // namespace kernel

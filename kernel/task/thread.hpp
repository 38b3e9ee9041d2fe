// Thread: what the scheduler switches between. All threads share the kernel's address space.
// SPDX-License-Identifier: MIT
#pragma once
#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "mm/base/list.hpp"
#include "mm/base/percpu.hpp"
#include "mm/base/result.hpp"
#include "mm/base/sync.hpp"
#include "mm/virtual/kernel_stack.hpp"

struct CatchPoint;

namespace kernel {

enum class ThreadState : std::uint8_t {
  running,   // on a CPU
  ready,     // in a run queue, or about to be
  sleeping,  // somebody or a time will wake it
  ended,     // join() may take it
};
std::string_view name_of(ThreadState state);

// Standard layout: assembly, Python and GDB read it.
struct Thread {
  static constexpr unsigned kAnyCpu = ~0u;

  std::uint64_t stack_pointer = 0;    // while it is on no CPU; switch.S
  std::uint32_t number = 0;           // [I] from 0, never used again
  std::uint32_t pinned = kAnyCpu;     // [I] the only CPU that it may run on
  std::atomic<std::uint32_t> cpu{0};  // where it runs or ran last
  std::atomic<ThreadState> state{ThreadState::running};
  // Its registers are still in a CPU: set before it runs, cleared by the thread that follows it. While it is set
  // only that CPU may take it again.
  std::atomic<bool> on_cpu{false};
  std::array<char, 24> name{};
  memory::KernelStack stack;  // [I]

  memory::ListNode queue_link;  // of a run queue, or of the bucket of the word it waits on
  memory::ListNode timer_link;  // of a CPU's sleepers
  memory::ListNode list_link;   // of all_threads()
  std::atomic<const std::atomic<std::uint32_t>*> waits_on{nullptr};
  std::uint64_t wake_ns = 0;    // while timer_link is linked
  std::uint32_t timer_cpu = 0;  // whose sleepers it is among

  memory::HeldRanks held;             // ranks of the sleeping locks that it holds
  CatchPoint* catch_point = nullptr;  // panic.cpp: the innermost catch_panic()
  void (*body)(void*) = nullptr;
  void* context = nullptr;
  std::atomic<std::uint32_t> done{0};  // 1: ended; join() waits on it

  std::atomic<std::uint64_t> switches{0};  // times that it was put on a CPU

  std::string_view title() const { return {name.data()}; }
};

// The thread that kmain and the shell are. Stays on the boot CPU.
extern Thread boot_thread;

// The thread that runs this code.
Thread& current_thread();

// Makes kmain the first thread, and the boot CPU's idle one. Once.
void start_threads();
// Sets the fields of a CPU's idle thread, but for its stack (give_stacks).
void prepare_idle(Thread& idle, unsigned cpu);

// A new thread that runs body(context) on any CPU, or on that one alone; ready at once. Its name is cut to 23
// characters. Fails with no_memory. It belongs to the caller, who gives it back by join().
memory::Result<Thread*> spawn(std::string_view name, void (*body)(void*), void* context,
                              unsigned pinned = Thread::kAnyCpu);
// Sleeps until the thread has ended, and gives back what it had. Once for each thread.
void join(Thread& thread);

// Runs body(context) by a thread that stays on that CPU, and returns when it has ended. Fails as spawn().
memory::Result<void> run_on(unsigned cpu, void (*body)(void*), void* context);

// Every thread that was not joined yet, by number; the idle ones of all CPUs too. A tick's handler only tries the lock.
using Threads = memory::List<Thread, offsetof(Thread, list_link)>;
using LockedThreads = memory::Guarded<Threads, memory::IrqSpin<memory::Rank::run_queue>>;
LockedThreads& all_threads();
// The thread with the lowest number from `number` on, or null. Precondition: nobody joins one meanwhile.
Thread* thread_from(std::uint32_t number);
// A CPU's idle thread, of a CPU that never came: takes it out of the list.
void forget_idle(Thread& idle);

}  // namespace kernel

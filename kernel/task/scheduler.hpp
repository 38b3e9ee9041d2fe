// The scheduler: which thread each CPU runs, and sleeping.
// SPDX-License-Identifier: MIT
#pragma once
#include <atomic>
#include <cstdint>

namespace kernel {
struct Cpu;
struct Thread;
}  // namespace kernel

namespace kernel::scheduler {

// The other threads of this CPU's queue have their turn. Precondition: preemption is on.
void yield();
void sleep_ns(std::uint64_t ns);

// As platform::wait(), until then at the latest (as clock::now_ns() counts); kNever: no limit.
inline constexpr std::uint64_t kNever = ~std::uint64_t{0};
void wait_until(const std::atomic<std::uint32_t>& word, std::uint32_t expected, std::uint64_t deadline_ns);

// A thread that is ready for the first time.
void start(Thread& thread);
// This thread has ended: another one runs. Interrupts are off.
[[noreturn]] void leave();

// The life of an idle thread, the current one.
[[noreturn]] void idle();

// -- from interrupt handlers
void on_tick();        // wakes sleepers whose time has come; the running thread's turn is over
void on_reschedule();  // another CPU put a thread into this one's queue
// At the end of an interrupt, when preemption is on and somebody asked.
void preempt();

// -- for a person
std::uint64_t queue_length(const Cpu& cpu);
// Proves T1, T4 and T6 of scheduler.cpp, one queue after the other: nobody need stand still.
bool valid();
Thread& running_on(const Cpu& cpu);

}  // namespace kernel::scheduler

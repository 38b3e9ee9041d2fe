// What one CPU asks of others: to forget translations, to run a function, to look for another thread.
// SPDX-License-Identifier: MIT
#pragma once
#include <cstdint>

namespace kernel {
struct Cpu;
}

namespace kernel::ipi {

// Runs body(context) on every CPU of `cpus` but this one, with interrupts off, and returns when all have.
// Precondition: interrupts are on; no lock is held that anybody takes with interrupts off. `body` is as an interrupt
// handler: it asks nothing of other CPUs and does not sleep.
void call(std::uint64_t cpus, void (*body)(void*), void* context);

// The same in two steps, for who has something to do while they run it: begin() returns at once which CPUs it asked, end()
// when all of them have done it. Precondition of begin(): as call(), and preemption is off until end().
std::uint64_t begin(std::uint64_t cpus, void (*body)(void*), void* context);
void end();

// Makes that CPU look for another thread soon. Any context; a CPU that has it coming already is not asked twice.
void reschedule(Cpu& cpu);

// The handlers of the two vectors.
void on_call();
void on_flush();

}  // namespace kernel::ipi

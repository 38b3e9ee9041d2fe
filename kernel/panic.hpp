// Panic: the kernel says why it cannot go on, and leaves.
// SPDX-License-Identifier: MIT
#pragma once
#include <string_view>

#include "mm/base/platform.hpp"
#include "mm/stats/inspector.hpp"

namespace kernel {

struct TrapFrame;

// COM2 gets an event first, then COM1 gets reason, place, registers, backtrace and details; then the machine
// exits with the code for panic. Takes no lock. A panic inside a panic exits at once. Inside catch_panic() it
// returns there instead, and nothing is printed.
[[noreturn]] void panic(std::string_view why, const char* file = __builtin_FILE(),
                        int line = __builtin_LINE());

// The same for a trap: the registers and the backtrace are those of `frame`. Not caught when the trap is an
// NMI.
[[noreturn]] void panic_at(std::string_view why, const TrapFrame& frame);

// What a panic prints at its end (counters, ...). It may be called with anything broken: no locks, no
// allocation.
using PanicDetails = void (*)(memory::Sink&);
void set_panic_details(PanicDetails details);

// One more clause of what the kernel was doing ("in test list.push"); empty for none. The text outlives its
// use.
void set_activity(std::string_view activity);

// Where an NMI finds this CPU while another one panics: remembers the place and never returns. Returns when nobody
// does.
void stop_if_another_panics(const TrapFrame& frame);

// Runs body(context) and returns empty, or the reason of the panic that ended it, valid until the next call.
// After a panic no destructor has run; held ranks, preemption depth and the interrupt flag are as before.
std::string_view catch_panic(void (*body)(void*), void* context);

}  // namespace kernel

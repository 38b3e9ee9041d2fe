// The seam. Everything mm/ asks of the machine beneath it, and nothing else.
//
// mm/ owns this header; it is implemented exactly twice:
//   the machine   kernel/arch/x86_64/platform.cpp, hot verbs in kernel/arch/x86_64/seam/platform_inline.hpp
//   the host      mm/host/platform.cpp,            hot verbs in mm/host/seam/platform_inline.hpp
// The build puts one of the two seam/ folders on the include path, so the hot verbs inline in both homes.
//
// Only verbs are behind the seam. State (which RAM, which frames, which root) is a constructor argument.
// No function here may allocate, and none may call back into mm/. On the host panic() throws: no noexcept in
// mm/. SPDX-License-Identifier: MIT
#pragma once
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include "mm/base/percpu.hpp"
#include "mm/base/types.hpp"

namespace memory::platform {

// -- this CPU
PerCpu& percpu();  // stable while preemption is off
// Adds to the int64 at that byte of this CPU's PerCpu. Atomic against interrupts and preemption; orders nothing.
void percpu_add(std::size_t offset, std::int64_t delta);
// The pointer at that byte of this CPU's PerCpu. Of this CPU as it was at one instant, also with preemption on.
void* percpu_pointer(std::size_t offset);
HeldRanks& held_spin();   // ranks of the spin locks that this CPU (on the host: this thread) holds
HeldRanks& held_sleep();  // ranks of the sleeping locks that this thread holds
void preempt_off();       // nests
void preempt_on();
std::uint64_t
irq_save();  // interrupts off; returns the old state: with kInterruptsOn, a constant of the home, or not
void irq_restore(std::uint64_t state);
void relax();  // one turn of a spin loop

// -- sleeping
// Returns when `word` may have changed from `expected`; may return early. Never called with a spin lock held.
void wait(const std::atomic<std::uint32_t>& word, std::uint32_t expected);
void wake(std::atomic<std::uint32_t>& word);  // lets every waiter on `word` look again

// -- its translation hardware
// What this CPU remembers of `space` may stay: who gives its id to another root flushes first.
void load_root(PhysAddr root, SpaceId space);
// Forgets what this CPU remembers of the page of any size at that address, global or not, and of all tables of `space`.
void flush_page(SpaceId space, VirtAddr page);
// The same for all pages of `space`; with SpaceId::kernel for everything that is remembered, global or of any space.
void flush_space(SpaceId space);
// Has the CPUs of `cpu_mask` other than this one do so, and returns when all have: flush_page for each of `pages`, or
// flush_space when there is none. Waits for them, so interrupts are on, and no lock is held that any code takes with
// interrupts off. `pages` stay where they are meanwhile.
void flush_others(SpaceId space, std::span<const VirtAddr> pages, std::uint64_t cpu_mask);

// -- bytes of frames
void clear_page(void* page);  // 4 KiB, page aligned
void copy_page(void* to, const void* from);
// The memory checker: ASan on the host; on the machine a pattern that is written and verified
// (config::poison_frames). unpoison() panics when the pattern was touched.
enum class Poison : std::uint8_t { free_frame = 0xf0, free_object = 0xf1, redzone = 0xf2 };
void poison(void* start, std::size_t bytes, Poison why);
void unpoison(void* start, std::size_t bytes, Poison why);

// -- the outside world
std::uint64_t now_ns();             // monotonic, from an arbitrary start
std::uint64_t random();             // seeded and repeatable; not for secrets
void write(std::string_view text);  // to the console; takes no lock that a caller may hold
[[noreturn]] void panic(std::string_view why, const char* file = __builtin_FILE(),
                        int line = __builtin_LINE());

}  // namespace memory::platform

#include "platform_inline.hpp"  // by include path: the hot verbs of this home

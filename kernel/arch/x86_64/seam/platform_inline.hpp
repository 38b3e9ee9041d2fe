// The hot verbs of mm/base/platform.hpp on the machine. Included by that header only.
// Everything per CPU is reached through %gs, which holds the address of this CPU's PerCpu.
// SPDX-License-Identifier: MIT
#pragma once
#include <cstddef>
#include <cstdint>
#include <type_traits>

#include "mm/base/config.hpp"
#include "mm/base/percpu.hpp"
#include "mm/base/types.hpp"

namespace memory::platform {

static_assert(std::is_standard_layout_v<PerCpu>, "assembly and %gs: accesses use offsetof");
static_assert(offsetof(PerCpu, self) == 0, "percpu() loads %gs:0");

// volatile: a thread that was preempted may continue on another CPU, so two calls must be two loads.
inline PerCpu& percpu() {
  PerCpu* self;
  asm volatile("movq %%gs:0, %0" : "=r"(self));
  return *self;
}

// One instruction, so no interrupt and no migration can come between the load and the store.
inline void percpu_add(std::size_t offset, std::int64_t delta) {
  asm volatile("addq %1, %%gs:%a0" : : "p"(offset), "er"(delta) : "cc");
}

inline void* percpu_pointer(std::size_t offset) {
  void* pointer;
  asm volatile("movq %%gs:%a1, %0" : "=r"(pointer) : "p"(offset));
  return pointer;
}

inline HeldRanks& held_spin() { return percpu().held_spin; }
HeldRanks& held_sleep();  // kernel/task/thread.cpp

inline void preempt_off() {
  asm volatile("incl %%gs:%c0" : : "i"(offsetof(PerCpu, preempt)) : "memory", "cc");
}
// Zero: the last one, and somebody asks for this CPU. preempt_door keeps every register, so that this stays two
// instructions where it is inlined.
inline void preempt_on() {
  asm volatile("decl %%gs:%c0\n\tjnz 1f\n\tcall preempt_door\n1:"
               :
               : "i"(offsetof(PerCpu, preempt))
               : "memory", "cc");
}

inline constexpr std::uint64_t kInterruptsOn = 1 << 9;  // of the state that irq_save() returns: RFLAGS
inline std::uint64_t irq_save() {
  std::uint64_t state;
  asm volatile("pushfq; popq %0; cli" : "=r"(state) : : "memory");
  return state;
}
inline void irq_restore(std::uint64_t state) {
  asm volatile("pushq %0; popfq" : : "r"(state) : "memory", "cc");
}

// A CPU that spins with interrupts off would let a shootdown wait for ever: it answers here.
void answer_flushes();  // kernel/arch/x86_64/ipi.cpp
inline void relax() {
  asm volatile("pause" : : : "memory");
  answer_flushes();
}

// Intel SDM volume 3, section 4.10.4: forgets this page, whatever its size, global or not. No space has an id of its own
// on this CPU: what is not global belongs to the root that is loaded.
inline void flush_page(SpaceId, VirtAddr page) { asm volatile("invlpg (%0)" : : "r"(page.value) : "memory"); }

// 8-byte stores: QEMU counts every turn of `rep` as an instruction, and hardware takes its fast path too.
inline void clear_page(void* page) {
  std::size_t words = kPageSize / 8;
  asm volatile("rep stosq" : "+D"(page), "+c"(words) : "a"(0) : "memory");
}
inline void copy_page(void* to, const void* from) {
  std::size_t words = kPageSize / 8;
  asm volatile("rep movsq" : "+D"(to), "+S"(from), "+c"(words) : : "memory");
}

// Out of line (kernel/arch/x86_64/platform.cpp): writing and verifying the pattern.
void fill_poison(void* start, std::size_t bytes, Poison why);
void verify_poison(const void* start, std::size_t bytes, Poison why);

inline void poison(void* start, std::size_t bytes, Poison why) {
  if constexpr (config::poison_frames) fill_poison(start, bytes, why);
}
inline void unpoison(void* start, std::size_t bytes, Poison why) {
  if constexpr (config::poison_frames) verify_poison(start, bytes, why);
}

}  // namespace memory::platform

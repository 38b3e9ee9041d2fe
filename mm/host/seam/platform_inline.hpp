// The hot verbs of the seam on the host. Included by mm/base/platform.hpp only.
// SPDX-License-Identifier: MIT
#pragma once
#include <utility>

namespace memory::host {
// The CPU this thread stands on: set by host::Cpu, else `nowhere`, which belongs to no machine. Never null, so that the
// fast paths need not ask.
// constinit: no call to find out whether it is initialised. initial-exec: no call to find where it is; a library that
// is opened late has room for these few bytes (glibc's surplus of static TLS).
[[gnu::tls_model("initial-exec")]] extern constinit thread_local PerCpu* current_cpu;
extern PerCpu nowhere;
[[gnu::tls_model("initial-exec")]] extern constinit thread_local std::uint64_t interrupts;
}  // namespace memory::host

namespace memory::platform {

inline PerCpu& percpu() { return *host::current_cpu; }

inline void percpu_add(std::size_t offset, std::int64_t delta) {
  auto* slot = reinterpret_cast<std::atomic<std::int64_t>*>(reinterpret_cast<std::byte*>(&percpu()) + offset);
  slot->fetch_add(delta, std::memory_order_relaxed);
}

inline void* percpu_pointer(std::size_t offset) {
  return *reinterpret_cast<void**>(reinterpret_cast<std::byte*>(&percpu()) + offset);
}

inline void preempt_off() {}
inline void preempt_on() {}
// Nothing interrupts a thread; what it asked for is remembered, so that a test can break a rule.
inline constexpr std::uint64_t kInterruptsOn = 1;
inline std::uint64_t irq_save() { return std::exchange(host::interrupts, 0); }
inline void irq_restore(std::uint64_t state) { host::interrupts = state; }

}  // namespace memory::platform

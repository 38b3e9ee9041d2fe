// SPDX-License-Identifier: MIT
#include "kernel/arch/x86_64/clock.hpp"

#include <atomic>

#include "kernel/arch/x86_64/cpu.hpp"
#include "kernel/arch/x86_64/pic.hpp"
#include "kernel/arch/x86_64/trap.hpp"
#include "kernel/task/scheduler.hpp"
#include "mm/base/config.hpp"
#include "mm/base/platform.hpp"

// Theory. Channel 0 of the 8254 counts down from kPeriod at 1.193182 MHz, reloads, and raises line 0.
//   now = ticks * period + (period - counter)
// is wrong for a moment: after the reload and before the interrupt is taken the counter has jumped up and
// `ticks` has not. With interrupts off that moment can be long. The interrupt controller knows: its request
// bit 0 is set exactly then. Counter and bit cannot be read at once, so a set bit counts only with a counter
// in its first half.
//
// The power-management timer counts up at 3.579545 MHz and wraps at 24 bits, after 4.7 seconds. `pm_counts` is the
// time that somebody has seen last, in full; the timer is read behind it, so the difference modulo 24 bits is right
// as long as somebody looks before it wraps, whoever else looks meanwhile.
namespace kernel::clock {

namespace {

constexpr std::uint64_t kInputHz = 1'193'182;
constexpr std::uint64_t kPeriod = kInputHz / memory::config::tick_hz;
static_assert(kPeriod >= 2 && kPeriod <= 65535, "tick_hz: the 8254 divides by 2 to 65535, so 19 to 596591");

constexpr std::uint16_t kChannel0 = 0x40;
constexpr std::uint16_t kCommand = 0x43;
constexpr std::uint8_t kRateGenerator = 0x34;  // channel 0, low byte then high byte, mode 2, binary
constexpr std::uint8_t kLatch0 = 0x00;

constinit std::atomic<bool> running{false};
constinit std::atomic<std::uint64_t> tick_count{0};
constinit std::atomic<std::uint64_t> latest_ns{0};

constexpr std::uint64_t to_ns(std::uint64_t timer_counts) {
  // 64 bits overflow after 1.5e10 seconds' worth of whole seconds, never in the remainder.
  return timer_counts / kInputHz * 1'000'000'000 + timer_counts % kInputHz * 1'000'000'000 / kInputHz;
}

constexpr std::uint64_t kPmHz = 3'579'545;
constexpr std::uint64_t kPmMask = (1u << 24) - 1;

constinit std::uint16_t pm_port = 0;      // 0: the 8254 is the clock
constinit std::uint64_t pm_start_ns = 0;  // what the other clock said when this one took over
constinit std::uint64_t pm_start_counts = 0;
constinit std::atomic<std::uint64_t> pm_counts{0};  // its lowest 24 bits are the timer's

// Relaxed would do for the sum alone; acquire keeps the reading of the port behind the load.
std::uint64_t pm_now() {
  std::uint64_t seen = pm_counts.load(std::memory_order_acquire);
  while (true) {
    const std::uint64_t now = seen + ((cpu::in32(pm_port) - seen) & kPmMask);
    if (pm_counts.compare_exchange_weak(seen, now, std::memory_order_acq_rel)) return now;
  }
}

std::uint64_t pm_to_ns(std::uint64_t counts) {
  return counts / kPmHz * 1'000'000'000 + counts % kPmHz * 1'000'000'000 / kPmHz;
}

// Interrupts must be off.
std::uint64_t timer_counts() {
  cpu::out8(kCommand, kLatch0);
  std::uint64_t counter = cpu::in8(kChannel0);
  counter |= std::uint64_t{cpu::in8(kChannel0)} << 8;
  const std::uint64_t elapsed = counter <= kPeriod ? kPeriod - counter : 0;
  std::uint64_t ticks = tick_count.load(std::memory_order_relaxed);
  if (pic::tick_pending() && elapsed < kPeriod / 2) ++ticks;
  return ticks * kPeriod + elapsed;
}

}  // namespace

void start() {
  set_irq_handler(0, scheduler::on_tick);
  cpu::out8(kCommand, kRateGenerator);
  cpu::out8(kChannel0, kPeriod & 0xff);
  cpu::out8(kChannel0, kPeriod >> 8);
  pic::unmask(0);
  running.store(true, std::memory_order_release);
}

bool use_pm_timer(std::uint16_t port) {
  const std::uint32_t first = cpu::in32(port);
  bool moves = false;
  for (unsigned polls = 0; polls < 100'000 && !moves; ++polls) moves = cpu::in32(port) != first;
  if (!moves) return false;
  pm_start_ns = now_ns();
  pm_start_counts = cpu::in32(port) & kPmMask;
  pm_counts.store(pm_start_counts, std::memory_order_release);
  pm_port = port;
  return true;
}

bool uses_pm_timer() { return pm_port != 0; }

void on_tick() {
  tick_count.fetch_add(1, std::memory_order_relaxed);
  if (pm_port != 0) pm_now();
}

std::uint64_t now_ns() {
  if (pm_port != 0) return pm_start_ns + pm_to_ns(pm_now() - pm_start_counts);
  if (!running.load(std::memory_order_acquire)) return 0;
  const std::uint64_t state = memory::platform::irq_save();
  const std::uint64_t now = to_ns(timer_counts());
  const std::uint64_t latest = latest_ns.load(std::memory_order_relaxed);
  const std::uint64_t answer = now > latest ? now : latest;
  latest_ns.store(answer, std::memory_order_relaxed);
  memory::platform::irq_restore(state);
  return answer;
}

std::uint64_t ticks() { return tick_count.load(std::memory_order_relaxed); }

}  // namespace kernel::clock

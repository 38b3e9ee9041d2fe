// The machine's half of the seam (mm/base/platform.hpp): the verbs that need not inline.
// SPDX-License-Identifier: MIT
#include "mm/base/platform.hpp"

#include "kernel/arch/x86_64/boot_cpu.hpp"
#include "kernel/arch/x86_64/clock.hpp"
#include "kernel/arch/x86_64/cpu.hpp"
#include "kernel/console.hpp"
#include "kernel/panic.hpp"
#include "mm/base/format.hpp"
#include "mm/base/random.hpp"

constinit memory::PerCpu boot_percpu{};

namespace kernel {

namespace {
constinit memory::Random boot_random{1};  // one CPU runs; each further one will bring its own
}  // namespace

void stand_on_cpu(memory::PerCpu& cpu) {
  cpu::write_msr(cpu::Msr::gs_base, reinterpret_cast<std::uint64_t>(&cpu));
}

void seed_random(std::uint64_t seed) { boot_random = memory::Random{seed}; }

}  // namespace kernel

namespace memory::platform {

// There are no threads to switch to: only an interrupt handler or another CPU can change `word`. Sleep until
// the next interrupt (at the latest the tick) where interrupts are on; elsewhere nothing could wake us, so
// spin one turn.
void wait(const std::atomic<std::uint32_t>& word, std::uint32_t expected) {
  if (!kernel::cpu::interrupts_on()) return relax();
  kernel::cpu::interrupts_disable();
  if (word.load(std::memory_order_acquire) != expected) {
    kernel::cpu::interrupts_enable();
    return;
  }
  kernel::cpu::interrupts_enable_and_halt();
}

void wake(std::atomic<std::uint32_t>&) {}  // nobody sleeps for longer than a tick

void load_root(PhysAddr root, SpaceId) { kernel::cpu::set_cr3(root.value); }

// No address-space identifiers: what is not global belongs to the loaded root and is forgotten by loading it again; a
// change of CR4.PGE forgets global translations too (Intel SDM volume 3, section 4.10.4.1).
void flush_space(SpaceId space) {
  const std::uint64_t cr4 = kernel::cpu::cr4();
  if (space != SpaceId::kernel || (cr4 & kernel::cpu::kCr4GlobalPages) == 0) {
    kernel::cpu::set_cr3(kernel::cpu::cr3());
    return;
  }
  const std::uint64_t state = irq_save();  // a handler that changes CR4 meanwhile would be undone
  kernel::cpu::set_cr4(cr4 & ~kernel::cpu::kCr4GlobalPages);
  kernel::cpu::set_cr4(cr4);
  irq_restore(state);
}

void flush_others(SpaceId, std::span<const VirtAddr>, std::uint64_t cpu_mask) {
  const std::uint64_t others = cpu_mask & ~(std::uint64_t{1} << percpu().number);
  if (others != 0) panic("a shootdown names CPUs that were never started");
}

namespace {

constexpr std::uint64_t pattern_of(Poison why) {
  return 0x0101'0101'0101'0101 * static_cast<std::uint8_t>(why);
}

[[noreturn]] void report_write_after_free(const std::uint8_t* found, const std::uint8_t* end, Poison why) {
  TextBuffer<200> text;
  text.text("write after free: ").address(reinterpret_cast<std::uint64_t>(found)).text(" holds");
  for (unsigned shown = 0; found < end && shown < 16; ++found, ++shown) text.text(" ").hex(*found, 2);
  text.text(" where every byte was ").hex(static_cast<std::uint8_t>(why), 2);
  panic(text.view());
}

}  // namespace

void fill_poison(void* start, std::size_t bytes, Poison why) {
  void* at = start;
  std::size_t words = bytes / 8;
  std::size_t rest = bytes % 8;
  asm volatile("rep stosq" : "+D"(at), "+c"(words) : "a"(pattern_of(why)) : "memory");
  asm volatile("rep stosb" : "+D"(at), "+c"(rest) : "a"(pattern_of(why)) : "memory");
}

// By words, and by bytes only where a word is not what it was.
void verify_poison(const void* start, std::size_t bytes, Poison why) {
  const auto* byte = static_cast<const std::uint8_t*>(start);
  const std::uint8_t* const end = byte + bytes;
  for (std::uint64_t word = 0; end - byte >= 8; byte += 8) {
    __builtin_memcpy(&word, byte, sizeof word);
    if (word != pattern_of(why)) break;
  }
  for (; byte < end; ++byte) {
    if (*byte != static_cast<std::uint8_t>(why)) report_write_after_free(byte, end, why);
  }
}

std::uint64_t now_ns() { return kernel::clock::now_ns(); }

std::uint64_t random() {
  const std::uint64_t state = irq_save();
  const std::uint64_t number = kernel::boot_random.next();
  irq_restore(state);
  return number;
}

void write(std::string_view text) { kernel::print(text); }

void panic(std::string_view why, const char* file, int line) { kernel::panic(why, file, line); }

}  // namespace memory::platform

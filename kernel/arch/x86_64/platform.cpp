// The machine's half of the seam (mm/base/platform.hpp): the verbs that need not inline.
// SPDX-License-Identifier: MIT
#include "mm/base/platform.hpp"

#include "kernel/arch/x86_64/boot_cpu.hpp"
#include "kernel/arch/x86_64/clock.hpp"
#include "kernel/arch/x86_64/cpu.hpp"
#include "kernel/arch/x86_64/cpus.hpp"
#include "kernel/console.hpp"
#include "kernel/panic.hpp"
#include "mm/base/format.hpp"
#include "mm/base/sync.hpp"

namespace kernel {

// What interrupt handlers and current_thread() look for goes along.
void stand_on_cpu(memory::PerCpu& cpu) {
  const memory::InterruptsOff off;
  const memory::PerCpu& former = memory::platform::percpu();
  cpu.home = former.home;
  cpu.thread = former.thread;
  cpu::write_msr(cpu::Msr::gs_base, reinterpret_cast<std::uint64_t>(&cpu));
}

void seed_random(std::uint64_t seed) { boot_cpu.random = memory::Random{seed}; }

}  // namespace kernel

namespace memory::platform {

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
  const std::uint64_t number = kernel::this_cpu().random.next();
  irq_restore(state);
  return number;
}

void write(std::string_view text) { kernel::print(text); }

void panic(std::string_view why, const char* file, int line) { kernel::panic(why, file, line); }

}  // namespace memory::platform

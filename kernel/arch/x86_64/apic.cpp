// SPDX-License-Identifier: MIT
#include "kernel/arch/x86_64/apic.hpp"

#include <array>

#include "kernel/arch/x86_64/clock.hpp"
#include "kernel/arch/x86_64/cpu.hpp"
#include "kernel/arch/x86_64/device_map.hpp"
#include "kernel/arch/x86_64/pic.hpp"
#include "kernel/arch/x86_64/trap.hpp"
#include "mm/base/check.hpp"
#include "mm/base/config.hpp"

namespace kernel::apic {

namespace {

using memory::Error;
using memory::PhysAddr;
using memory::Result;

// ---- the local APIC (section 11.4.1)

enum Register : std::uint32_t {
  kId = 0x20,
  kTaskPriority = 0x80,
  kEnd = 0xb0,
  kSpuriousVector = 0xf0,
  kCommandLow = 0x300,
  kCommandHigh = 0x310,
  kLocalTimer = 0x320,
  kLocalInt0 = 0x350,
  kLocalInt1 = 0x360,
  kLocalError = 0x370,
  kInitialCount = 0x380,
  kCurrentCount = 0x390,
  kDivide = 0x3e0,
};

constexpr std::uint32_t kSoftwareEnable = 1u << 8;
constexpr std::uint32_t kMasked = 1u << 16;
constexpr std::uint32_t kPeriodic = 1u << 17;
constexpr std::uint32_t kDivideBy16 = 0x3;
// Delivery modes and flags of a command, which are those of a local entry too.
constexpr std::uint32_t kNmiMode = 4u << 8;
constexpr std::uint32_t kInitMode = 5u << 8;
constexpr std::uint32_t kStartupMode = 6u << 8;
constexpr std::uint32_t kPending = 1u << 12;
constexpr std::uint32_t kAssert = 1u << 14;
constexpr std::uint32_t kAllOthers = 3u << 18;

constinit volatile std::byte* local = nullptr;  // where the registers are; null: not running
constinit std::uint64_t counts_per_second = 0;  // of the timer, divided by 16

std::uint32_t read(Register which) { return *reinterpret_cast<const volatile std::uint32_t*>(local + which); }
void write(Register which, std::uint32_t value) {
  *reinterpret_cast<volatile std::uint32_t*>(local + which) = value;
}

// The two halves of a command belong together: an interrupt handler in between would send one of its own.
void command(std::uint32_t apic, std::uint32_t low) {
  while ((read(kCommandLow) & kPending) != 0) memory::platform::relax();
  write(kCommandHigh, apic << 24);
  write(kCommandLow, low);
}

// ---- the I/O APICs

class Controller {
 public:
  // Masks every input.
  void start(volatile std::byte* registers, std::uint32_t first) {
    registers_ = registers;
    first_ = first;
    inputs_ = (read(1) >> 16 & 0xff) + 1;
    for (std::uint32_t input = 0; input < inputs_; ++input) write(0x10 + 2 * input, kMasked);
  }
  bool has(std::uint32_t interrupt) const { return interrupt >= first_ && interrupt - first_ < inputs_; }
  void route(const boot::InterruptOverride& from, std::uint32_t vector, std::uint32_t to) {
    const std::uint32_t at = 0x10 + 2 * (from.interrupt - first_);
    write(at + 1, to << 24);
    write(at, vector | (from.active_low() ? 1u << 13 : 0) | (from.level_triggered() ? 1u << 15 : 0));
  }

 private:
  // An index is written to the first word, then the register is in the word at 0x10.
  std::uint32_t read(std::uint32_t index) {
    *reinterpret_cast<volatile std::uint32_t*>(registers_) = index;
    return *reinterpret_cast<volatile std::uint32_t*>(registers_ + 0x10);
  }
  void write(std::uint32_t index, std::uint32_t value) {
    *reinterpret_cast<volatile std::uint32_t*>(registers_) = index;
    *reinterpret_cast<volatile std::uint32_t*>(registers_ + 0x10) = value;
  }

  volatile std::byte* registers_ = nullptr;
  std::uint32_t first_ = 0;
  std::uint32_t inputs_ = 0;
};

constinit std::array<Controller, boot::Madt::kMostIoApics> controllers{};
constinit std::size_t controller_count = 0;
constinit boot::Madt table{};

bool cpu_has_one() { return (cpu::cpuid(1).edx & (1u << 9)) != 0; }

Result<std::byte*> map_at(PhysAddr address) {
  std::byte* const page = TRY(map_registers(address.aligned_down(memory::kPageSize)));
  return page + address.value % memory::kPageSize;
}

// Section 11.4.3 and 11.12.1: bit 11 enables it, bit 10 says that its registers are not in memory.
Result<void> check_base() {
  const std::uint64_t base = cpu::read_msr(cpu::Msr::apic_base);
  if ((base & (1u << 11)) == 0) return Error::not_found;
  return (base & (1u << 10)) != 0 ? Result<void>(Error::busy) : Result<void>();
}

}  // namespace

Result<void> start(const boot::Madt& madt) {
  if (!cpu_has_one() || madt.io_apics().empty() || madt.local_apic().value == 0) return Error::not_found;
  if (!madt.local_apic().aligned_to(memory::kPageSize)) return Error::invalid;
  TRY(check_base());
  std::array<std::byte*, boot::Madt::kMostIoApics> registers{};
  for (std::size_t n = 0; n < madt.io_apics().size(); ++n)
    registers[n] = TRY(map_at(PhysAddr{madt.io_apics()[n].address}));
  std::byte* const here = TRY(map_at(madt.local_apic()));

  // From here on nothing fails.
  pic::mask_all();
  table = madt;
  for (const boot::IoApic& io_apic : madt.io_apics())
    controllers[controller_count].start(registers[controller_count], io_apic.first_interrupt),
        ++controller_count;
  local = here;
  start_this_cpu();
  return {};
}

bool running() { return local != nullptr; }

void start_this_cpu() {
  write(kTaskPriority, 0);
  write(kLocalTimer, kMasked);
  write(kLocalInt0, kMasked);  // the 8259s' way
  write(kLocalInt1, kNmiMode);
  write(kLocalError, kMasked);
  write(kSpuriousVector, kSoftwareEnable | static_cast<std::uint32_t>(kSpurious));
}

std::uint32_t number() { return read(kId) >> 24; }
void end_of_interrupt() { write(kEnd, 0); }

void start_timer() {
  write(kDivide, kDivideBy16);
  write(kLocalTimer, kPeriodic | static_cast<std::uint32_t>(kTimer));
  write(kInitialCount, static_cast<std::uint32_t>(counts_per_second / memory::config::tick_hz));
}

// Under an emulator this CPU may stand still for long between any two instructions. That does no harm while the
// two clocks are read together; so each reading is taken again until it took little time.
bool measure_timer() {
  struct Reading {
    std::uint64_t ns;
    std::uint32_t count;
  };
  const auto look = [] {
    constexpr std::uint64_t kTogetherNs = 5'000;
    Reading reading{};
    for (unsigned tries = 0; tries < 100; ++tries) {
      const std::uint64_t before = clock::now_ns();
      reading.count = read(kCurrentCount);
      reading.ns = clock::now_ns();
      if (reading.ns - before <= kTogetherNs) break;
    }
    return reading;
  };
  constexpr std::uint64_t kLeastNs = 500'000;
  write(kDivide, kDivideBy16);
  write(kLocalTimer, kMasked);
  write(kInitialCount, 0xffff'ffff);
  const Reading first = look();
  Reading last = first;
  for (unsigned polls = 0; polls < 10'000'000 && last.ns - first.ns < kLeastNs; ++polls) last = look();
  write(kInitialCount, 0);
  if (last.ns - first.ns < kLeastNs) return false;
  counts_per_second =
      static_cast<std::uint64_t>(first.count - last.count) * 1'000'000'000 / (last.ns - first.ns);
  return counts_per_second >= memory::config::tick_hz;
}

std::uint64_t timer_hz() { return counts_per_second; }

void send(std::uint32_t apic, std::uint64_t vector) {
  command(apic, kAssert | static_cast<std::uint32_t>(vector));
}
void send_nmi_to_all_others() { command(0, kAllOthers | kAssert | kNmiMode); }
void send_init(std::uint32_t apic) { command(apic, kAssert | kInitMode); }
void send_startup(std::uint32_t apic, PhysAddr page) {
  CHECK(page.aligned_to(memory::kPageSize) && page.value < memory::operator""_MiB(1));
  command(apic, kAssert | kStartupMode | static_cast<std::uint32_t>(page.value >> 12));
}

void unmask(unsigned line) {
  const boot::InterruptOverride from = table.route(static_cast<std::uint8_t>(line));
  for (std::size_t n = 0; n < controller_count; ++n) {
    if (controllers[n].has(from.interrupt))
      controllers[n].route(from, static_cast<std::uint32_t>(kFirstIrq + line), number());
  }
}

}  // namespace kernel::apic

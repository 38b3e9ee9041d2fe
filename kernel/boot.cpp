// SPDX-License-Identifier: MIT
#include "kernel/boot.hpp"

#include <algorithm>
#include <array>
#include <span>

#include "boot/hold.hpp"
#include "boot/memory_map.hpp"
#include "boot/options.hpp"
#include "boot/receive.hpp"
#include "kernel/acpi.hpp"
#include "kernel/arch/x86_64/boot_cpu.hpp"
#include "kernel/arch/x86_64/control.hpp"
#include "kernel/arch/x86_64/cpu.hpp"
#include "kernel/arch/x86_64/cpus.hpp"
#include "kernel/arch/x86_64/power.hpp"
#include "kernel/arch/x86_64/smp.hpp"
#include "kernel/arch/x86_64/stacks.hpp"
#include "kernel/call_tracer.hpp"
#include "kernel/console.hpp"
#include "kernel/image.hpp"
#include "kernel/layout.hpp"
#include "kernel/panic.hpp"
#include "kernel/task/lock_watch.hpp"
#include "mm/memory_manager.hpp"
#include "mm/stats/render.hpp"
#include "mm/virtual/kernel_space.hpp"

namespace kernel {

constinit BootTimes boot_times{};

namespace {

using memory::PhysAddr;
using memory::VirtAddr;
using memory::operator""_GiB;

constexpr std::uint64_t kNoEnd = ~std::uint64_t{0};

// What entry.S maps, at -2 GiB.
constexpr PhysAddr kReachEnd{1_GiB};
std::byte* reach() { return reinterpret_cast<std::byte*>(memory::kernel_space::kImage.value); }

PhysAddr physical(const unsigned char* label) { return {address_of(label) - memory::kernel_space::kImage}; }

constinit boot::MemoryMap memory_map{};
constinit memory::BootInfo boot_info{};
constinit boot::BootReport boot_report{};
constinit PhysAddr start_page{};  // where further CPUs begin; 0: no room below 1 MiB

[[noreturn]] void refuse_machine(std::string_view why) {
  print("boot error: ");
  print(why);
  print("\n");
  power::leave(power::ExitCode::unusable);
}

void print_loader(const memory::BootInfo& info) {
  Line line;
  line.text("boot: ").text(info.protocol == memory::BootProtocol::pvh ? "PVH" : "multiboot2");
  if (info.module_count > 0) line.text(", ").number(info.module_count).text(" modules");
  if (!info.command_line().empty()) line.text(", command line: ").text(info.command_line());
}

// ---- options of the kernel command line

class ConsoleComplaints final : public boot::Complaints {
 public:
  void say(std::string_view line) override {
    print("boot: ");
    print(line);
    print("\n");
  }
};

constinit boot::Options options{};

void read_options() {
  ConsoleComplaints complaints;
  options = boot::parse_options(boot::CommandLine(boot_info.command_line()), complaints);
  if (options.max_cpus < memory::config::max_cpus) {
    Line().text("boot: at most ").number(options.max_cpus).text(" CPUs are used");
  }
}

std::string_view why_not_held(memory::Error error) {
  switch (error) {
    case memory::Error::not_found: return "a part of it is no usable memory";
    case memory::Error::busy: return "a part of it holds the kernel, boot data or a module";
    default: return "the table of memory ranges has no room";
  }
}

void hold_memory() {
  for (const memory::PhysRange range : options.holds()) {
    const auto done = boot::hold(boot_info, range);
    Line line;
    line.text(done.ok() ? "boot: held " : "boot: hold of ").size(range.bytes()).text(" at ");
    line.hex(range.first.value);
    if (!done.ok()) line.text(": ").text(why_not_held(done.error())).text("; not held");
  }
}

constexpr memory::MisusePolicy policy_of(boot::OnMisuse word) {
  return word == boot::OnMisuse::panic ? memory::MisusePolicy::panic : memory::MisusePolicy::refuse;
}

// The highest frame below 640 KiB that is nobody's.
PhysAddr reserve_start_page() {
  constexpr PhysAddr kEnd{0xa0000};
  for (PhysAddr page = kEnd - memory::kPageSize; page.value > 0; page = page - memory::kPageSize) {
    const memory::PhysRange range{page, page + memory::kPageSize};
    const auto in = [&](const memory::PhysRange& other) { return other.overlaps(range); };
    const auto usable = [&](const memory::MemoryRange& known) {
      return known.kind == memory::MemoryKind::available && known.range.contains(range);
    };
    const auto memory = std::span(boot_info.memory).first(boot_info.memory_ranges);
    const auto reserved = std::span(boot_info.reserved).first(boot_info.reserved_ranges);
    if (std::ranges::any_of(memory, usable) && std::ranges::none_of(reserved, in))
      return boot::reserve(boot_info, range).ok() ? page : PhysAddr{0};
  }
  return PhysAddr{0};
}

// ---- memory

// CPUID 80000001h, EDX bit 26: the CPU maps 1 GiB pages.
memory::PageLevel largest_page() {
  const bool has_gib =
      cpu::cpuid(0x8000'0000).eax >= 0x8000'0001 && (cpu::cpuid(0x8000'0001).edx & (1u << 26)) != 0;
  return has_gib ? memory::PageLevel::one_gib : memory::PageLevel::two_mib;
}

// What entry.S has decided: by CPUID, and by the word la57=off.
bool five_levels() { return (cpu::cr4() & cpu::kCr4FiveLevels) != 0; }

void print_memory() {
  const memory::PhysicalLevels levels = memory::manager().physical().levels();
  const std::uint64_t unusable = levels.present - levels.free;
  const std::uint64_t hundredths = unusable * 10'000 / levels.present;
  Line line;
  line.text("Memory: ").size(levels.present * memory::kPageSize).text(", not usable by allocations: ");
  line.size(unusable * memory::kPageSize).text(" (").number(hundredths / 100).text(".");
  line.number(hundredths % 100, memory::right(2, '0')).text(" %)");
}

void write_counters(memory::Sink& sink) {
  sink.write("counters:\n");
  memory::TextRenderer text(sink);
  memory::manager().describe_counters(text);
}

}  // namespace

void print_notes(const boot::BootReport& report) {
  for (std::size_t i = 0; i < report.notes(); ++i) {
    Line line;
    line.text("boot: ");
    boot::BootReport::describe(line, report[i]);
  }
  if (report.notes_lost() > 0) {
    Line().text("boot: and ").number(report.notes_lost()).text(" more remarks");
  }
}

const memory::BootInfo& receive_boot_info(std::uint32_t magic, std::uint32_t information) {
  const boot::PhysView view(reach(), kReachEnd);
  const memory::PhysRange kernel{physical(kernel_image_start), physical(kernel_image_end)};
  boot::Builder builder(view, kernel, memory_map, boot_info, boot_report);
  const auto received = boot::receive(builder, magic, PhysAddr{information});
  print_notes(boot_report);
  if (!received.ok()) {
    memory::TextBuffer<240> why;
    boot_report.describe_failure(why);
    refuse_machine(why.view());
  }
  print_loader(boot_info);
  read_options();
  hold_memory();
  start_page = reserve_start_page();
  return boot_info;
}

void start_other_cpus() {
  lock_watch::set_limit(options.lock_limit_ms * 1'000'000);
  smp::start_others(options.max_cpus, start_page);
}

bool is_held(memory::PhysRange range) {
  for (std::size_t n = 0; n < boot_info.memory_ranges; ++n) {
    const memory::MemoryRange& known = boot_info.memory[n];
    if (known.kind == memory::MemoryKind::held && !range.empty() && known.range.contains(range)) return true;
  }
  return false;
}

void start_memory(const memory::BootInfo& info) {
  seed_random(options.seed);

  using memory::Access;
  const std::array<memory::ImageSection, 3> sections{{
      {address_of(kernel_image_start), address_of(text_end), physical(kernel_image_start),
       Access::read_execute},
      {address_of(rodata_start), address_of(rodata_end), physical(rodata_start), Access::read},
      {address_of(data_start), address_of(bss_end), physical(data_start), Access::read_write},
  }};
  const auto guards = kernel_guard_pages();
  const memory::KernelImage image{.sections = sections, .guard_pages = guards};
  const memory::BootState state{
      .reach = reach(),
      .reach_end = kReachEnd,
      .largest_page = largest_page(),
      .top = five_levels() ? memory::PageLevel::tib_256 : memory::PageLevel::gib_512,
      .on_misuse = policy_of(options.on_misuse),
      .direct_map_end = PhysAddr{options.direct_map_bytes.value_or(kNoEnd)},
      .home = &kernel_record,
      .sample_every = options.sample_every};
  fill_tables(coronel_record);
  const auto made = memory::initialize(info, image, state, running_cpus());
  if (!made.ok()) refuse_machine("the machine has too little memory for the kernel's own tables");
  if constexpr (memory::config::debug_kmemleak) made.take()->heap().set_tracer(call_tracer());
  load_control_registers();
  set_panic_details(write_counters);
  find_acpi_tables(info, state.direct_map_end);
  print_memory();
  Line().text("Random numbers start from seed=").number(options.seed);
}

}  // namespace kernel

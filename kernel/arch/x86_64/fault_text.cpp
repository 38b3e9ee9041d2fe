// SPDX-License-Identifier: MIT
#include "kernel/arch/x86_64/fault_text.hpp"

#include <array>
#include <string_view>

#include "kernel/arch/x86_64/cpu.hpp"
#include "kernel/arch/x86_64/stacks.hpp"
#include "kernel/arch/x86_64/trap.hpp"
#include "kernel/image.hpp"
#include "kernel/symbols.hpp"
#include "kernel/task/thread.hpp"
#include "mm/memory_manager.hpp"

namespace kernel {

namespace {

// Error code of a page fault: Intel SDM volume 3, section 4.7.
constexpr std::uint64_t kPresent = 1u << 0;
constexpr std::uint64_t kWrite = 1u << 1;
constexpr std::uint64_t kUser = 1u << 2;
constexpr std::uint64_t kReservedBit = 1u << 3;
constexpr std::uint64_t kFetch = 1u << 4;
constexpr std::uint64_t kProtectionKey = 1u << 5;

struct Region {
  const unsigned char* first;
  const unsigned char* end;
  std::string_view name;
};
constexpr std::array<Region, 4> kImage{{
    {text_start, text_end, "the kernel's text"},
    {rodata_start, rodata_end, "the kernel's read-only data"},
    {data_start, data_end, "the kernel's data"},
    {bss_start, bss_end, "the kernel's zeroed data"},
}};

// The upper bits repeat the highest translated one: bit 47, or 56 with five levels (section 3.3.7.1).
bool is_canonical(std::uint64_t address) {
  const unsigned unused = (cpu::cr4() & cpu::kCr4FiveLevels) != 0 ? 7 : 16;
  return static_cast<std::int64_t>(address << unused) >> unused == static_cast<std::int64_t>(address);
}

// Whose stack that is. Only this CPU's own thread can be asked for its name without a lock.
void write_owner(memory::Writer& out, const memory::FoundRange& range) {
  const Thread& mine = current_thread();
  write_stack_owner(out, range, mine.number == range.number ? mine.title() : std::string_view{});
}

// What the address is in the window of kernel ranges; false outside of it.
bool write_kernel_range(memory::Writer& out, std::uint64_t address) {
  using namespace memory::kernel_space;
  if (address < kVmalloc.value || address >= kVmallocEnd.value) return false;
  const auto found = memory::range_at_fault({address});
  if (!found.ok()) {
    out.text("kernel addresses that nobody has");
    return true;
  }
  const memory::FoundRange range = found.take();
  out.text(range.guards({address}) ? "the guard page of " : "in ");
  if (range.kind == memory::RangeKind::stack) {
    out.text(range.state == memory::RangeState::leaving ? "the former stack of " : "the stack of ");
    write_owner(out, range);
  } else {
    out.text("the ").text(name_of(range.kind)).text(" range [").address(range.body.first.value).text(", ");
    out.address(range.body.end.value).text(") of ").text(range.owner.view());
  }
  out.text(", from ");
  write_return_address(out, range.caller);
  return true;
}

// Whose object of the guard pool was met; false where none was. A report is large: it does not lie in a trap's frame.
[[gnu::noinline]] bool write_guarded_object(memory::Writer& out, std::uint64_t address) {
  using memory::Error;
  const auto found = memory::misuse_at_fault({address});
  if (!found.ok()) return false;
  const memory::MisuseReport misuse = found.take();
  if (misuse.error == Error::use_after_free)
    out.text("in an object after its release: ");
  else if (misuse.error == Error::underflow)
    out.text("before the start of an object: ");
  else
    out.text("past the end of an object: ");
  misuse.write_object(out);
  return true;
}

// Which frame the direct map has there; false where it has none.
bool write_frame(memory::Writer& out, std::uint64_t address) {
  const auto found = memory::frame_at_fault({address});
  if (!found.ok()) return false;
  const memory::FrameNumber frame = found.take();
  const bool is_free = memory::manager().physical().frames().is_free(frame);
  out.text(is_free ? "in free frame " : "in frame ").number(raw(frame)).text(" of the direct map");
  return true;
}

}  // namespace

bool write_stack_overflow(memory::Writer& out, std::uint64_t address) {
  if (const auto use = image_stack_at(address, StackPart::guard)) {
    out.text("stack overflow: the ").text(name_of(*use)).text(" stack ran into its guard page");
    return true;
  }
  const auto found = memory::range_at_fault({address});
  if (!found.ok() || found.take().kind != memory::RangeKind::stack || !found.take().guards({address}))
    return false;
  const memory::FoundRange range = found.take();
  if (memory::VirtAddr{address} >= range.body.end) return false;  // the page above it: no overflow
  out.text("stack overflow of ");
  write_owner(out, range);
  out.text(": it ran into its guard page");
  return true;
}

void write_region(memory::Writer& out, std::uint64_t address) {
  if (!is_canonical(address)) {
    out.text("not a canonical address");
    return;
  }
  if (address < memory::kPageSize) {
    out.text("the zero page: a null pointer, or a member of one");
    return;
  }
  for (const StackPart part : {StackPart::guard, StackPart::body}) {
    const auto use = image_stack_at(address, part);
    if (!use) continue;
    out.text(part == StackPart::guard ? "the guard page of the " : "the ").text(name_of(*use)).text(" stack");
    return;
  }
  if (write_kernel_range(out, address) || write_guarded_object(out, address) || write_frame(out, address))
    return;
  for (const Region& region : kImage) {
    if (address < address_of(region.first).value || address >= address_of(region.end).value) continue;
    out.text(region.name);
    return;
  }
  out.text(static_cast<std::int64_t>(address) < 0 ? "the kernel's half, outside the image" : "the user half");
}

void write_page_fault(memory::Writer& out, std::uint64_t address, std::uint64_t error) {
  const bool fetch = (error & kFetch) != 0;
  const bool write = (error & kWrite) != 0;
  out.text("page fault: ").text(fetch ? "execution of " : write ? "write to " : "read of ");
  out.address(address).text(" (");
  write_region(out, address);
  out.text("), which is ");
  if ((error & kReservedBit) != 0) {
    out.text("mapped by an entry with a reserved bit set");
  } else if ((error & kPresent) == 0) {
    out.text("not mapped");
  } else if ((error & kProtectionKey) != 0) {
    out.text("forbidden by its protection key");
  } else {
    out.text(fetch ? "not executable" : write ? "not writable" : "not readable");
  }
  if ((error & kUser) != 0) out.text(", from user mode");
}

void write_protection_fault(memory::Writer& out, const TrapFrame& frame) {
  if (frame.error != 0) {  // section 6.13
    constexpr std::string_view kTables[] = {"GDT", "IDT", "LDT", "IDT"};
    out.text(", ").text(kTables[frame.error >> 1 & 3]).text(" entry ").number(frame.error >> 3 & 0x1fff);
    if ((frame.error & 1) != 0) out.text(", while delivering another event");
    return;
  }
  const struct {
    std::string_view name;
    std::uint64_t value;
  } registers[] = {
      {"rax", frame.rax}, {"rbx", frame.rbx}, {"rcx", frame.rcx}, {"rdx", frame.rdx},
      {"rsi", frame.rsi}, {"rdi", frame.rdi}, {"rbp", frame.rbp}, {"rsp", frame.rsp},
      {"r8", frame.r8},   {"r9", frame.r9},   {"r10", frame.r10}, {"r11", frame.r11},
      {"r12", frame.r12}, {"r13", frame.r13}, {"r14", frame.r14}, {"r15", frame.r15},
  };
  unsigned found = 0;
  for (const auto& reg : registers) {
    if (is_canonical(reg.value)) continue;
    out.text(found++ == 0 ? ": not a canonical address in " : ", ").text(reg.name);
  }
}

}  // namespace kernel

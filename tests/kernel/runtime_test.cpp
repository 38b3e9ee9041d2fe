// The functions that the compiler calls on its own, and the ways of the kernel to look at itself.
// SPDX-License-Identifier: MIT
#include <cstring>

#include "kernel/arch/x86_64/clock.hpp"
#include "kernel/arch/x86_64/cpu.hpp"
#include "kernel/arch/x86_64/fault_text.hpp"
#include "kernel/arch/x86_64/stacks.hpp"
#include "kernel/backtrace.hpp"
#include "kernel/image.hpp"
#include "kernel/panic.hpp"
#include "kernel/symbols.hpp"
#include "mm/base/random.hpp"
#include "mm/memory_manager.hpp"
#include "tests/unit/unit.hpp"

namespace {

constexpr std::size_t kBytes = 64;

template <typename T>
T hidden(T value) {  // or the compiler expands the call in place
  asm volatile("" : "+r"(value));
  return value;
}

class Lines final : public memory::Sink {
 public:
  void write(std::string_view text) override { text_.text(text); }
  std::string_view view() const { return text_.view(); }
  bool has(std::string_view text) const { return view().find(text) != std::string_view::npos; }

 private:
  memory::TextBuffer<400> text_;
};

}  // namespace

TEST(runtime, memmove_agrees_with_a_byte_loop) {
  memory::Random random(unit::seed());
  for (int round = 0; round < 2000; ++round) {
    unsigned char bytes[kBytes];
    unsigned char expected[kBytes];
    for (std::size_t i = 0; i < kBytes; ++i)
      expected[i] = bytes[i] = static_cast<unsigned char>(random.next());
    const std::size_t count = random.below(kBytes + 1);
    const std::size_t from = random.below(kBytes - count + 1);
    const std::size_t to = random.below(kBytes - count + 1);
    unsigned char copy[kBytes];
    for (std::size_t i = 0; i < count; ++i) copy[i] = expected[from + i];
    for (std::size_t i = 0; i < count; ++i) expected[to + i] = copy[i];
    std::memmove(bytes + to, bytes + from, hidden(count));
    bool same = true;
    for (std::size_t i = 0; i < kBytes; ++i) same = same && bytes[i] == expected[i];
    ASSERT(same);
  }
}

TEST(runtime, memset_and_memcmp_stop_where_they_should) {
  for (std::size_t count = 0; count <= 24; ++count) {
    unsigned char bytes[32] = {};
    std::memset(bytes + 3, 0x5a, hidden(count));
    for (std::size_t i = 0; i < sizeof bytes; ++i) ASSERT(bytes[i] == (i >= 3 && i < 3 + count ? 0x5a : 0));
    unsigned char other[32];
    std::memcpy(other, bytes, hidden(sizeof bytes));
    EXPECT_EQ(std::memcmp(bytes, other, hidden(sizeof bytes)), 0);
    other[31] = 1;
    EXPECT(std::memcmp(bytes, other, hidden(sizeof bytes)) < 0);
    EXPECT_EQ(std::memcmp(bytes, other, hidden(std::size_t{31})), 0);
  }
}

TEST(clock, never_goes_back_and_does_go_on) {
  const std::uint64_t start = kernel::clock::now_ns();
  std::uint64_t last = start;
  for (int i = 0; i < 20'000; ++i) {
    const std::uint64_t now = kernel::clock::now_ns();
    ASSERT(now >= last);
    last = now;
  }
  EXPECT(last > start);
}

TEST(panic, is_caught_with_preemption_and_interrupts_as_before) {
  const auto reason = kernel::catch_panic(
      [](void*) {
        memory::platform::preempt_off();
        kernel::cpu::interrupts_disable();
        kernel::panic("on purpose");
      },
      nullptr);
  EXPECT_EQ(reason, std::string_view("on purpose"));
  EXPECT_EQ(memory::platform::percpu().preempt_depth(), 0u);
  EXPECT(kernel::cpu::interrupts_on());
}

TEST(panic, catches_exceptions_with_what_they_were) {
  const auto reason = kernel::catch_panic(
      [](void*) { *hidden(reinterpret_cast<volatile int*>(std::uintptr_t{8})) = 1; }, nullptr);
  EXPECT(reason.find("page fault: write to 0x0000000000000008 (the zero page") == 0);
  EXPECT(kernel::cpu::interrupts_on());
}

TEST(backtrace, names_this_very_test) {
  Lines lines;
  kernel::write_backtrace(lines, kernel::frame_pointer());
  EXPECT(lines.has("kernel::shell::"));
}

TEST(backtrace, survives_every_broken_chain) {
  static constinit std::uint64_t elsewhere[2] = {0, 0};
  std::uint64_t chain[8] = {};
  const auto at = [&chain](std::size_t i) { return reinterpret_cast<std::uint64_t>(&chain[i]); };
  const auto walk = [&](std::uint64_t from, std::string_view expected) {
    Lines lines;
    kernel::write_backtrace(lines, from);
    EXPECT(lines.has(expected));
  };
  walk(reinterpret_cast<std::uint64_t>(elsewhere), "on no stack");
  walk(~std::uint64_t{0} - 7, "on no stack");
  walk(at(0) + 1, "on no stack");  // not aligned
  chain[0] = at(0);
  walk(at(0), "runs backwards");
  chain[0] = at(4);
  chain[4] = at(2);
  walk(at(0), "runs backwards");
  chain[4] = 0x7878'7878'7878'7878;
  walk(at(0), "which is on no stack");
}

TEST(stacks, know_their_guard_pages) {
  using kernel::StackPart;
  using kernel::StackUse;
  const kernel::KernelStack boot = kernel::image_stacks()[StackUse::boot];
  const std::uint64_t guard = boot.bottom.value - memory::kPageSize;
  EXPECT(kernel::image_stack_at(guard, StackPart::guard) == StackUse::boot);
  EXPECT(kernel::image_stack_at(guard + 4095, StackPart::guard) == StackUse::boot);
  EXPECT(!kernel::image_stack_at(guard + 4096, StackPart::guard));
  EXPECT(!kernel::image_stack_at(guard + 4095, StackPart::body));
  EXPECT(kernel::image_stack_at(guard + 4096, StackPart::body) == StackUse::boot);
  EXPECT(kernel::image_stack_at(boot.top.value, StackPart::body) != StackUse::boot);
  EXPECT(kernel::stack_holding(guard + 4096).take() == boot);
  EXPECT(!kernel::stack_holding(guard).ok());
  EXPECT(kernel::high_water_bytes(boot) > 1000 && kernel::high_water_bytes(boot) < boot.top - boot.bottom);
}

TEST(symbols, name_functions_and_nothing_else) {
  const auto address = reinterpret_cast<std::uint64_t>(&kernel::symbol_at);
  EXPECT_EQ(kernel::symbol_at(address).name, std::string_view("kernel::symbol_at"));
  EXPECT_EQ(kernel::symbol_at(address + 1).offset, 1u);
  EXPECT(kernel::symbol_at(0).name.empty());
  EXPECT(kernel::symbol_at(~std::uint64_t{0}).name.empty());
  EXPECT(kernel::symbol_at(kernel::address_of(rodata_start).value).name.empty());
}

TEST(fault_text, says_what_and_where) {
  const auto text_of = [](std::uint64_t address, std::uint64_t error, std::string_view expected) {
    memory::TextBuffer<200> text;
    kernel::write_page_fault(text, address, error);
    EXPECT(text.view().find(expected) != std::string_view::npos);
  };
  text_of(0, 0, "read of 0x0000000000000000 (the zero page");
  text_of(0x1000, 0x2, "(the user half), which is not mapped");
  text_of(kernel::address_of(text_start).value, 0x3, "(the kernel's text), which is not writable");
  text_of(kernel::address_of(data_start).value, 0x11, "execution of");
  text_of(kernel::kernel_guard_pages()[1].value, 0x2, "(the guard page of the double fault stack)");
  text_of(0x8000'0000'0000'0000, 0x0, "(not a canonical address)");
  text_of(0x1000, 0x9, "an entry with a reserved bit set");
  text_of(0x1000, 0x7, "from user mode");
}

// A use of a frame that nobody has faults at the guilty line, where the profile hides such frames.
TEST(direct_map, a_freed_frame_faults_and_is_named) {
  if (!memory::config::debug_pagealloc) return;
  memory::MemoryManager& manager = memory::manager();
  static constinit volatile std::uint64_t* word = nullptr;
  static constinit memory::FrameNumber frame{0};
  frame = manager.alloc_pages(memory::Order{0}).take();
  word = reinterpret_cast<std::uint64_t*>(manager.physical().frames().open(frame).bytes());
  *word = 7;
  EXPECT_EQ(*word, 7u);
  ASSERT(manager.free_pages(frame, memory::Order{0}).ok());
  memory::TextBuffer<80> expected;
  expected.text(" (in free frame ").number(raw(frame)).text(" of the direct map), which is not mapped");
  for (const bool write : {false, true}) {
    const auto reason = kernel::catch_panic(
        [](void* writes) {
          if (writes != nullptr) {
            *word = 1;
          } else {
            static_cast<void>(*word);
          }
        },
        write ? &expected : nullptr);
    EXPECT(reason.find(write ? "page fault: write to " : "page fault: read of ") == 0);
    EXPECT(reason.find(expected.view()) != std::string_view::npos);
  }
}

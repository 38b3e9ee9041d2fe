// `break`: faults on purpose, so that tests see every kind of end with their own eyes.
// SPDX-License-Identifier: MIT
#include <array>
#include <atomic>

#include "kernel/arch/x86_64/cpu.hpp"
#include "kernel/arch/x86_64/cpus.hpp"
#include "kernel/arch/x86_64/power.hpp"
#include "kernel/image.hpp"
#include "kernel/panic.hpp"
#include "kernel/shell/command.hpp"
#include "kernel/task/scheduler.hpp"
#include "kernel/task/thread.hpp"
#include "mm/base/check.hpp"
#include "mm/memory_manager.hpp"
#include "mm/virtual/protection.hpp"

namespace kernel::shell {

namespace {

// What the compiler must not know, or it would remove the fault or warn of it.
template <typename T>
T* hidden(T* value) {
  asm volatile("" : "+r"(value));
  return value;
}

using Function = void (*)();
Function as_function(const void* address) {
  return reinterpret_cast<Function>(hidden(const_cast<void*>(address)));
}

constexpr unsigned char kReturnInstruction = 0xc3;
constinit unsigned char data_code[16] = {kReturnInstruction};

void divide() { asm volatile("xorl %%edx, %%edx; movl $1, %%eax; divl %%edx" : : : "eax", "edx", "cc"); }
void null_read() { static_cast<void>(*hidden(static_cast<volatile int*>(nullptr))); }
void null_write() { *hidden(static_cast<volatile int*>(nullptr)) = 1; }
void null_exec() { as_function(nullptr)(); }
void write_text() { *hidden(const_cast<volatile unsigned char*>(text_start)) = 0; }
void write_rodata() { *hidden(const_cast<volatile unsigned char*>(rodata_start)) = 0; }
void exec_data() { as_function(data_code)(); }
void exec_rodata() { as_function(rodata_start)(); }
void exec_stack() {
  unsigned char code[16] = {kReturnInstruction};
  as_function(code)();
}
void noncanonical() { *hidden(reinterpret_cast<volatile int*>(0x8000'0000'0000'0000)) = 1; }
void breakpoint() { asm volatile("int3"); }
void undefined() { asm volatile("ud2"); }
void unexpected_interrupt() { asm volatile("int $0x80"); }

[[gnu::noinline]] std::uint64_t recurse(std::uint64_t depth) {
  volatile std::uint64_t here[16] = {depth};
  if (*hidden(&depth) == ~std::uint64_t{0}) return 0;  // or the compiler warns that this never ends
  return recurse(depth + 1) + here[0];
}
void stack_overflow() { hidden(reinterpret_cast<void*>(recurse(0))); }

[[gnu::noinline]] void stack_smash() {
  char local[16];
  volatile char* past = hidden(local);
  for (int i = 0; i < 40; ++i) past[i] = 'x';
}

void failed_check() {
  const int expected = 1;
  CHECK(expected == *hidden(&expected) + 1);
}

// The details of a panic are the last thing it prints: one that panics itself shows that the machine still
// leaves.
void nested_panic() {
  set_panic_details([](memory::Sink&) { panic("the details of the panic panicked"); });
  panic("the first of two panics");
}

[[noreturn]] void hang() {
  cpu::interrupts_disable();
  for (;;) asm volatile("pause");
}
[[noreturn]] void silent() {
  for (;;) asm volatile("sti; hlt");
}

// ---- several CPUs

// On the last CPU, which is not the one that the shell runs on where there are several.
void cpu_panic() {
  const auto body = [](void*) { panic("asked for on the last CPU"); };
  static_cast<void>(run_on(cpu_count() - 1, body, nullptr));
}

// All CPUs at the same moment: one has the word.
void all_panic() {
  static constinit std::atomic<unsigned> there{0};
  const auto body = [](void*) {
    cpu::interrupts_disable();
    there.fetch_add(1);
    while (there.load() < cpu_count()) asm volatile("pause");
    memory::TextBuffer<40> why;
    why.text("CPU ").number(this_cpu().number).text(" panics with all others");
    panic(why.view());
  };
  for (unsigned cpu = 1; cpu < cpu_count(); ++cpu) static_cast<void>(spawn("panics", body, nullptr, cpu));
  body(nullptr);
}

// No other CPU answers: an NMI stops it all the same.
void deaf_cpu() {
  static constinit std::atomic<bool> deaf{false};
  const auto body = [](void*) {
    cpu::interrupts_disable();
    deaf.store(true);
    for (;;) asm volatile("pause");
  };
  if (cpu_count() > 1) {
    static_cast<void>(spawn("deaf", body, nullptr, cpu_count() - 1));
    while (!deaf.load()) scheduler::yield();
  }
  panic("while another CPU is deaf");
}

[[gnu::noinline]] void overflow_of_thread() {
  const auto body = [](void*) { stack_overflow(); };
  static_cast<void>(run_on(cpu_count() - 1, body, nullptr));
}

// Two threads, each of which wants what the other one has. By the words alone, which know no ranks: the locks themselves
// would refuse.
struct WordLock {
  memory::MutexWord word;
  memory::LockSite site;
  void take(memory::Rank rank, memory::CallSite from = memory::CallSite::here()) {
    word.acquire(rank, from, &site);
    site.set(from);
  }
};
void lock_abba() {
  static constinit WordLock first;
  static constinit WordLock second;
  static constinit std::atomic<unsigned> have_one{0};
  const auto meet = [] {
    have_one.fetch_add(1);
    while (have_one.load() < 2) scheduler::yield();
  };
  static constexpr auto kMeet = meet;
  const auto forward = [](void*) {
    first.take(memory::Rank::object);
    kMeet();
    second.take(memory::Rank::heap);
  };
  const auto backward = [](void*) {
    second.take(memory::Rank::heap);
    kMeet();
    first.take(memory::Rank::object);
  };
  const auto one = spawn("forward", forward, nullptr);
  const auto two = spawn("backward", backward, nullptr);
  if (one.ok() && two.ok()) join(*one.take());
}

// ---- misuse of the frame allocator, past the table of `alloc`

using memory::Error;
using memory::FrameNumber;
using memory::Order;

// A block of 4 frames, given back at the end unless the fault did that.
class Victim {
 public:
  static constexpr Order kOrder{2};
  Victim() : block_(memory::manager().alloc_pages(kOrder)) {}
  ~Victim() {
    if (block_.ok() && !gone_) CHECK(memory::manager().free_pages(block_.take(), kOrder).ok());
  }
  Victim(const Victim&) = delete;

  bool ok() const { return block_.ok(); }
  FrameNumber number() const { return block_.take(); }
  void free() {
    gone_ = true;
    CHECK(memory::manager().free_pages(number(), kOrder).ok());
  }

 private:
  memory::Result<FrameNumber> block_;
  bool gone_ = false;
};

Error free_again(Victim& victim) {
  victim.free();
  return memory::manager().free_pages(victim.number(), Victim::kOrder).error();
}
Error free_as_smaller(Victim& victim) {
  return memory::manager().free_pages(victim.number(), Order{1}).error();
}
Error free_inside(Victim& victim) {
  return memory::manager().free_pages(victim.number() + 1, Order{0}).error();
}
Error free_beyond(Victim&) {
  return memory::manager().free_pages(memory::manager().physical().frames().limit() + 5, Order{0}).error();
}
Error free_frame_zero(Victim&) { return memory::manager().free_pages(FrameNumber{0}, Order{0}).error(); }

// Where the pattern of free memory is verified, handing the block out again finds the write.
Error write_after_free(Victim& victim) {
  std::byte* const bytes = memory::manager().physical().frames().open(victim.number()).bytes();
  victim.free();
  bytes[100] = std::byte{0x42};
  const auto again = memory::manager().alloc_pages(Victim::kOrder);
  if (again.ok()) CHECK(memory::manager().free_pages(again.take(), Victim::kOrder).ok());
  return Error::ok;
}

// The free lists are checked before they are followed: taking the damaged pageblock off its list finds it.
Error clobber_link(Victim&) {
  memory::Physical& physical = memory::manager().physical();
  const memory::BuddyLists& lists =
      *physical.zone(physical.node().first_zone(memory::Gfp::kernel)).record().lists;
  for (unsigned order = memory::Pageblock::kWholeOrder; order <= memory::raw(memory::kMaxOrder); ++order) {
    const std::uint32_t head =
        lists.heads[memory::BuddyLists::kPartial + order - memory::Pageblock::kWholeOrder];
    if (head == memory::Pageblock::kNone) continue;
    physical.frames().block(head).next = 0x1234'5678;
    static_cast<void>(memory::manager().alloc_pages(Order{static_cast<std::uint8_t>(order)}));
    break;
  }
  return Error::ok;
}

// ---- kernel addresses

using memory::VirtAddr;

[[gnu::noinline]] VirtAddr some_pages(std::uint64_t pages) {
  const auto got = memory::manager().vmalloc(pages * memory::kPageSize, memory::Origin::here("break"));
  CHECK(got.ok());
  return got.take();
}

void vmalloc_overrun() {
  *hidden(reinterpret_cast<char*>((some_pages(2) + 2 * memory::kPageSize).value)) = 'x';
}
void vmalloc_after_free() {
  const VirtAddr at = some_pages(1);
  CHECK(memory::manager().vfree(at).ok());
  *hidden(reinterpret_cast<char*>(at.value)) = 'x';
}
void vmalloc_execute() {
  const VirtAddr at = some_pages(1);
  *hidden(reinterpret_cast<unsigned char*>(at.value)) = 0xc3;  // ret
  reinterpret_cast<void (*)()>(at.value)();
}

[[noreturn]] void overflow_on(const KernelStack& stack) {
  asm volatile("mov %0, %%rsp\n\txor %%ebp, %%ebp\n\tcall *%1"
               :
               : "r"(stack.top.value), "r"(&stack_overflow)
               : "memory");
  __builtin_unreachable();
}
// On a stack of its own, as a thread would have it.
void thread_stack_overflow() {
  const auto stack = memory::manager().addresses().stacks().allocate(memory::Origin::here("thread", 7));
  CHECK(stack.ok());
  overflow_on(stack.take());
}
// As a handler of NMIs would that calls too deep, on the last CPU.
void cpu_stack_overflow() {
  const auto body = [](void*) {
    cpu::interrupts_disable();
    overflow_on(this_cpu().stacks[StackUse::nmi]);
  };
  static_cast<void>(run_on(cpu_count() - 1, body, nullptr));
}
void thread_stack_guard() {
  const auto stack = memory::manager().addresses().stacks().allocate(memory::Origin::here("CPU", 3));
  CHECK(stack.ok());
  *hidden(reinterpret_cast<char*>(stack.take().bottom.value - 1)) = 'x';
}
void thread_stack_canary() {
  auto& stacks = memory::manager().addresses().stacks();
  const auto stack = stacks.allocate(memory::Origin::here("thread", 9));
  CHECK(stack.ok());
  *hidden(reinterpret_cast<char*>(stack.take().bottom.value)) = 'x';
  static_cast<void>(stacks.release(stack.take()));
}

Error vfree_twice(Victim&) {
  const VirtAddr at = some_pages(1);
  CHECK(memory::manager().vfree(at).ok());
  return memory::manager().vfree(at).error();
}
Error vfree_inside(Victim&) {
  const VirtAddr at = some_pages(3);
  const Error answer = memory::manager().vfree(at + memory::kPageSize).error();
  CHECK(memory::manager().vfree(at).ok());
  return answer;
}
Error vfree_wild(Victim&) {
  return memory::manager().vfree(memory::kernel_space::kVmallocEnd - memory::kPageSize).error();
}

// ---- protection

// Makes the first page of the text writable, and lets the check of the boot look again.
void writable_text() {
  std::byte* const reach = memory::manager().physical().frames().map().direct_map;
  const memory::PageRoot root = memory::kernel_tables().root();
  memory::PhysAddr table = root.table;
  for (memory::PageLevel level = root.top;; level = memory::below(level)) {
    auto* const entry = reinterpret_cast<memory::PageEntry*>(reach + table.value) +
                        memory::index_at(level, address_of(text_start));
    if (level == memory::PageLevel::page || entry->large()) {
      *reinterpret_cast<std::uint64_t*>(entry) |= memory::PageEntry::kWrite;
      break;
    }
    table = entry->address();
  }
  memory::verify_protection(root.table, reach, root.top);
}

struct Fault {
  std::string_view name;
  std::string_view effect;             // what is to be seen
  void (*cause)() = nullptr;           // one of the two
  Error (*misuse)(Victim&) = nullptr;  // returns how the allocator answered, if it did not panic
};

constexpr std::array kFaults{
    Fault{"all-panic", "every CPU panics at the same moment", all_panic},
    Fault{"check", "a CHECK that fails", failed_check},
    Fault{"clobbered-link", "a link of the free lists leads nowhere", nullptr, clobber_link},
    Fault{"cpu-panic", "a panic on the last CPU", cpu_panic},
    Fault{"cpu-stack-overflow", "double fault: the NMI stack of the last CPU runs into its guard page",
          cpu_stack_overflow},
    Fault{"deaf-cpu", "a panic while the last CPU keeps its interrupts off", deaf_cpu},
    Fault{"divide", "divide error", divide},
    Fault{"double-free", "a block is given back twice", nullptr, free_again},
    Fault{"exec-data", "page fault: the data section is not executable", exec_data},
    Fault{"exec-rodata", "page fault: read-only data is not executable", exec_rodata},
    Fault{"exec-stack", "page fault: the stack is not executable", exec_stack},
    Fault{"hang", "a loop with interrupts off: only an NMI gets through", hang},
    Fault{"int3", "breakpoint", breakpoint},
    Fault{"int80", "an interrupt that nobody handles", unexpected_interrupt},
    Fault{"interior-free", "the inside of a block is given back", nullptr, free_inside},
    Fault{"nested-panic", "a panic inside a panic", nested_panic},
    Fault{"lock-abba", "two threads wait for each other's lock for ever; a debug build reports it",
          lock_abba},
    Fault{"noncanonical", "general protection fault", noncanonical},
    Fault{"null-exec", "page fault: jump to address 0", null_exec},
    Fault{"null-read", "page fault: read of address 0", null_read},
    Fault{"null-write", "page fault: write to address 0", null_write},
    Fault{"reserved-free", "frame 0, which is reserved, is given back", nullptr, free_frame_zero},
    Fault{"reset", "a reset that nobody announced", power::reset},
    Fault{"silent", "interrupts are on, but nothing is ever said again", silent},
    Fault{"stack-overflow", "double fault: the boot stack runs into its guard page", stack_overflow},
    Fault{"stack-smash", "a function finds its stack canary overwritten", stack_smash},
    Fault{"thread-overflow", "double fault: a thread's stack runs into its guard page", overflow_of_thread},
    Fault{"thread-stack-canary", "a thread's stack is given back with its canary overwritten",
          thread_stack_canary},
    Fault{"thread-stack-guard", "page fault: the guard page below a CPU's stack", thread_stack_guard},
    Fault{"thread-stack-overflow", "double fault: a thread's stack runs into its guard page",
          thread_stack_overflow},
    Fault{"triple-fault", "the CPU shuts down without a word", power::triple_fault},
    Fault{"ud2", "invalid opcode", undefined},
    Fault{"vfree-inside", "the inside of a vmalloc range is given back", nullptr, vfree_inside},
    Fault{"vfree-twice", "a vmalloc range is given back twice", nullptr, vfree_twice},
    Fault{"vfree-wild", "kernel addresses that nobody has are given back", nullptr, vfree_wild},
    Fault{"vmalloc-after-free", "page fault: a vmalloc range that was given back", vmalloc_after_free},
    Fault{"vmalloc-execute", "page fault: a vmalloc range is not executable", vmalloc_execute},
    Fault{"vmalloc-overrun", "page fault: the guard page behind a vmalloc range", vmalloc_overrun},
    Fault{"wild-free", "a frame that does not exist is given back", nullptr, free_beyond},
    Fault{"writable-text", "the check for pages that are writable and executable", writable_text},
    Fault{"write-after-free", "a freed frame is written to; found with poison_frames", nullptr,
          write_after_free},
    Fault{"write-rodata", "page fault: read-only data is not writable", write_rodata},
    Fault{"write-text", "page fault: the text is not writable", write_text},
    Fault{"wrong-order", "a block is given back as a smaller one", nullptr, free_as_smaller},
};

// Comes back only from a fault that stopped nothing: it was refused (on_misuse=refuse), or nobody noticed.
Status cause(Call& call, const Fault& fault) {
  Error answer = Error::ok;
  if (fault.misuse != nullptr) {
    Victim victim;
    if (!victim.ok()) return call.fail(Error::no_memory, "no memory for a block to misuse");
    answer = fault.misuse(victim);
  } else {
    fault.cause();
  }
  if (answer == Error::ok) {
    call.error().text("the fault '").text(fault.name).text("' went unnoticed");
    return Status::invalid;
  }
  call.error().text("refused: ").text(memory::text_of(answer));
  return status_of(answer);
}

Status list_faults(Call& call) {
  memory::Inspector& out = call.out();
  out.begin_object("", memory::Layout::lines);
  out.begin_array("faults", memory::Layout::table);
  for (const Fault& fault : kFaults) {
    out.begin_object("", memory::Layout::row);
    out.text("fault", fault.name);
    out.text("effect", fault.effect);
    out.end_object();
  }
  out.end_array();
  out.end_object();
  return Status::success;
}

}  // namespace

Status run_break(Call& call) {
  if (call.arguments() == 0) return list_faults(call);
  if (call.argument(0) == "heap") return run_break_heap(call);
  if (call.arguments() > 1) {
    call.error().text("only 'break heap' takes more words");
    return Status::invalid;
  }
  for (const Fault& fault : kFaults) {
    if (fault.name == call.argument(0)) return cause(call, fault);
  }
  call.error().text("no fault ");
  call.error().quoted(call.argument(0));
  call.error().text("; 'break' lists them");
  return Status::not_found;
}

}  // namespace kernel::shell

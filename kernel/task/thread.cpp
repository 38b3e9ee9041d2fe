// SPDX-License-Identifier: MIT
//
// A Thread is an object of a cache of its own: what is written through a pointer to one that was joined does not hit a
// stack, and a second join is a double free that the cache finds. The first one and the CPUs' idle ones are there before
// there is a heap, and never end. The cache has no magazines: a thread costs a stack, beside which its lock is nothing, and
// so its last slab can go whenever memory is short.
#include "kernel/task/thread.hpp"

#include <new>

#include "kernel/arch/x86_64/cpu.hpp"
#include "kernel/arch/x86_64/cpus.hpp"
#include "kernel/task/scheduler.hpp"
#include "mm/base/check.hpp"
#include "mm/base/format.hpp"
#include "mm/base/sync.hpp"
#include "mm/memory_manager.hpp"

extern "C" {
extern const unsigned char thread_start[];
[[noreturn, gnu::used]] void run_thread();
}

namespace kernel {

constinit Thread boot_thread{};

void finish_switch();  // scheduler.cpp

namespace {

using memory::Result;

constinit LockedThreads list;

// Static storage for the cache of threads, which is made when there is a heap.
struct CacheRoom {
  alignas(memory::KmemCache) std::byte bytes[sizeof(memory::KmemCache)];
  memory::KmemCache& made() { return *std::launder(reinterpret_cast<memory::KmemCache*>(bytes)); }
};
constinit CacheRoom cache_room{};

void make_cache() {
  const memory::CacheShape shape{.name = "thread",
                                 .object_bytes = sizeof(Thread),
                                 .align = 64,  // a cache line: CPUs write to neighbours at once
                                 .magazines = memory::CacheShape::Magazines::off};
  CHECK(memory::KmemCache::check(shape) == memory::Error::ok);
  new (cache_room.bytes) memory::KmemCache(memory::manager().heap(), shape);
}

memory::KernelStacks& kernel_stacks() { return memory::manager().addresses().stacks(); }

constinit std::atomic<std::uint32_t> next_number{0};

// Two that are made at once may come in either order; the list is by number.
void enter_into_list(Thread& thread) {
  list.with([&](Threads& threads) {
    auto at = threads.begin();
    if (!threads.empty() && threads.back()->number < thread.number) at = threads.end();
    while (at != threads.end() && at->number < thread.number) ++at;
    if (at == threads.end()) {
      threads.push_back(thread);
    } else {
      threads.insert_before(*at, thread);
    }
  });
}

void take_out_of_list(Thread& thread) {
  list.with([&](Threads& threads) { threads.remove(thread); });
}

void set_name(Thread& thread, std::string_view name) {
  memory::Writer text(thread.name.data(), thread.name.size() - 1);  // a zero stays behind it
  text.text(name);
}

// What switch_threads() pops, and where it returns to.
void prepare_first_switch(Thread& thread) {
  auto* top = reinterpret_cast<std::uint64_t*>(thread.stack.top.value);
  *--top = 0;  // keeps the stack at a multiple of 16 behind the return
  *--top = reinterpret_cast<std::uint64_t>(thread_start);
  for (unsigned callee_saved = 0; callee_saved < 6; ++callee_saved) *--top = 0;
  thread.stack_pointer = reinterpret_cast<std::uint64_t>(top);
}

struct Errand {
  void (*body)(void*);
  void* context;
};

// `caller`: who wants the thread, to whom its stack is put down.
Result<Thread*> make_thread(std::string_view name, Errand errand, unsigned pinned, const void* caller) {
  CHECK(pinned == Thread::kAnyCpu || pinned < cpu_count());
  const std::uint32_t number = next_number.fetch_add(1, std::memory_order_relaxed);
  const memory::KernelStack stack =
      TRY(kernel_stacks().allocate({"thread", reinterpret_cast<std::uint64_t>(caller), number}));
  const auto room = cache_room.made().allocate();
  if (!room.ok()) {
    CHECK(kernel_stacks().release(stack).ok());
    return room.error();
  }
  Thread& thread = *new (room.take()) Thread;
  thread.number = number;
  thread.pinned = pinned;
  thread.cpu.store(pinned == Thread::kAnyCpu ? memory::platform::percpu().number : pinned,
                   std::memory_order_relaxed);
  thread.state.store(ThreadState::ready, std::memory_order_relaxed);
  thread.stack = stack;
  thread.body = errand.body;
  thread.context = errand.context;
  set_name(thread, name);
  prepare_first_switch(thread);
  const memory::InterruptsOff off;  // who looks from outside finds no ready thread that is in no queue
  enter_into_list(thread);
  scheduler::start(thread);
  return &thread;
}

}  // namespace

std::string_view name_of(ThreadState state) {
  constexpr std::string_view kNames[] = {"running", "ready", "sleeping", "ended"};
  return kNames[static_cast<std::size_t>(state)];
}

// One load, so that it is right wherever the thread is taken to in between.
Thread& current_thread() {
  Thread* thread;
  asm volatile("movq %%gs:%c1, %0" : "=r"(thread) : "i"(offsetof(memory::PerCpu, thread)));
  return *thread;
}

void start_threads() {
  boot_thread.pinned = 0;
  boot_thread.on_cpu.store(true, std::memory_order_relaxed);
  boot_thread.number = next_number.fetch_add(1);
  boot_thread.stack = boot_cpu.stacks[StackUse::boot];
  set_name(boot_thread, "shell");
  boot_cpu.block->thread = &boot_thread;
  enter_into_list(boot_thread);
  make_cache();

  Thread& idle = boot_cpu.idle;
  prepare_idle(idle, 0);
  idle.state.store(ThreadState::ready, std::memory_order_relaxed);
  idle.on_cpu.store(false, std::memory_order_relaxed);
  idle.body = [](void*) { scheduler::idle(); };
  prepare_first_switch(idle);
}

void prepare_idle(Thread& idle, unsigned cpu) {
  idle.number = next_number.fetch_add(1);
  idle.pinned = cpu;
  idle.cpu.store(cpu, std::memory_order_relaxed);
  idle.on_cpu.store(true, std::memory_order_relaxed);
  memory::TextBuffer<24> name;
  name.text("idle ").number(cpu);
  set_name(idle, name.view());
  enter_into_list(idle);
}

[[gnu::noinline]] Result<Thread*> spawn(std::string_view name, void (*body)(void*), void* context,
                                        unsigned pinned) {
  return make_thread(name, {body, context}, pinned, __builtin_return_address(0));
}

void join(Thread& thread) {
  while (thread.done.load(std::memory_order_acquire) == 0) memory::platform::wait(thread.done, 0);
  // It still has to leave its stack.
  while (thread.on_cpu.load(std::memory_order_acquire)) memory::platform::relax();
  take_out_of_list(thread);
  CHECK(kernel_stacks().release(thread.stack).ok());
  CHECK(cache_room.made().release(&thread).ok());
}

[[gnu::noinline]] Result<void> run_on(unsigned cpu, void (*body)(void*), void* context) {
  Thread* const thread = TRY(make_thread("errand", {body, context}, cpu, __builtin_return_address(0)));
  join(*thread);
  return {};
}

LockedThreads& all_threads() { return list; }

Thread* thread_from(std::uint32_t number) {
  Thread* found = nullptr;
  list.with([&](Threads& threads) {
    for (Thread& thread : threads) {
      if (thread.number < number) continue;
      found = &thread;
      break;
    }
  });
  return found;
}

void forget_idle(Thread& idle) { take_out_of_list(idle); }

}  // namespace kernel

void run_thread() {
  using namespace kernel;
  finish_switch();
  cpu::interrupts_enable();
  Thread& me = current_thread();
  me.body(me.context);
  CHECK(me.held.depth == 0);
  cpu::interrupts_disable();
  me.state.store(ThreadState::ended, std::memory_order_relaxed);
  me.done.store(1, std::memory_order_release);
  memory::platform::wake(me.done);
  scheduler::leave();
}

namespace memory::platform {

HeldRanks& held_sleep() { return kernel::current_thread().held; }

}  // namespace memory::platform

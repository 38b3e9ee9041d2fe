// What holds an object in the running kernel: stacks of threads, wherever they are, data, and kernel ranges.
// SPDX-License-Identifier: MIT
#include "kernel/leak_roots.hpp"

#include "kernel/arch/x86_64/cpus.hpp"
#include "kernel/task/thread.hpp"
#include "mm/memory_manager.hpp"
#include "tests/unit/unit.hpp"

using kernel::Thread;

namespace {

using memory::VirtAddr;

constexpr std::size_t kBytes = 72;

// An object that a thread holds until it is told to let go. The address lies nowhere else but inverted, so that no stale
// copy of it on the test's own stack counts: only the thread ever has it in hand.
struct Holder {
  enum class Place : std::uint8_t { stack, data, range };

  Place place = Place::stack;
  std::uint64_t range = 0;  // one of vmalloc
  std::atomic<std::uint32_t> step{0};
  std::atomic<std::uint64_t> inverted{0};

  void wait_for(std::uint32_t wanted) {
    for (std::uint32_t now = step.load(); now < wanted; now = step.load()) memory::platform::wait(step, now);
  }
  void go_to(std::uint32_t next) {
    step.store(next);
    memory::platform::wake(step);
  }
};

constinit volatile std::uint64_t data_word = 0;

void hold(void* context) {
  auto& mine = *static_cast<Holder*>(context);
  volatile std::uint64_t own[4] = {};
  own[2] = reinterpret_cast<std::uint64_t>(memory::manager().kmalloc().allocate(kBytes).take());
  mine.inverted.store(~own[2]);
  volatile std::uint64_t* const word = mine.place == Holder::Place::stack ? own
                                       : mine.place == Holder::Place::data
                                           ? &data_word
                                           : reinterpret_cast<std::uint64_t*>(mine.range);
  *word = own[2] + 5;
  if (mine.place != Holder::Place::stack) return mine.go_to(1);
  mine.go_to(1);
  mine.wait_for(2);
}

// Whether a scan says that nothing holds the object.
struct Question final : memory::LeakSink {
  explicit Question(const Holder& of) : holder(of) {}
  void found(const memory::HeapObject& leak) override {
    lost = lost || leak.address == ~holder.inverted.load();
  }
  bool ask() {
    lost = false;
    kernel::KernelRoots roots({});
    (void)memory::manager().find_leaks(roots, *this);
    return lost;
  }
  const Holder& holder;
  bool lost = false;
};

void release(const Holder& holder) {
  EXPECT(memory::manager().kfree(reinterpret_cast<void*>(~holder.inverted.load())).ok());
  memory::manager().addresses().stacks().shrink();
  memory::manager().heap().shrink();
  memory::manager().physical().quiesce();
}

}  // namespace

TEST(leak_roots, a_thread_that_sleeps_holds_what_is_on_its_stack) {
  for (unsigned cpu = 0; cpu < kernel::cpu_count(); ++cpu) {
    Holder holder;
    const auto thread = kernel::spawn("holder", hold, &holder, cpu);
    ASSERT(thread.ok());
    holder.wait_for(1);
    Question question(holder);
    EXPECT(!question.ask());
    holder.go_to(2);
    kernel::join(*thread.take());
    EXPECT(question.ask());
    release(holder);
  }
}

TEST(leak_roots, data_and_ranges_hold) {
  const VirtAddr range =
      memory::manager().vmalloc(3 * memory::kPageSize, memory::Origin::here("test")).take();
  for (const Holder::Place place : {Holder::Place::data, Holder::Place::range}) {
    Holder holder;
    holder.place = place;
    holder.range = range.value + 2 * memory::kPageSize + 8;
    const auto thread = kernel::spawn("holder", hold, &holder);
    ASSERT(thread.ok());
    kernel::join(*thread.take());
    Question question(holder);
    EXPECT(!question.ask());
    data_word = 0;
    *reinterpret_cast<volatile std::uint64_t*>(holder.range) = 0;
    EXPECT(question.ask());
    release(holder);
  }
  EXPECT(memory::manager().vfree(range).ok());
}

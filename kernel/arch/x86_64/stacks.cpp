// SPDX-License-Identifier: MIT
//
// The window of made stacks is cut into slots of twice a stack's size, so that a stack's slot is found by division:
//
//   slot n   | never mapped                    | bytes, kernel_stack_kib |
//                                 guard page ->|^ grows down             ^ next slot
//
// A stack that is given back is unmapped on every CPU before its frames are free.
#include "kernel/arch/x86_64/stacks.hpp"

#include <algorithm>
#include <atomic>

#include "mm/base/check.hpp"
#include "mm/base/format.hpp"
#include "mm/base/sync.hpp"
#include "mm/memory_manager.hpp"
#include "mm/virtual/kernel_space.hpp"
#include "mm/virtual/page_table.hpp"

namespace kernel {

namespace {

using memory::Error;
using memory::Result;
using memory::VirtAddr;

constinit GuardedStack double_fault_stack{};
constinit GuardedStack nmi_stack{};
constinit GuardedStack machine_check_stack{};
constinit GuardedStack debug_stack{};
constinit GuardedStack idle_stack{};

constinit const std::array<NamedStack, kBootStacks> named_stacks{{
    {"boot", &boot_stack_guard},
    {"double fault", &double_fault_stack},
    {"NMI", &nmi_stack},
    {"machine check", &machine_check_stack},
    {"debug", &debug_stack},
    {"idle", &idle_stack},
}};

constexpr std::size_t kStackBytes = sizeof(GuardedStack::bytes);
constexpr std::size_t kSlotBytes = 2 * kStackBytes;
static_assert(kStackBytes >= memory::kPageSize);

class MadeStacks {
 public:
  Result<std::size_t> take();
  void give_back(std::size_t slot);

 private:
  std::array<bool, kMostMadeStacks> taken_{};
};

constinit memory::Guarded<MadeStacks, memory::Mutex<memory::Rank::range>> made_stacks;

// Immutable while the slot's stack is in use.
struct Slot {
  std::array<char, 32> name{};
  NamedStack stack{};
};
constinit std::array<Slot, kMostMadeStacks> slots{};
constinit std::array<std::atomic<bool>, kMostMadeStacks> in_use{};

VirtAddr stack_in(std::size_t slot) {
  return memory::kernel_space::kStacks + slot * kSlotBytes + (kSlotBytes - kStackBytes);
}

// Nobody uses it any more.
void unmap_slot(std::size_t slot) {
  memory::FlushBatch flush(memory::kernel_tables());
  CHECK(memory::kernel_tables().unmap(stack_in(slot), kStackBytes, flush, memory::Unmapped::drop).ok());
}

Result<void> map_slot(std::size_t slot) {
  std::array<memory::FrameNumber, kStackBytes / memory::kPageSize> frames{};
  std::size_t had = 0;
  Result<void> done = Error::ok;
  for (; had < frames.size() && done.ok(); ++had) {
    const auto frame = memory::manager().alloc_pages(memory::Order{0});
    if (!frame.ok()) {
      done = frame.error();
      break;
    }
    frames[had] = frame.take();
  }
  if (done.ok())
    done = memory::kernel_tables().map_pages(stack_in(slot), frames, {.access = memory::Access::read_write});
  if (done.ok()) return done;
  while (had > 0) CHECK(memory::manager().free_pages(frames[--had], memory::Order{0}).ok());
  return done;
}

Result<std::size_t> MadeStacks::take() {
  for (std::size_t slot = 0; slot < kMostMadeStacks; ++slot) {
    if (taken_[slot]) continue;
    TRY(map_slot(slot));
    taken_[slot] = true;
    return slot;
  }
  return Error::too_big;
}

void MadeStacks::give_back(std::size_t slot) {
  unmap_slot(slot);
  taken_[slot] = false;
}

// The slot whose memory, with its guard, holds the address; kMostMadeStacks: none.
std::size_t slot_of(std::uint64_t address) {
  const std::uint64_t first = memory::kernel_space::kStacks.value;
  if (address < first || address >= first + kMostMadeStacks * kSlotBytes) return kMostMadeStacks;
  return (address - first) / kSlotBytes;
}

}  // namespace

const std::array<NamedStack, kBootStacks>& stacks() { return named_stacks; }

Result<const NamedStack*> make_stack(std::string_view name) {
  const std::size_t number = TRY(made_stacks.with([](MadeStacks& all) { return all.take(); }));
  Slot& slot = slots[number];
  auto* const stack = reinterpret_cast<GuardedStack*>(stack_in(number).value - memory::kPageSize);
  std::ranges::fill(stack->bytes, std::byte{0});
  memory::Writer text(slot.name.data(), slot.name.size());
  text.text(name);
  slot.stack = {text.view(), stack};
  in_use[number].store(true, std::memory_order_release);
  return &slot.stack;
}

void release_stack(const NamedStack& stack) {
  const std::size_t number = slot_of(stack.stack->bottom().value);
  CHECK(number < kMostMadeStacks && in_use[number].exchange(false));
  made_stacks.with([&](MadeStacks& all) { all.give_back(number); });
}

const NamedStack* made_stack(std::size_t slot) {
  return in_use[slot].load(std::memory_order_acquire) ? &slots[slot].stack : nullptr;
}

std::array<VirtAddr, kBootStacks> kernel_guard_pages() {
  std::array<VirtAddr, kBootStacks> pages{};
  for (std::size_t i = 0; i < kBootStacks; ++i) pages[i] = named_stacks[i].stack->guard_page();
  return pages;
}

std::size_t NamedStack::high_water_bytes() const {
  std::size_t untouched = 0;
  while (untouched < stack->bytes.size() && stack->bytes[untouched] == std::byte{0}) ++untouched;
  return stack->bytes.size() - untouched;
}

const NamedStack* stack_guarded_at(std::uint64_t address) {
  for (const NamedStack& stack : named_stacks) {
    const VirtAddr guard = stack.stack->guard_page();
    if (address >= guard.value && address < guard.value + memory::kPageSize) return &stack;
  }
  const std::size_t slot = slot_of(address);
  if (slot == kMostMadeStacks || address >= stack_in(slot).value) return nullptr;
  return made_stack(slot);
}

const NamedStack* stack_holding(std::uint64_t address) {
  for (const NamedStack& stack : named_stacks) {
    if (stack.contains(address)) return &stack;
  }
  const std::size_t slot = slot_of(address);
  if (slot == kMostMadeStacks || address < stack_in(slot).value) return nullptr;
  return made_stack(slot);
}

}  // namespace kernel

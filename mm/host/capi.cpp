// The C face on the host: machines and pages. Turns results into errno and a panic into a dead machine; holds no logic of
// its own.
// SPDX-License-Identifier: MIT
#include <new>
#include <vector>

#include "mm/host/capi.hpp"
#include "mm/physical/stress.hpp"

using namespace memory;
using namespace memory::host;

constinit mm_machine memory::host::nobodys;
constinit thread_local Place memory::host::here;

int memory::host::no_machine() { return here.machine->panic.has_value() ? -ENOTRECOVERABLE : -EINVAL; }

int memory::host::refused(Error error) {
  here.last_error = error;
  return -errno_of(error);
}

int memory::host::die(const Panic& panic) noexcept {
  here.machine->panic = panic.what();
  here.machine->alive.store(nullptr, std::memory_order_release);
  return -ENOTRECOVERABLE;
}

namespace {

std::vector<PhysRange> ranges_of(const mm_range* ranges, std::size_t count) {
  std::vector<PhysRange> result;
  for (std::size_t n = 0; n < count; ++n)
    result.push_back({PhysAddr{ranges[n].first}, PhysAddr{ranges[n].end}});
  return result;
}

[[gnu::always_inline]] inline Result<std::uint32_t> allocate(MemoryManager& manager, std::uint32_t order,
                                                             std::uint32_t gfp_flags) {
  if (order > raw(kMaxOrder) || gfp_flags >= kGfpEnd) return Error::invalid;
  return raw(TRY(manager.alloc_pages(Order{static_cast<std::uint8_t>(order)},
                                     Gfp{static_cast<std::uint8_t>(gfp_flags)})));
}

[[gnu::always_inline]] inline Result<void> release(MemoryManager& manager, std::uint64_t pfn,
                                                   std::uint32_t order) {
  if (order > raw(kMaxOrder)) return Error::invalid;
  const FrameNumber number = pfn < raw(kNoFrame) ? FrameNumber{static_cast<std::uint32_t>(pfn)} : kNoFrame;
  return manager.free_pages(number, Order{static_cast<std::uint8_t>(order)});
}

// Sets what came of it; false when there is no such verb.
bool perform(memory::Machine& machine, mm_page_operation& operation) {
  Error error = Error::ok;
  operation.result = 0;
  if (operation.verb == MM_PAGE_ALLOC) {
    const auto block = allocate(machine.manager(), operation.order, operation.gfp_flags);
    error = block.error();
    if (block.ok()) operation.result = block.take();
  } else if (operation.verb == MM_PAGE_FREE) {
    error = release(machine.manager(), operation.pfn, operation.order).error();
  } else {
    return false;
  }
  operation.error = static_cast<std::uint32_t>(error);
  if (error != Error::ok) operation.result = negative(error);
  return true;
}

}  // namespace

int64_t alloc_pages(unsigned order, unsigned gfp_flags) {
  return on_machine([&](memory::Machine& machine) -> int64_t {
    const auto block = allocate(machine.manager(), order, gfp_flags);
    return block.ok() ? int64_t{block.take()} : refused(block.error());
  });
}

int free_pages(uint64_t pfn, unsigned order) {
  return outcome_of([=](MemoryManager& manager) { return release(manager, pfn, order); });
}

int64_t mm_run_pages(mm_page_operation* operations, size_t count) {
  return run_calls(operations, count, [](memory::Machine& machine, mm_page_operation& operation) {
    return perform(machine, operation);
  });
}

const char* mm_error_text(unsigned error) {
  return error < kErrors ? text_of(static_cast<Error>(error)).data() : nullptr;
}

int mm_error_number(unsigned error) { return error < kErrors ? errno_of(static_cast<Error>(error)) : 0; }

int mm_machine_create(const mm_shape* shape, mm_machine** out) {
  const std::vector<PhysRange> memory_list = ranges_of(shape->memory, shape->memory_ranges);
  const std::vector<PhysRange> reserved_list = ranges_of(shape->reserved, shape->reserved_ranges);
  if (shape->misuse_policy != MM_MISUSE_PANIC && shape->misuse_policy != MM_MISUSE_REFUSE) return -EINVAL;
  if (shape->levels != 0 && shape->levels != 4 && shape->levels != 5) return -EINVAL;
  MachineShape wanted{
      .memory = memory_list,
      .reserved = reserved_list,
      .cpus = shape->cpus,
      .on_misuse = shape->misuse_policy == MM_MISUSE_PANIC ? MisusePolicy::panic : MisusePolicy::refuse,
      .room_end = PhysAddr{shape->room_end},
      .top = shape->levels == 5 ? PageLevel::tib_256 : PageLevel::gib_512};
  if (shape->direct_end != 0) wanted.direct_end = PhysAddr{shape->direct_end};
  try {
    const auto machine = host::Machine::create(wanted);
    if (!machine.ok()) return -errno_of(machine.error());
    std::unique_ptr<host::Machine> owner(machine.take());
    memory::Machine* const alive = &**owner;
    *out = new mm_machine{.machine = std::move(owner), .panic = std::nullopt, .alive = alive};
    return 0;
  } catch (const std::bad_alloc&) {
    return -ENOMEM;
  } catch (const host::Panic&) {  // a reserved range that is no memory, for one
    return -EINVAL;
  }
}

void mm_machine_destroy(mm_machine* machine) {
  if (here.machine == machine) mm_enter(nullptr, 0);
  delete machine;
}

int mm_enter(mm_machine* machine, unsigned cpu) {
  if (machine != nullptr && cpu >= (*machine->machine)->cpu_count()) return -EINVAL;
  if (here.machine == &nobodys) here.former = host::current_cpu;
  here.machine = machine != nullptr ? machine : &nobodys;
  host::current_cpu = machine != nullptr ? &(*machine->machine)->cpu(cpu) : here.former;
  return 0;
}

const char* mm_last_panic(void) {
  return here.machine->panic.has_value() ? here.machine->panic->c_str() : nullptr;
}

uint64_t mm_record(const mm_machine* machine) {
  return reinterpret_cast<uint64_t>(&(*machine->machine)->record());
}

const char* mm_last_error(void) { return text_of(here.last_error).data(); }

int buddy_add_memory(uint64_t first, uint64_t end) {
  return on_machine([&](memory::Machine& machine) -> int {
    return negative(machine.add_memory({PhysAddr{first}, PhysAddr{end}}).error());
  });
}

int mm_quiesce(void) {
  return on_machine([](memory::Machine& machine) {
    machine.manager().heap().quiesce();
    machine.physical().quiesce();
    return 0;
  });
}

int mm_fail_nth(uint64_t n) {
  return on_machine([&](memory::Machine& machine) {
    machine.manager().fail_nth(n);
    return 0;
  });
}

int mm_fail_pending(void) {
  return on_machine(
      [](memory::Machine& machine) { return static_cast<int>(machine.physical().fail_plan().pending()); });
}

const char* mm_fail_site(void) {
  const char* site = nullptr;
  (void)on_machine([&](memory::Machine& machine) {
    const FailPlan& plan = machine.physical().fail_plan();
    if (plan.struck()) site = text_of(plan.last_site()).data();
    return 0;
  });
  return site;
}

int mm_valid(void) {
  return on_machine([](memory::Machine& machine) { return static_cast<int>(machine.manager().valid()); });
}

int mm_stress_pages(uint64_t operations, uint64_t seed, int hold, mm_stress_report* report) {
  return on_machine([&](memory::Machine& machine) -> int {
    Stress stress(machine.physical(), seed);
    const auto ran = stress.run(operations, [] { return true; });
    if (!ran.ok()) return negative(ran.error());
    const StressReport& said = stress.report();
    *report = {.operations = said.operations,
               .allocations = said.allocations,
               .releases = said.releases,
               .refused = said.refused,
               .misuses = said.misuses,
               .live_blocks = said.live_blocks,
               .live_frames = said.live_frames};
    if (hold == 0) stress.release_all();
    return 0;
  });
}

void* mm_frame_bytes(uint64_t pfn) {
  if (here.machine == &nobodys || pfn >= raw(kNoFrame)) return nullptr;
  FrameTable& frames = (*here.machine->machine)->frames();
  const FrameNumber number{static_cast<std::uint32_t>(pfn)};
  return frames.has(number) && frames[number].state() != FrameState::absent ? frames.open(number).bytes()
                                                                            : nullptr;
}

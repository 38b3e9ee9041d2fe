// SPDX-License-Identifier: MIT
#include "kernel/layout.hpp"

#include "kernel/arch/x86_64/apic.hpp"
#include "kernel/arch/x86_64/cpus.hpp"
#include "kernel/arch/x86_64/stacks.hpp"
#include "mm/layout_rows.hpp"

// However a list is locked and whatever is on it, it lies behind its lock in the same way.
#define LOCKED_LIST(type)                                                                        \
  template <>                                                                                    \
  inline constexpr std::string_view memory::stats::kTypeName<type> = "LockedList";               \
  static_assert(sizeof(type) == sizeof(kernel::LockedList) && std::is_standard_layout_v<type> && \
                type::value_offset() == offsetof(kernel::LockedList, list) &&                    \
                offsetof(kernel::LockedList, word) == 0)
LOCKED_LIST(kernel::LockedThreads);
LOCKED_LIST(decltype(kernel::RunQueue::ready));
LOCKED_LIST(decltype(kernel::RunQueue::sleepers));
LOCKED_LIST(decltype(kernel::WaitQueue::waiters));
#undef LOCKED_LIST

#define LAYOUT_DEF "kernel/layout.def"
#define LAYOUT_FLOOR of_kernel
#define LAYOUT_NAMESPACE kernel
#include "mm/stats/layout_expand.inc"

namespace kernel {

constinit KernelRecord kernel_record{};

namespace {

namespace rows = memory::layout;
using memory::stats::join;

constexpr auto kFields = join(rows::kFields, rows::of_kernel::kFields);
constexpr auto kOwners = join(rows::kOwners, rows::of_kernel::kOwners);
constexpr auto kTypes =
    memory::stats::link_fields(join(rows::kUnlinkedTypes, rows::of_kernel::kTypes), kOwners);
constexpr auto kEnums = join(rows::kEnums, rows::of_kernel::kEnums);

}  // namespace

void fill_tables(memory::stats::Record& record) {
  rows::fill(record, std::span(kTypes), std::span(kFields), std::span(kEnums));
}

void complete_kernel_record() {
  kernel_record = {.threads = &all_threads(),
                   .run_queues = scheduler::run_queues().data(),
                   .wait_queues = scheduler::wait_queues().data(),
                   .wait_queue_count = static_cast<std::uint32_t>(scheduler::wait_queues().size()),
                   .controllers = apic::running() ? Controllers::apic : Controllers::pic,
                   .timer_hz = apic::timer_hz()};
}

}  // namespace kernel

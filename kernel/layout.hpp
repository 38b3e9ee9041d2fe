// What outside readers find of the kernel beyond mm/: where its threads and queues are.
// SPDX-License-Identifier: MIT
#pragma once
#include <atomic>
#include <cstdint>

#include "kernel/task/queues.hpp"
#include "mm/stats/record.hpp"

namespace kernel {

// A locked list as outside readers see it, whatever its members and its rank.
struct LockedList {
  std::atomic<std::uint32_t> word{0};  // not 0: locked, so the list may be half changed
  [[no_unique_address]] memory::OptionalLockSite site;
  memory::ListHead list;
};

// Who raises interrupts.
enum class Controllers : std::uint8_t { pic, apic };

// What a reader finds at ManagerRecord::home. Standard layout; complete at the first prompt, immutable from then on.
struct KernelRecord {
  const LockedThreads* threads = nullptr;
  const RunQueue* run_queues = nullptr;    // one for each CPU that there may be
  const WaitQueue* wait_queues = nullptr;  // wait_queue_count of them
  std::uint32_t wait_queue_count = 0;
  Controllers controllers = Controllers::pic;
  std::uint64_t timer_hz = 0;  // of the APIC's timer
};
extern KernelRecord kernel_record;

// Points the record at the rows of mm/ and of the kernel.
void fill_tables(memory::stats::Record& record);
// Interrupt controllers and threads have been started.
void complete_kernel_record();

}  // namespace kernel

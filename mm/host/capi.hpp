// What the parts of the C face share: the machine that the calling thread has entered, and how results become errno.
// SPDX-License-Identifier: MIT
#pragma once
#include <atomic>
#include <cerrno>
#include <cstddef>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "mm/host/machine.hpp"
#include "mm/host/mm_host.h"
#include "mm/host/panic.hpp"
#include "mm/mm.h"

struct mm_machine {
  std::unique_ptr<memory::host::Machine> machine;
  std::optional<std::string> panic;  // set once: the machine is dead
  // [a] `machine`, until `panic` is set: then null (released behind it). What every call asks.
  std::atomic<memory::Machine*> alive{nullptr};
};

namespace memory::host {

extern mm_machine nobodys;  // of threads that have entered none: like a dead one, but without a panic

struct Place {                     // where the calling thread stands
  mm_machine* machine = &nobodys;  // never null, so that a call asks once
  PerCpu* former = nullptr;        // where it stood before it entered `machine`
  Error last_error = Error::ok;
};
[[gnu::tls_model("initial-exec")]] extern constinit thread_local Place here;  // as current_cpu

// Notes an error and returns its errno, negative.
int refused(Error error);
inline int negative(Error error) {
  if (error != Error::ok) [[unlikely]]
    return refused(error);
  here.last_error = Error::ok;
  return 0;
}

// Why there is no machine to work on: -EINVAL, none was entered; -ENOTRECOVERABLE, it is dead.
int no_machine();
// The entered machine is dead from now on: -ENOTRECOVERABLE.
int die(const Panic& panic) noexcept;

// Runs body(Machine&) on the entered machine; a panic kills it.
template <typename Body>
auto on_machine(Body&& body) -> decltype(body(std::declval<memory::Machine&>())) {
  memory::Machine* const machine = here.machine->alive.load(std::memory_order_acquire);
  if (machine == nullptr) [[unlikely]]
    return no_machine();
  try {
    return body(*machine);
  } catch (const Panic& panic) {
    return die(panic);
  }
}

// Runs body(MemoryManager&), which returns a Result<void>: 0, or the error noted and its errno, negative.
template <typename Body>
int outcome_of(Body&& body) {
  return on_machine([&](memory::Machine& machine) {
    here.last_error = Error::ok;  // before, so that nothing of it is kept for afterwards
    const Result<void> done = body(machine.manager());
    return done.ok() ? 0 : refused(done.error());
  });
}

// Runs body(MemoryManager&), which returns a Result<void*>; null and the error noted when there is none.
template <typename Body>
void* object_of(Body&& body) {
  void* object = nullptr;
  const int status = on_machine([&](memory::Machine& machine) {
    const Result<void*> made = body(machine.manager());
    if (!made.ok()) return refused(made.error());
    object = made.take();
    return 0;
  });
  return status == 0 ? object : nullptr;
}

// Runs perform(Machine&, calls[n]) one after the other until one says false: there is no such call. How many were
// performed, the failing ones too; a negative errno when the first one could not be tried.
template <typename Call, typename Perform>
std::int64_t run_calls(Call* calls, std::size_t count, Perform&& perform) {
  std::int64_t done = 0;
  const std::int64_t status = on_machine([&](memory::Machine& machine) -> std::int64_t {
    for (std::size_t n = 0; n < count && perform(machine, calls[n]); ++n) ++done;
    return 0;
  });
  return status < 0 && done == 0 ? status : done;
}

// Writes down what came of a call.
template <typename Call>
void note(Call& call, const Result<std::uint64_t>& outcome) {
  call.error = static_cast<std::uint32_t>(outcome.error());
  call.result = outcome.ok() ? outcome.take() : 0;
  if (!outcome.ok()) (void)negative(outcome.error());
}

}  // namespace memory::host

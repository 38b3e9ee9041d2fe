// LockWatch: says which locks are waited for in vain, and shows who waits.
// SPDX-License-Identifier: MIT
#pragma once
#include <array>
#include <cstdint>
#include <span>
#include <string_view>

#include "mm/base/sync.hpp"

namespace kernel::lock_watch {

// A wait longer than this is reported, once. 0: none is. Builds that do not check report nothing.
void set_limit(std::uint64_t ns);

// From a CPU's tick: looks at every CPU and thread now and then. Waits for no lock.
void on_tick(std::uint64_t ticks);

// How often a lock of that rank was not free, on all CPUs; how many CPUs and threads wait for one now.
std::uint64_t contended(memory::Rank rank);
unsigned waiting(memory::Rank rank);

// A CPU or a thread that waits for a lock, as far as it could be read while it did.
struct Waiter {
  std::array<char, 24> name{};
  memory::Rank rank = memory::Rank::none;
  std::uint64_t since_ns = 0;
  memory::CallSite waits_at;
  memory::CallSite taken_at;  // where the holder took it; no file: that is not known

  std::string_view who() const { return {name.data()}; }
};
// Those who wait now, CPUs first; how many of `room` were filled.
std::size_t waiters(std::span<Waiter> room);

}  // namespace kernel::lock_watch

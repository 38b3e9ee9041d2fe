// Panic: what platform::panic() throws on the host.
// SPDX-License-Identifier: MIT
#pragma once
#include <stdexcept>

namespace memory::host {

// what() is "REASON at FILE:LINE". The Machine on whose CPU it happened is dead and must only be destroyed.
struct Panic : std::runtime_error {
  using std::runtime_error::runtime_error;
};

}  // namespace memory::host

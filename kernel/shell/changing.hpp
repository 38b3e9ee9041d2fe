// Changing: marks the time in which a command moves frames.
// SPDX-License-Identifier: MIT
#pragma once
#include <atomic>

#include "mm/memory_manager.hpp"

namespace kernel::shell {

// The record's generation is odd while one lives, so that a reader of raw memory knows when its walk was disturbed.
class Changing {
 public:
  Changing() { step(); }
  ~Changing() { step(); }
  Changing(const Changing&) = delete;

 private:
  static void step() {
    std::atomic_ref<std::uint64_t>(coronel_record.generation).fetch_add(1, std::memory_order_seq_cst);
  }
};

}  // namespace kernel::shell

// Cpu: puts the calling thread on a virtual CPU of a machine for as long as the object lives.
// SPDX-License-Identifier: MIT
#pragma once
#include "mm/base/platform.hpp"

namespace memory::host {

// Scoped and nestable: the former CPU comes back at the end. Any number of threads may share one PerCpu.
class Cpu {
 public:
  explicit Cpu(PerCpu& cpu) : former_(current_cpu) { current_cpu = &cpu; }
  ~Cpu() { current_cpu = former_; }
  Cpu(const Cpu&) = delete;
  Cpu& operator=(const Cpu&) = delete;

 private:
  PerCpu* former_;
};

// Makes every byte accessible again, whatever its poison, before storage goes back to the process.
void unpoison_all(void* start, std::size_t bytes);

// Restarts this thread's platform::random() from `seed`.
void seed_random(std::uint64_t seed);

}  // namespace memory::host

// host::Machine: a memory::Machine whose storage is the process's own, sparse until touched.
// SPDX-License-Identifier: MIT
#pragma once
#include <cstddef>
#include <memory>

#include "mm/host/cpu.hpp"
#include "mm/machine.hpp"

namespace memory::host {

// Owns its storage and frees it. Started, on CPU 0.
class Machine {
 public:
  // Throws std::bad_alloc when the process cannot have the address space; fails as memory::Machine::create.
  static Result<Machine*> create(const MachineShape& shape);
  ~Machine();
  Machine(const Machine&) = delete;
  Machine& operator=(const Machine&) = delete;

  memory::Machine& operator*() { return *machine_; }
  memory::Machine* operator->() { return machine_; }

 private:
  Machine(std::byte* storage, std::size_t bytes) : storage_(storage), bytes_(bytes) {}

  std::byte* storage_;
  std::size_t bytes_;
  memory::Machine* machine_ = nullptr;
};

}  // namespace memory::host

// host::Machine: a memory::Machine whose storage is the process's own, sparse until touched.
// SPDX-License-Identifier: MIT
#pragma once
#include <cstddef>
#include <memory>
#include <span>

#include "mm/host/cpu.hpp"
#include "mm/machine.hpp"

namespace memory::host {

// Owns its storage and frees it. Started, on CPU 0. Its RAM begins at a multiple of the largest block, as the kernel's direct
// map does.
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
  explicit Machine(std::span<std::byte> mapping) : mapping_(mapping) {}

  std::span<std::byte> mapping_;
  memory::Machine* machine_ = nullptr;
};

}  // namespace memory::host

// host::Machine: sparse storage from mmap.
// SPDX-License-Identifier: MIT
#include "mm/host/machine.hpp"

#include <sys/mman.h>

#include <new>

namespace memory::host {

Result<Machine*> Machine::create(const MachineShape& shape) {
  const std::size_t bytes = TRY(memory::Machine::storage_bytes(shape));
  void* storage =
      mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (storage == MAP_FAILED) throw std::bad_alloc();
  auto owner = std::unique_ptr<Machine>(new Machine(static_cast<std::byte*>(storage), bytes));
  owner->machine_ =
      TRY(memory::Machine::create({owner->storage_, bytes}, memory::Machine::Contents::cleared, shape));
  const Cpu cpu(owner->machine_->cpu(0));
  owner->machine_->start();
  return owner.release();
}

Machine::~Machine() {
  if (machine_ != nullptr) machine_->~Machine();
  unpoison_all(storage_, bytes_);
  munmap(storage_, bytes_);
}

}  // namespace memory::host

// The C face's scan for leaks: the caller says where its pointers are.
// SPDX-License-Identifier: MIT
#include <span>

#include "mm/host/capi.hpp"
#include "mm/leaks.hpp"

using namespace memory;
using namespace memory::host;

namespace {

class NamedRoots final : public LeakRoots {
 public:
  explicit NamedRoots(std::span<const mm_range> ranges) : ranges_(ranges) {}
  void while_still(void (*body)(void*), void* context) override { body(context); }
  void show(RootVisitor& to) override {
    for (const auto& [first, end] : ranges_) to.visit({VirtAddr{first}, VirtAddr{end}});
  }

 private:
  std::span<const mm_range> ranges_;
};

}  // namespace

int mm_find_leaks(const mm_range* roots, size_t count, mm_leak_count* found) {
  return on_machine([=](memory::Machine& machine) {
    NamedRoots named({roots, count});
    const auto done = look_for_leaks(machine.manager(), named);
    if (!done.ok()) return negative(done.error());
    const LeakCount& seen = done.take();
    *found = {
        .objects = seen.objects, .leaks = seen.leaks, .leaked_bytes = seen.leaked_bytes, .words = seen.words};
    return 0;
  });
}

int64_t mm_clear_leaks(void) {
  return on_machine([](memory::Machine& machine) -> int64_t {
    if constexpr (!config::debug_kmemleak) return negative(Error::unsupported);
    return static_cast<int64_t>(clear_leaks(machine.manager()));
  });
}

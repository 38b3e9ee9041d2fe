// The check of protection: a walk of all tables, with what each level above allows.
// SPDX-License-Identifier: MIT
#include "mm/virtual/protection.hpp"

#include "mm/base/format.hpp"
#include "mm/base/platform.hpp"

namespace memory {

namespace {

// What every table above allows: one that refuses a right refuses it for all below (Intel SDM volume 3,
// section 4.6).
struct Rights {
  bool write = true;
  bool execute = true;
};

// The bits of the address that the tables translate.
std::optional<std::uint64_t> find(PhysAddr table, const std::byte* reach, PageLevel level, std::uint64_t base,
                                  Rights above) {
  const auto* const entries = reinterpret_cast<const PageEntry*>(reach + table.value);
  for (unsigned index = 0; index < 512; ++index) {
    const PageEntry entry = entries[index];
    if (!entry.present()) continue;
    const Rights here{.write = above.write && entry.writable(),
                      .execute = above.execute && entry.executable()};
    if (!here.write || !here.execute) continue;
    const std::uint64_t address = base + index * bytes_at(level);
    if (entry.maps(level)) return address;
    if (const auto found = find(entry.address(), reach, below(level), address, here)) return found;
  }
  return std::nullopt;
}

}  // namespace

std::optional<VirtAddr> writable_and_executable(PhysAddr root, const std::byte* reach, PageLevel top) {
  const auto found = find(root, reach, top, 0, {});
  if (!found) return std::nullopt;
  return PageRoot{.table = root, .top = top}.canonical_form(*found);
}

void verify_protection(PhysAddr root, const std::byte* reach, PageLevel top) {
  const auto found = writable_and_executable(root, reach, top);
  if (!found) return;
  TextBuffer<80> why;
  why.text("the page at ").address(found->value).text(" is writable and executable");
  platform::panic(why.view());
}

}  // namespace memory

// Invariants, proved by valid():
//   L1  node.next->previous == &node and node.previous->next == &node, for the head too
//   L2  following `next` from the head comes back to it after exactly size() members
// SPDX-License-Identifier: MIT
#include "mm/base/list.hpp"

#include <cstdint>

#include "mm/base/format.hpp"
#include "mm/base/platform.hpp"

namespace memory::list_detail {

namespace {

std::uint64_t number(const void* pointer) { return reinterpret_cast<std::uintptr_t>(pointer); }

}  // namespace

// Names the node, its two links, and what the neighbours say about it.
[[gnu::cold]] void panic_corrupt(std::string_view what, const ListNode& node) {
  TextBuffer<192> reason;
  reason.text("list corrupt at ").text(what).character(' ').hex(number(&node));
  reason.text(": next ").hex(number(node.next));
  if (node.next != nullptr) reason.text(" (its previous ").hex(number(node.next->previous)).character(')');
  reason.text(", previous ").hex(number(node.previous));
  if (node.previous != nullptr) reason.text(" (its next ").hex(number(node.previous->next)).character(')');
  if (node.next == nullptr && node.previous == nullptr) reason.text(": it is on no list");
  platform::panic(reason.view());
}

[[gnu::cold]] void panic_linked(const ListNode& node) {
  TextBuffer<128> reason;
  reason.text("list: ").hex(number(&node)).text(" is on a list already, between ");
  reason.hex(number(node.previous)).text(" and ").hex(number(node.next));
  platform::panic(reason.view());
}

bool valid(const ListHead& head) {
  const ListNode* at = &head.node;
  for (std::size_t steps = 0; steps <= head.size; ++steps) {
    const ListNode* const next = at->next;
    if (next == nullptr || next->previous != at) return false;  // L1
    at = next;
    if (at == &head.node) return steps == head.size;  // L2
  }
  return false;
}

}  // namespace memory::list_detail

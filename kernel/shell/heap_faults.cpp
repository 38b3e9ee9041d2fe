// `break heap`: errors in the use of the heap on purpose, every part of them chosen by whoever asks.
// SPDX-License-Identifier: MIT
#include "kernel/shell/changing.hpp"
#include "kernel/shell/command.hpp"
#include "mm/heap_break.hpp"

namespace kernel::shell {

namespace {

using memory::HeapBreak;
using memory::Layout;

Status list_kinds(Call& call) {
  memory::Inspector& out = call.out();
  out.begin_object("", Layout::lines);
  out.begin_array("kinds", Layout::table);
  for (const memory::HeapBreakRow& row : memory::kHeapBreaks) {
    out.begin_object("", Layout::row);
    out.text("kind", row.name);
    out.text("what", row.what);
    out.text("offset", row.offset);
    out.end_object();
  }
  out.end_array();
  out.end_object();
  return Status::success;
}

// kmalloc, heap, or the number of a cache.
bool read_cache(Call& call, std::string_view word, HeapBreak& wanted) {
  if (word == "kmalloc") {
    wanted.cache = HeapBreak::kKmalloc;
  } else if (word == "heap") {
    wanted.cache = HeapBreak::kKernelHeap;
  } else {
    const auto number = call.number_in(word, "CACHE (or kmalloc, or heap)", 1, memory::kCacheSlots - 1);
    if (!number) return false;
    wanted.cache = static_cast<unsigned>(*number);
  }
  return true;
}

// What was not said stays as it is.
bool read_numbers(Call& call, HeapBreak& wanted) {
  std::uint64_t object = wanted.object;
  std::uint64_t site = wanted.site;
  struct Row {
    std::string_view name;
    std::uint64_t* number;
    std::uint64_t most;
  };
  const Row rows[] = {{"BYTES", &wanted.bytes, ~std::uint64_t{0}},
                      {"OBJECT", &object, HeapBreak::kObjects - 1},
                      {"OFFSET", &wanted.offset, ~std::uint64_t{0}},
                      {"SITE", &site, HeapBreak::kSites - 1}};
  std::size_t next = 3;
  for (const Row& row : rows) {
    if (next >= call.arguments()) break;
    const auto number = call.number(next++, row.name, 0, row.most);
    if (!number) return false;
    *row.number = *number;
  }
  wanted.object = static_cast<unsigned>(object);
  wanted.site = static_cast<unsigned>(site);
  return true;
}

Status make(Call& call, const HeapBreak& wanted) {
  memory::MemoryManager& manager = memory::manager();
  const auto made = [&] {
    const Changing changing;
    return memory::break_heap(manager, wanted);
  }();
  if (!made.ok()) return call.fail(made.error(), memory::text_of(made.error()));
  const memory::BrokenHeap broken = made.take();
  call.out().begin_object("", Layout::lines);
  call.out().hex("object", broken.object);
  call.out().hex("address", broken.address);
  call.out().text("answer",
                  broken.answer == memory::Error::ok ? std::string_view{} : memory::text_of(broken.answer));
  manager.last_misuse().describe(call.out());
  call.out().end_object();
  return Status::success;
}

}  // namespace

Status run_break_heap(Call& call) {
  if (call.arguments() == 1) return list_kinds(call);
  const auto kind = memory::heap_break_kind(call.argument(1));
  if (!kind) {
    call.error().text("no kind ");
    call.error().quoted(call.argument(1));
    call.error().text("; 'break heap' lists them");
    return Status::not_found;
  }
  HeapBreak wanted{.kind = *kind};
  if (call.arguments() > 2 && !read_cache(call, call.argument(2), wanted)) return Status::invalid;
  if (!read_numbers(call, wanted)) return Status::invalid;
  return make(call, wanted);
}

}  // namespace kernel::shell

// Commands of the floor of objects: slabinfo, kmallocinfo, heapinfo, newcache, delcache, objects, shrink.
// SPDX-License-Identifier: MIT
#include <algorithm>
#include <array>

#include "kernel/shell/changing.hpp"
#include "kernel/shell/command.hpp"
#include "kernel/shell/operations.hpp"
#include "mm/object_call.hpp"

namespace kernel::shell {

namespace {

using memory::Error;
using memory::KmemCache;
using memory::Layout;
using memory::ObjectCall;
using memory::Unit;

// A letter, then FIRST/SECOND.
std::optional<ObjectCall> parse(std::string_view word) {
  const std::size_t slash = word.find('/');
  if (word.size() < 2 || !memory::is_object_call(word[0]) || slash == std::string_view::npos) return {};
  const auto first = memory::parse_number(word.substr(1, slash - 1));
  const auto second = memory::parse_number(word.substr(slash + 1));
  if (!first.ok() || !second.ok()) return {};
  return ObjectCall{word[0], first.take(), second.take()};
}

bool returns_address(char letter) {
  return std::string_view("amzcnrhg").find(letter) != std::string_view::npos;
}

// A number that JSON's readers and int64 have room for: addresses count from the direct map's start.
std::int64_t shown(const ObjectCall& call, std::uint64_t value) {
  const auto start = reinterpret_cast<std::uint64_t>(memory::manager().physical().frames().map().direct_map);
  return static_cast<std::int64_t>(returns_address(call.letter) ? value - start : value);
}

}  // namespace

Status run_slabinfo(Call& call) {
  memory::manager().heap().describe_slabinfo(call.out());
  return Status::success;
}

Status run_kmallocinfo(Call& call) {
  memory::manager().kmalloc().describe(call.out());
  return Status::success;
}

Status run_heapinfo(Call& call) {
  memory::manager().kernel_heap().describe_heapinfo(call.out());
  return Status::success;
}

Status run_newcache(Call& call) {
  const auto bytes = call.number(1, "BYTES", 1, memory::SlabCut::kMaxBytes);
  if (!bytes) return Status::invalid;
  std::optional<std::uint64_t> align = 8;
  if (call.arguments() > 2) align = call.number(2, "ALIGN", 8, memory::kPageSize);
  if (!align) return Status::invalid;
  if (call.arguments() > 3 && call.argument(3) != "dma") {
    call.error().text("expected dma, not ").quoted(call.argument(3));
    return Status::invalid;
  }
  const Changing changing;
  const auto made = memory::manager().heap().create(
      {.name = call.argument(0),
       .object_bytes = static_cast<std::uint32_t>(*bytes),
       .align = static_cast<std::uint32_t>(*align),
       .zone = call.arguments() > 3 ? memory::Gfp::dma : memory::Gfp::kernel});
  if (!made.ok()) return call.fail(made.error(), memory::text_of(made.error()));
  call.out().begin_object("", Layout::lines);
  call.out().number("cache", made.take()->number(), Unit::none);
  call.out().end_object();
  return Status::success;
}

Status run_delcache(Call& call) {
  const auto number = call.number(0, "CACHE", 1, memory::kCacheSlots - 1);
  if (!number) return Status::invalid;
  memory::Heap& heap = memory::manager().heap();
  KmemCache* const cache = heap.made(static_cast<unsigned>(*number));
  if (cache == nullptr) return call.fail(Error::not_found, memory::text_of(Error::not_found));
  const Changing changing;
  const auto ended = heap.destroy(*cache);
  if (ended.error() == Error::busy) {
    std::array<const void*, 4> some{};
    const std::uint64_t live = cache->live_objects(some);
    call.error().text(memory::text_of(Error::busy)).text(", ").number(live).text(" objects are allocated:");
    for (const void* const object : std::span(some).first(std::min<std::uint64_t>(live, some.size())))
      call.error().text(" ").address(reinterpret_cast<std::uint64_t>(object));
    return Status::busy;
  }
  if (!ended.ok()) return call.fail(ended.error(), memory::text_of(ended.error()));
  call.out().begin_object("", Layout::lines);
  call.out().number("cache", static_cast<std::int64_t>(*number), Unit::none);
  call.out().end_object();
  return Status::success;
}

Status run_objects(Call& call) {
  return run_operations(
      call, "aCACHE/FLAGS, fCACHE/ADDRESS, mBYTES/FLAGS, kADDRESS/0, hBYTES/ALIGN, dADDRESS/0 ...", parse,
      [](const ObjectCall& one) -> memory::Result<std::int64_t> {
        return shown(one, TRY(memory::perform(memory::manager(), one)));
      });
}

Status run_shrink(Call& call) {
  std::uint64_t frames = 0;
  {
    const Changing changing;
    const std::size_t stacks = memory::manager().addresses().stacks().shrink();
    frames = stacks * (memory::KernelStacks::kBytes / memory::kPageSize) +
             memory::manager().kernel_heap().shrink() + memory::manager().heap().shrink();
  }
  call.out().begin_object("", Layout::lines);
  call.out().number("given_back", static_cast<std::int64_t>(frames), Unit::frames);
  call.out().end_object();
  return Status::success;
}

}  // namespace kernel::shell

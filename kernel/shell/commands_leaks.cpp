// The command kmemleak.
// SPDX-License-Identifier: MIT
#include <array>

#include "kernel/leak_roots.hpp"
#include "kernel/shell/changing.hpp"
#include "kernel/shell/command.hpp"
#include "kernel/symbols.hpp"
#include "mm/leaks.hpp"

namespace kernel::shell {

namespace {

using memory::Layout;
using memory::Unit;

// Addresses that a program which drives the kernel holds for it.
struct Held {
  std::array<std::uint64_t, Words::kMost> addresses{};
  std::size_t count = 0;
};

bool read_held(Call& call, Held& held) {
  for (std::size_t n = 1; n < call.arguments(); ++n) {
    const auto address = call.number(n, "ADDRESS", 0, ~std::uint64_t{0});
    if (!address) return false;
    held.addresses[held.count++] = *address;
  }
  return true;
}

bool supported(Call& call) {
  if constexpr (!memory::config::debug_kmemleak)
    call.error().text(memory::text_of(memory::Error::unsupported));
  return memory::config::debug_kmemleak;
}

Status too_many(Call& call, std::string_view usage) {
  call.error().text("too many arguments; usage: ").text(usage);
  return Status::invalid;
}

[[gnu::noinline]] Status scan(Call& call) {
  Held held;
  if (!read_held(call, held)) return Status::invalid;
  if (!supported(call)) return status_of(memory::Error::unsupported);
  forget_dead_frames();
  KernelRoots roots(std::span(held.addresses).first(held.count));
  const Changing changing;
  const std::uint64_t start = memory::platform::now_ns();
  const auto done = memory::look_for_leaks(memory::manager(), roots);
  if (!done.ok()) return call.fail(done.error(), memory::text_of(done.error()));
  const std::uint64_t ns = memory::platform::now_ns() - start;
  const memory::LeakCount count = done.take();
  const auto number = [&call](std::string_view name, std::uint64_t value) {
    call.out().number(name, static_cast<std::int64_t>(value), Unit::none);
  };
  call.out().begin_object("", Layout::lines);
  number("objects", count.objects);
  number("leaks", count.leaks);
  number("leaked_bytes", count.leaked_bytes);
  number("words", count.words);
  number("ms", ns / 1'000'000);
  call.out().end_object();
  return Status::success;
}

Status list(Call& call) {
  std::optional<std::uint64_t> first = 0;
  if (call.arguments() > 1) first = call.number(1, "FIRST", 0, ~std::uint64_t{0} >> 1);
  if (!first) return Status::invalid;
  if (call.arguments() > 2) return too_many(call, "kmemleak list [FIRST]");
  if (!supported(call)) return status_of(memory::Error::unsupported);
  memory::describe_leaks(call.out(), memory::manager(), *first, write_return_address);
  return Status::success;
}

Status clear(Call& call) {
  if (call.arguments() > 1) return too_many(call, "kmemleak clear");
  if (!supported(call)) return status_of(memory::Error::unsupported);
  const Changing changing;
  call.out().begin_object("", Layout::lines);
  call.out().number("known", static_cast<std::int64_t>(memory::clear_leaks(memory::manager())), Unit::none);
  call.out().end_object();
  return Status::success;
}

}  // namespace

Status run_kmemleak(Call& call) {
  const std::string_view what = call.argument(0);
  if (what == "scan") {
    forget_dead_frames();
    return scan(call);
  }
  if (what == "list") return list(call);
  if (what == "clear") return clear(call);
  call.error().text("expected scan, list or clear, not ").quoted(what);
  return Status::invalid;
}

}  // namespace kernel::shell

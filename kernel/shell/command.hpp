// The command table: name, arguments, one line of help, function. The console and COM2 run the same commands.
// SPDX-License-Identifier: MIT
#pragma once
#include <cstdint>
#include <span>
#include <string_view>

#include "kernel/shell/call.hpp"

namespace kernel::shell {

// How the values of a command look to people; programs get the same values as JSON.
enum class View : std::uint8_t { renderer, list };

struct Command {
  std::string_view name;
  std::string_view arguments;  // as in a manual: capitals are yours to fill in, [brackets] may be left out
  std::uint8_t least;          // arguments
  std::uint8_t most;           // kAnyText: the rest of the line is free text
  std::string_view help;       // one line
  Status (*run)(Call& call);
  View view = View::renderer;

  static constexpr std::uint8_t kAnyText = 255;
};

std::span<const Command> commands();

// The command of that name, or null.
const Command* find_command(std::string_view name);

// Runs `line` for a person: values in columns, an error as one line. With the word --json it prints
// what a program would get. An empty line does nothing.
void run_for_person(std::string_view line);

// Appends the JSON object that answers `line` (docs/formats.md, section 2) within the reply's limit.
// Precondition: at least kFailureBytes are left; a value or a reason that does not fit becomes a short
// failure.
inline constexpr std::size_t kFailureBytes = 128;
class Reply;
void run_for_program(std::string_view line, Reply& reply);

// -- the functions behind the table, by file
Status run_help(Call& call);  // commands.cpp
Status run_acpi(Call& call);  // commands_kernel.cpp
Status run_stacks(Call& call);
Status run_uptime(Call& call);
Status run_panic(Call& call);
Status run_reboot(Call& call);
Status run_poweroff(Call& call);
Status run_break(Call& call);       // faults.cpp
Status run_break_heap(Call& call);  // heap_faults.cpp: `break heap ...`
Status run_cpus(Call& call);        // commands_cpus.cpp
Status run_threads(Call& call);
Status run_locks(Call& call);
Status run_ktest(Call& call);  // ktest.cpp
Status run_stats(Call& call);  // commands_memory.cpp
Status run_meminfo(Call& call);
Status run_buddyinfo(Call& call);
Status run_zoneinfo(Call& call);
Status run_frames(Call& call);
Status run_alloc(Call& call);
Status run_free(Call& call);
Status run_held(Call& call);
Status run_stress(Call& call);
Status run_vmallocinfo(Call& call);  // commands_vmalloc.cpp
Status run_vmalloc(Call& call);
Status run_vfree(Call& call);
Status run_ioremap(Call& call);
Status run_iounmap(Call& call);
Status run_bench(Call& call);  // commands_bench.cpp
Status run_latency(Call& call);
Status run_extfrag(Call& call);
Status run_pages(Call& call);   // commands_pages.cpp
Status run_tables(Call& call);  // commands_tables.cpp
Status run_pagetables(Call& call);
Status run_pgstat(Call& call);
Status run_addmem(Call& call);
Status run_failnth(Call& call);
Status run_quiesce(Call& call);
Status run_who(Call& call);       // commands_who.cpp
Status run_slabinfo(Call& call);  // commands_objects.cpp
Status run_kmallocinfo(Call& call);
Status run_heapinfo(Call& call);
Status run_newcache(Call& call);
Status run_delcache(Call& call);
Status run_objects(Call& call);
Status run_shrink(Call& call);
Status run_kmemleak(Call& call);   // commands_leaks.cpp
Status run_callsites(Call& call);  // commands_sites.cpp

}  // namespace kernel::shell

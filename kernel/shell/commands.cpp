// SPDX-License-Identifier: MIT
#include <array>

#include "kernel/console.hpp"
#include "kernel/drivers/serial.hpp"
#include "kernel/shell/command.hpp"
#include "kernel/shell/list_text.hpp"
#include "kernel/shell/reply.hpp"
#include "mm/stats/render.hpp"

namespace kernel::shell {

namespace {

constexpr std::uint8_t kAnyText = Command::kAnyText;

// In alphabetical order: `help` prints it as it stands.
constexpr std::array kCommands{
    Command{"acpi", "", 0, 0, "the firmware's ACPI tables", run_acpi},
    Command{"addmem", "FIRST END", 2, 2, "put held memory [FIRST, END) into service", run_addmem},
    Command{"alloc", "ORDER [COUNT [FLAGS]]", 1, 3, "take COUNT blocks of 2^ORDER frames and hold them",
            run_alloc},
    Command{"bench", "[SET [CASE] [rounds=N] [clock=ns] | fragmentation | (cpus | threads) [rounds=N]]", 0, 4,
            "measure what calls cost; alone: list the cases", run_bench},
    Command{"break", "[FAULT | heap [KIND [CACHE [BYTES [OBJECT [OFFSET [SITE]]]]]]]", 0, 7,
            "cause a fault on purpose; alone, list them", run_break, View::list},
    Command{"buddyinfo", "", 0, 0, "free blocks by order, as /proc/buddyinfo", run_buddyinfo},
    Command{"callsites", "[FIRST]", 0, 1, "live objects by the call that allocated them", run_callsites},
    Command{"cpus", "", 0, 0, "the CPUs and what each of them does", run_cpus},
    Command{"delcache", "CACHE", 1, 1, "end a cache that 'newcache' made", run_delcache},
    Command{"extfrag", "", 0, 0, "how broken up free memory is, in thousandths", run_extfrag},
    Command{"failnth", "[N]", 0, 1, "let the Nth allocation from now on fail; 0 ends that", run_failnth},
    Command{"frames", "[FIRST [COUNT]]", 0, 2, "the records of COUNT frames from FIRST on", run_frames},
    Command{"free", "FRAME | all", 1, 1, "give back a block that 'alloc' holds, or all of them", run_free},
    Command{"heapinfo", "", 0, 0, "the kernel heap: levels, totals and ranges", run_heapinfo},
    Command{"held", "", 0, 0, "the blocks that 'alloc' holds", run_held},
    Command{"help", "[COMMAND]", 0, 1, "list the commands, or explain one", run_help, View::list},
    Command{"ioremap", "PHYSICAL BYTES [TYPE]", 2, 3, "show device memory; TYPE: uc uc- wc wt wp wb",
            run_ioremap},
    Command{"iounmap", "ADDRESS", 1, 1, "take back what 'ioremap' showed", run_iounmap},
    Command{"kmallocinfo", "", 0, 0, "the size classes of kmalloc", run_kmallocinfo},
    Command{"kmemleak", "scan [ADDRESS ...] | list [FIRST] | clear", 1, 14,
            "objects that nothing, nor who holds ADDRESS, can reach", run_kmemleak},
    Command{"ktest", "[FILTER] [seed=N]", 0, 2, "run the unit tests inside the kernel", run_ktest},
    Command{"latency", "[N] [seed=S]", 0, 2, "how long N calls of the frame allocator take, by path",
            run_latency},
    Command{"locks", "", 0, 0, "by rank: how often a lock was not free, and who waits now", run_locks},
    Command{"meminfo", "", 0, 0, "memory in use, as /proc/meminfo", run_meminfo},
    Command{"newcache", "NAME BYTES [ALIGN [dma]]", 2, 4, "make a cache of objects of BYTES", run_newcache},
    Command{"objects", "aCACHE/FLAGS | fCACHE/ADDRESS | mBYTES/FLAGS | kADDRESS/0 | hBYTES/ALIGN ...", 1,
            kAnyText, "many calls of caches, kmalloc and heap", run_objects, View::renderer},
    Command{"pages", "aORDER/FLAGS | fFRAME/ORDER ...", 1, kAnyText, "many allocations and releases at once",
            run_pages, View::renderer},
    Command{"pagetables", "[ADDR]", 0, 1, "page tables on the way to ADDR; alone: the root", run_pagetables},
    Command{"panic", "[TEXT]", 0, kAnyText, "stop the kernel with TEXT as the reason", run_panic},
    Command{"pgstat", "", 0, 0, "page tables and what they map, by level", run_pgstat},
    Command{"poweroff", "", 0, 0, "switch the machine off", run_poweroff},
    Command{"quiesce", "", 0, 0, "send home what the CPUs' magazines hold", run_quiesce},
    Command{"reboot", "", 0, 0, "reset the machine", run_reboot},
    Command{"shrink", "", 0, 0, "give back what caches, heap and stacks hold and nobody uses", run_shrink},
    Command{"slabinfo", "", 0, 0, "the object caches, as /proc/slabinfo", run_slabinfo},
    Command{"stacks", "", 0, 0, "the kernel's stacks and how much of each was used", run_stacks},
    Command{"stats", "", 0, 0, "every counter", run_stats},
    Command{"stress", "pages|cpus N [seed=S] [hold]", 1, 4,
            "N random operations, here or on all CPUs; 'release' frees", run_stress},
    Command{"tables", "n | dROOT | mROOT/AT/BYTES/TO/FLAGS | uROOT/AT/BYTES ...", 1, kAnyText,
            "many calls of page tables at once", run_tables, View::renderer},
    Command{"threads", "", 0, 0, "the kernel's threads", run_threads},
    Command{"uptime", "", 0, 0, "time, ticks and what the serial ports lost", run_uptime},
    Command{"vfree", "ADDRESS", 1, 1, "give back what 'vmalloc' returned", run_vfree},
    Command{"vmalloc", "BYTES [zero]", 1, 2, "memory in one piece of kernel addresses", run_vmalloc},
    Command{"vmallocinfo", "", 0, 0, "who has which kernel addresses, as /proc/vmallocinfo", run_vmallocinfo},
    Command{"who", "ADDRESS", 1, 1, "whose an address is: frame, block, slab, object", run_who},
    Command{"zoneinfo", "", 0, 0, "the zones of memory, as /proc/zoneinfo", run_zoneinfo},
};

void write_usage(memory::Writer& out, const Command& command) {
  out.text("usage: ").text(command.name);
  if (!command.arguments.empty()) out.text(" ").text(command.arguments);
}

// The command that `words` ask for, with a number of arguments that it takes; or null, `error` and `status`
// set.
const Command* match(const Words& words, memory::Writer& error, Status& status) {
  const Command* command = find_command(words[0]);
  if (command == nullptr) {
    error.text("unknown command ");
    error.quoted(words[0]);
    error.text("; try 'help'");
    status = Status::unknown_command;
    return nullptr;
  }
  const std::size_t arguments = words.count() - 1;
  if (arguments >= command->least && (command->most == kAnyText || arguments <= command->most))
    return command;
  error.text(arguments < command->least ? "too few arguments; " : "too many arguments; ");
  write_usage(error, *command);
  status = Status::invalid;
  return nullptr;
}

// Takes --json out of the words, wherever it stands; free text keeps its own.
bool take_json_option(Words& words) {
  const Command* command = words.count() > 0 ? find_command(words[0]) : nullptr;
  if (command != nullptr && command->most == kAnyText) return false;
  for (std::size_t i = 1; i < words.count() && i < Words::kMost; ++i) {
    if (words[i] != "--json") continue;
    words.erase(i);
    return true;
  }
  return false;
}

// Everything between '{"status":0,"value":' and '}'.
Status run_into(const Words& words, Reply& reply, memory::Writer& error) {
  Status status = Status::invalid;
  const Command* command = match(words, error, status);
  if (command == nullptr) return status;
  memory::JsonRenderer json(reply);
  const std::size_t before = reply.mark();
  Call call(words, json, error, nullptr);
  status = command->run(call);
  if (status == Status::success && reply.mark() == before && !reply.overflowed()) reply.write("null");
  return status;
}

// Always fits: run_for_program() promises that kFailureBytes are left.
constexpr std::string_view kNoRoom = "no room left in the reply for the reason";
static_assert(kNoRoom.size() + 40 <= kFailureBytes);

void write_failure(Reply& reply, Status status, std::string_view error) {
  memory::TextBuffer<32> head;
  head.text("{\"status\":").number(static_cast<std::int32_t>(status)).text(",\"error\":");
  reply.write(head.view());
  memory::write_json_string(reply, error);
  reply.write("}");
}

void answer(const Words& words, Reply& reply) {
  const std::size_t start = reply.mark();
  memory::TextBuffer<320> error;
  Status status = Status::invalid;
  if (words.count() == 0) {
    error.text("an empty line is no command");
  } else {
    reply.write("{\"status\":0,\"value\":");
    status = run_into(words, reply, error);
    reply.write("}");
  }
  if (status == Status::success && !reply.overflowed()) return;
  if (status == Status::success) {
    status = Status::too_big;
    error.text("the command ran, but its answer is too big for a reply; ask for less, or read memory");
  }
  reply.rewind(start);
  write_failure(reply, status, error.view());
  if (reply.overflowed()) {
    reply.rewind(start);
    write_failure(reply, status, kNoRoom);
  }
}

// Apart from run_for_person, so that the JSON path does not carry the renderer's columns on its stack.
[[gnu::noinline]] Status run_in_columns(const Command& command, const Words& words, memory::Writer& error) {
  ConsoleSink sink;
  memory::TextRenderer columns(sink);
  Call call(words, columns, error, &sink);
  return command.run(call);
}

[[gnu::noinline]] Status run_as_list(const Command& command, const Words& words, memory::Writer& error) {
  ConsoleSink sink;
  ListText list(sink);
  Call call(words, list, error, &sink);
  return command.run(call);
}

[[gnu::noinline]] void run_as_text(const Words& words) {
  memory::TextBuffer<240> error;
  Status status = Status::invalid;
  if (const Command* command = match(words, error, status)) {
    status = (command->view == View::list ? run_as_list : run_in_columns)(*command, words, error);
  }
  if (status == Status::success) return;
  if (find_command(words[0]) != nullptr) {
    print(words[0]);
    print(": ");
  }
  print(error);
  print("\n");
}

constinit Reply console_reply;

}  // namespace

std::span<const Command> commands() { return kCommands; }

const Command* find_command(std::string_view name) {
  for (const Command& command : kCommands) {
    if (command.name == name) return &command;
  }
  return nullptr;
}

void run_for_program(std::string_view line, Reply& reply) {
  com1.take_attention();
  Words words(line);
  take_json_option(words);
  answer(words, reply);
}

void run_for_person(std::string_view line) {
  com1.take_attention();
  Words words(line);
  if (words.count() == 0) return;
  if (!take_json_option(words)) return run_as_text(words);
  console_reply.clear();
  answer(words, console_reply);
  print(console_reply.view());
  print("\n");
}

Status run_help(Call& call) {
  if (call.arguments() == 1 && find_command(call.argument(0)) == nullptr) {
    call.error().text("no command ");
    call.error().quoted(call.argument(0));
    call.error().text("; 'help' lists them");
    return Status::not_found;
  }
  memory::Inspector& out = call.out();
  out.begin_object("", memory::Layout::lines);
  out.begin_array("commands", memory::Layout::table);
  for (const Command& command : kCommands) {
    if (call.arguments() == 1 && command.name != call.argument(0)) continue;
    out.begin_object("", memory::Layout::row);
    out.text("command", command.name);
    out.text("arguments", command.arguments);
    out.text("help", command.help);
    out.end_object();
  }
  out.end_array();
  out.end_object();
  return Status::success;
}

}  // namespace kernel::shell

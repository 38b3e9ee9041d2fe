// Guests that do one thing, mostly something bad. -DRUN=name chooses, -DVALUE=n is for those that take a number.
// SPDX-License-Identifier: MIT
#include "port.hpp"
#include "record.hpp"

#ifndef VALUE
#define VALUE 0
#endif

namespace guest {

static const volatile Word value = VALUE;

[[maybe_unused]] static void silent() { hang(); }

[[maybe_unused]] static void hang_after_words() {
  com1.write("one word, then\n");
  hang();
}

// Exits with VALUE in the middle of a line.
[[maybe_unused]] static void exit_in_a_line() {
  com1.write("the first line\nhalf of the sec");
  exit_with(value);
}

// With no interrupt table, the first exception is a triple fault.
[[maybe_unused]] static void triple_fault() {
  com1.write("about to reset\n");
  asm volatile("lidt %0; ud2" ::"m"(*"\0\0\0\0\0\0"));
}

[[maybe_unused]] static void reset() {
  com1.write("about to reset\n");
  out8(0xcf9, 6);  // the reset control register of PIIX3 and ICH9
  hang();
}

[[maybe_unused]] static void announced_reset() {
  send_event("{\"event\":\"reboot\"}");
  reset();
}

// For ever, and without looking whether the line is free.
[[maybe_unused]] static void flood() {
  for (;;) {
    for (Byte c = 'A'; c <= 'Z'; ++c) com1.write_without_looking(c);
    com1.write_without_looking('\n');
  }
}

// VALUE bytes in a known order, without looking whether the line is free.
[[maybe_unused]] static void count_up() {
  for (Word i = 0; i < value; ++i) com1.write_without_looking(static_cast<Byte>(i % 251));
  exit_with(0x10);
}

// Everything that means success elsewhere, on the line where it proves nothing.
[[maybe_unused]] static void forge() {
  com1.write("PASS\nready\n{\"event\":\"ready\"}\ncoronel> ");
  Header header{.kind = event};
  header.bytes = 17;
  for (Word i = 0; i < sizeof header; ++i) com1.write(reinterpret_cast<const Byte*>(&header)[i]);
  com1.write("{\"event\":\"ready\"}");
  for (Word i = 0; i < sizeof header; ++i) com2.write(reinterpret_cast<const Byte*>(&header)[i]);
  com2.write("{\"event\":\"ready\"}");  // the right words with a wrong CRC
  hang();
}

[[maybe_unused]] static void invalid_text() {
  com1.write("before \xff\xc3( \x1b[31m \x01 after\n");
  exit_with(0x11);
}

[[maybe_unused]] static void announced_panic() {
  send_event("{\"event\":\"panic\",\"reason\":\"a list lost its end\"}");
  for (int i = 0; i < 200'000; ++i) in8(0x3fd);  // a report takes its time
  com1.write("panic: a list lost its end\n  the report's last line\n");
  if (value != 0) exit_with(value);
  hang();
}

[[maybe_unused]] static void tell_pvpanic() {
  out8(0x505, 1);
  com1.write("still talking\n");
  exit_with(0x11);
}

[[maybe_unused]] static void echo() {
  com1.use_queue();
  com1.write("!");
  for (;;) com1.write(com1.read());
}

// Hangs, but can say where when it is asked by a non-maskable interrupt.
struct [[gnu::packed]] Gate {
  unsigned short low;
  unsigned short selector;
  unsigned short flags;
  unsigned short high;
};
static Gate gates[3];
extern "C" void nmi_entry();

[[maybe_unused]] static void explain() {
  const auto entry = reinterpret_cast<Word>(&nmi_entry);
  gates[2] = {static_cast<unsigned short>(entry), 8, 0x8e00, static_cast<unsigned short>(entry >> 16)};
  const struct [[gnu::packed]] {
    unsigned short limit = sizeof gates - 1;
    Word base = reinterpret_cast<Word>(gates);
  } table;
  asm volatile("lidt %0" ::"m"(table));
  com1.write("hanging\n");
  hang();
}

}  // namespace guest

extern "C" void on_nmi() {
  guest::com1.write("stopped by an NMI in the endless loop\n");
  if (guest::value != 0) guest::exit_with(guest::value);
}

extern "C" void run() { guest::RUN(); }

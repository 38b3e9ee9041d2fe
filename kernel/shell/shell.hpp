// The shell: the loop that serves people on COM1 and programs on COM2.
// SPDX-License-Identifier: MIT
#pragma once

namespace kernel::shell {

// Announces itself and serves both ports for ever, asleep while there is nothing to do. Interrupts are on.
[[noreturn]] void run();

// A byte came, or may have come: from the serial ports' interrupt handlers.
void on_input();

}  // namespace kernel::shell

// The two 8259 interrupt controllers of the PC.
// SPDX-License-Identifier: MIT
#pragma once

namespace kernel::pic {

// Moves the 16 lines to vectors kFirstIrq .. and masks all of them.
void start();
void unmask(unsigned irq);
void mask_all();

// True when a line below `irq` and its like really asked: lines 7 and 15 also fire for requests that went
// away (8259A data sheet, "spurious interrupt"). A spurious 15 is acknowledged at the first controller here.
bool is_genuine(unsigned irq);

void end_of_interrupt(unsigned irq);

// True while line 0 has asked and the CPU has not yet taken it. Interrupts must be off.
bool tick_pending();

}  // namespace kernel::pic

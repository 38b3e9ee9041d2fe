// The control registers, the same on every CPU.
// SPDX-License-Identifier: MIT
#pragma once

namespace kernel {

// CR0, CR4, EFER and PAT as the kernel wants them. The one function that sets them, called once on each CPU; on
// the boot CPU when memory has been started, because only then global pages may be.
void load_control_registers();

}  // namespace kernel

// Events: what the kernel tells programs on COM2 without being asked (docs/formats.md, section 2).
// SPDX-License-Identifier: MIT
#pragma once
#include <string_view>

namespace kernel {

// At the first prompt: the console and COM2 take commands from now on.
void send_ready_event();
// `file` may be null. Any context.
void send_panic_event(std::string_view why, const char* file, int line);
void send_reboot_event();
void send_poweroff_event();

}  // namespace kernel

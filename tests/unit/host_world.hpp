// What the host's runner does between two tests. SPDX-License-Identifier: MIT
#pragma once

namespace unit {

// Takes back what the last test had of storage() and stands on no CPU again.
void end_world();

}  // namespace unit

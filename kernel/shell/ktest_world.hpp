// What `ktest` does around a test that makes a machine of its own.
// SPDX-License-Identifier: MIT
#pragma once

namespace kernel::shell {

// Takes back what the test had of unit::storage() and stands on the boot CPU again.
void end_test_world();

// Gives the memory behind unit::storage() back to the kernel, after the last test.
void release_test_storage();

}  // namespace kernel::shell

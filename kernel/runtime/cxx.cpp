// What C++ itself wants of a freestanding program.
// SPDX-License-Identifier: MIT
#include "kernel/runtime/cxx.hpp"

#include "kernel/panic.hpp"

extern "C" {
using Constructor = void (*)();
extern const Constructor init_array_start[];
extern const Constructor init_array_end[];

[[noreturn]] void __cxa_pure_virtual();
void __cxa_pure_virtual() { kernel::panic("a pure virtual function was called"); }

// The compiler registers destructors of static objects here. The kernel never ends, so they never run.
int __cxa_atexit(void (*)(void*), void*, void*);
int __cxa_atexit(void (*)(void*), void*, void*) { return 0; }
void* __dso_handle = nullptr;
}

// libstdc++'s checks of its callers (string_view::substr and the like) end here instead of in an exception. By the name
// that the linker sees: g++ 14's headers define the C++ function themselves, g++ 12's only declare it.
extern "C" [[noreturn]] void throw_out_of_range(const char* format,
                                                ...) asm("_ZSt24__throw_out_of_range_fmtPKcz");
extern "C" void throw_out_of_range(const char* format, ...) { kernel::panic(format); }
// What those of g++ 14 call instead.
extern "C" [[noreturn]] void terminate() asm("_ZSt9terminatev");
extern "C" void terminate() { kernel::panic("libstdc++ found a wrong argument (std::terminate)"); }

namespace kernel {

void run_constructors() {
  for (const Constructor* constructor = init_array_start; constructor != init_array_end; ++constructor) {
    (*constructor)();
  }
}

}  // namespace kernel

// The seam on Linux: sanitizers stand in for poison, an exception stands in for a halt.
// SPDX-License-Identifier: MIT
#include "mm/base/platform.hpp"

#include <sched.h>

#include <chrono>
#include <cstdio>
#include <cstring>
#include <string>

#include "mm/base/config.hpp"
#include "mm/base/random.hpp"
#include "mm/host/cpu.hpp"
#include "mm/host/panic.hpp"

#if defined(__has_feature)  // clang
#if __has_feature(address_sanitizer)
#define CORONEL_ASAN 1
#endif
#elif defined(__SANITIZE_ADDRESS__)  // gcc
#define CORONEL_ASAN 1
#endif
#ifdef CORONEL_ASAN
#include <sanitizer/asan_interface.h>
#endif

namespace memory::host {

namespace {
thread_local HeldRanks thread_spin;  // threads may share a virtual CPU: ranks belong to the thread
thread_local HeldRanks thread_sleep;
thread_local Random thread_random{1};
}  // namespace

// All threads that are on no machine share it: what they write there is atomic.
constinit PerCpu nowhere;
constinit thread_local PerCpu* current_cpu = &nowhere;
constinit thread_local std::uint64_t interrupts = platform::kInterruptsOn;

void seed_random(std::uint64_t seed) { thread_random = Random{seed}; }

#ifdef CORONEL_ASAN
void unpoison_all(void* start, std::size_t bytes) { __asan_unpoison_memory_region(start, bytes); }
#else
void unpoison_all(void*, std::size_t) {}
#endif

}  // namespace memory::host

namespace memory::platform {

HeldRanks& held_spin() { return host::thread_spin; }
HeldRanks& held_sleep() { return host::thread_sleep; }
void relax() { sched_yield(); }

void wait(const std::atomic<std::uint32_t>& word, std::uint32_t expected) {
  word.wait(expected, std::memory_order_acquire);
}
void wake(std::atomic<std::uint32_t>& word) { word.notify_all(); }

void clear_page(void* page) { std::memset(page, 0, kPageSize); }
void copy_page(void* to, const void* from) { std::memcpy(to, from, kPageSize); }

#ifdef CORONEL_ASAN
void poison(void* start, std::size_t bytes, Poison) { __asan_poison_memory_region(start, bytes); }
void unpoison(void* start, std::size_t bytes, Poison) { __asan_unpoison_memory_region(start, bytes); }
#else
void poison(void* start, std::size_t bytes, Poison why) {
  if constexpr (config::poison_frames) std::memset(start, static_cast<int>(why), bytes);
}

void unpoison(void* start, std::size_t bytes, Poison why) {
  if constexpr (!config::poison_frames) return;
  const auto* byte = static_cast<const unsigned char*>(start);
  for (std::size_t at = 0; at < bytes; ++at) {
    if (byte[at] == static_cast<unsigned char>(why)) continue;
    char text[96];
    std::snprintf(text, sizeof text, "write after free: byte 0x%02x at offset %zu of the block", byte[at],
                  at);
    panic(text);
  }
}
#endif

std::uint64_t now_ns() {
  const auto now = std::chrono::steady_clock::now().time_since_epoch();
  return static_cast<std::uint64_t>(std::chrono::duration_cast<std::chrono::nanoseconds>(now).count());
}

std::uint64_t random() { return host::thread_random.next(); }

void write(std::string_view text) { std::fwrite(text.data(), 1, text.size(), stdout); }

void panic(std::string_view why, const char* file, int line) {
  throw host::Panic(std::string(why) + " at " + file + ":" + std::to_string(line));
}

}  // namespace memory::platform

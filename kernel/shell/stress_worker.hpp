// StressWorker: what one CPU of a stress has, and the parts of its work.
// SPDX-License-Identifier: MIT
#pragma once
#include <array>
#include <atomic>
#include <cstdint>
#include <string_view>

#include "kernel/shell/stress_cpus.hpp"
#include "mm/base/random.hpp"
#include "mm/memory_manager.hpp"

namespace kernel::shell {

struct HeldBlock {
  memory::FrameNumber frame{};
  memory::Order order{};
};

// A range or an object on its way from the CPU that made it to the one that frees it.
struct Parcel {
  enum class State : std::uint8_t { empty, offered, taken, gone };
  enum class Kind : std::uint8_t { range, object };

  std::atomic<State> state{State::empty};
  Kind kind = Kind::range;
  std::uint32_t words = 0;
  std::uint64_t* first = nullptr;
  std::uint64_t stamp = 0;  // no other parcel ever has it
};

struct alignas(64) StressWorker {
  static constexpr std::size_t kBlocks = 160;
  static constexpr std::size_t kParcels = 12;

  unsigned cpu = 0;
  std::uint64_t operations = 0;
  memory::Random random{1};
  memory::KmemCache* cache = nullptr;  // everybody's

  // Its page of the scratch window (stress_page.cpp).
  memory::FrameNumber shown = memory::kNoFrame;
  memory::FrameNumber retired = memory::kNoFrame;  // shown before, and not free yet
  std::uint64_t written = 0;                       // what was there when the page became read-only
  alignas(64) std::atomic<std::uint64_t> epoch{3};

  alignas(64) CpuStressReport report{};
  std::size_t held = 0;
  std::array<HeldBlock, kBlocks> blocks{};
  std::uint64_t parcels_made = 0;
  std::array<Parcel, kParcels> parcels{};

  void count(StressPath path) { ++report[path]; }
};
static_assert(sizeof(StressWorker) <= memory::kPageSize);

// What is left where nobody may look any more.
inline constexpr std::uint64_t kStale = 0x57a1'e57a'1e57'a1e5;

[[noreturn, gnu::cold]] void stress_fails(std::string_view what, std::uint64_t found, std::uint64_t wanted);

// ---- frames (stress_blocks.cpp)

// Takes a block or gives one back.
void work_on_blocks(StressWorker& me);
void release_blocks(StressWorker& me);

// ---- the page of each CPU (stress_page.cpp)

// The next change of its own page, where there is memory for it.
void change_page(StressWorker& me);
void read_page(StressWorker& me, const StressWorker& other);
void write_page(StressWorker& me, const StressWorker& other);
// Nobody reads or writes any more.
void take_page_away(StressWorker& me);

// ---- ranges and objects (stress_parcels.cpp)

// Offers one more, where there is room for it.
void offer_parcel(StressWorker& me);
// Frees one of the other's, or of its own, if it has any.
void free_parcel(StressWorker& me, StressWorker& other);
// Frees its own. Nobody takes any more.
void free_parcels(StressWorker& me);

// ---- threads (stress_parcels.cpp)

// Makes a thread, for any CPU, and joins it.
void run_thread(StressWorker& me);

}  // namespace kernel::shell

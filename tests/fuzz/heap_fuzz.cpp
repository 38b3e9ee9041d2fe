// libFuzzer target: any operations on a kernel heap over a small arena, against a table of what is live and what it
// holds.
// SPDX-License-Identifier: MIT
#include <fuzzer/FuzzedDataProvider.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <vector>

#include "mm/heap/kernel_heap.hpp"
#include "tests/fuzz/must.hpp"

namespace {

using namespace memory;

constexpr std::size_t kPages = 256;
alignas(kPageSize) std::array<std::byte, kPages * kPageSize> room;

// Ranges that can grow, or not; and a limit that moves.
class Arena final : public PageSource {
 public:
  explicit Arena(bool elastic) : elastic_(elastic) {}
  std::size_t limit = kPages;
  std::size_t held = 0;

  Result<VirtRange> grow(VirtRange range, std::size_t pages) override {
    MUST(pages != 0);
    if (held + pages > limit) return Error::no_memory;
    if (!range.empty()) {
      if (!elastic_ || !is_free(page_of(range.end), pages)) return Error::no_memory;
      mark(page_of(range.end), pages, true);
      return VirtRange{range.first, range.end + pages * kPageSize};
    }
    for (std::size_t page = 1; page < kPages; ++page)
      if (is_free(page - 1, pages + 1)) {
        mark(page, pages, true);
        const VirtAddr first{reinterpret_cast<std::uint64_t>(room.data()) + page * kPageSize};
        return VirtRange{first, first + pages * kPageSize};
      }
    return Error::no_memory;
  }
  std::size_t shrink(VirtRange range, std::size_t pages) override {
    MUST(pages != 0 && pages * kPageSize <= range.bytes());
    if (!elastic_ && pages * kPageSize != range.bytes()) return 0;
    const std::size_t page = page_of(range.end) - pages;
    mark(page, pages, false);
    std::memset(room.data() + page * kPageSize, 0xdd, pages * kPageSize);
    return pages;
  }

 private:
  static std::size_t page_of(VirtAddr address) {
    return (address.value - reinterpret_cast<std::uint64_t>(room.data())) / kPageSize;
  }
  bool is_free(std::size_t page, std::size_t pages) const {
    for (std::size_t n = page; n < page + pages; ++n)
      if (n >= kPages || used_[n]) return false;
    return true;
  }
  void mark(std::size_t page, std::size_t pages, bool used) {
    for (std::size_t n = page; n < page + pages; ++n) {
      MUST(used_[n] != used);
      used_[n] = used;
    }
    used ? held += pages : held -= pages;
  }

  bool elastic_;
  std::array<bool, kPages> used_{};
};

struct Live {
  unsigned char* at;
  std::size_t bytes;
  unsigned char pattern;
};

enum class Action : std::uint8_t {
  malloc,
  memalign,
  realloc,
  free,
  misuse,
  shrink,
  limit,
  fail,
  prove,
  kMaxValue = prove
};

class Run {
 public:
  Run(const std::uint8_t* data, std::size_t size)
      : input_(data, size),
        arena_(input_.ConsumeBool()),
        heap_(arena_, plan_, input_.ConsumeIntegral<std::uint64_t>()) {}

  void go() {
    while (input_.remaining_bytes() > 0) step(input_.ConsumeEnum<Action>());
    while (!live_.empty()) release(live_.size() - 1);
    prove();
    heap_.shrink();
    MUST(arena_.held == 0);
  }

 private:
  std::size_t any_size() {
    return input_.ConsumeIntegralInRange<std::size_t>(
        0, std::size_t{16} << input_.ConsumeIntegralInRange(0, 15));
  }
  std::size_t any_slot() { return input_.ConsumeIntegralInRange<std::size_t>(0, live_.size() - 1); }

  static void intact(const Live& live, std::size_t bytes) {
    for (std::size_t n = 0; n < bytes; ++n) MUST(live.at[n] == live.pattern);
  }
  void keep(Result<void*> made, std::size_t bytes, std::size_t align) {
    if (!made.ok()) {
      MUST(made.error() == Error::no_memory);
      return;
    }
    MUST(reinterpret_cast<std::uint64_t>(made.take()) % align == 0);
    live_.push_back({static_cast<unsigned char*>(made.take()), bytes, ++pattern_});
    std::memset(live_.back().at, live_.back().pattern, bytes);
  }
  void release(std::size_t slot) {
    intact(live_[slot], live_[slot].bytes);
    MUST(heap_.free(live_[slot].at).ok());
    if (arena_.held != 0) MUST(!heap_.free(live_[slot].at).ok());
    live_[slot] = live_.back();
    live_.pop_back();
  }
  void resize(std::size_t slot, std::size_t bytes) {
    Live& live = live_[slot];
    const auto made = heap_.realloc(live.at, bytes);
    if (!made.ok()) {
      MUST(made.error() == Error::no_memory);
      intact(live, live.bytes);
      return;
    }
    live.at = static_cast<unsigned char*>(made.take());
    intact(live, std::min(bytes, live.bytes));
    live.bytes = bytes;
    std::memset(live.at, live.pattern, bytes);
  }
  // Any address that is not the start of a live block.
  void misuse() {
    const std::size_t at = input_.ConsumeIntegralInRange<std::size_t>(0, room.size() + 64);
    unsigned char* const address = reinterpret_cast<unsigned char*>(room.data()) + at;
    for (const Live& live : live_)
      if (live.at == address) return;
    const Error error = heap_.free(address).error();
    bool inside = false;
    for (const Live& live : live_) inside = inside || (address > live.at && address < live.at + live.bytes);
    MUST(error == Error::double_free || error == Error::interior_free || error == Error::wild_object);
    if (inside) MUST(error == Error::interior_free);
  }
  void prove() const {
    MUST(heap_.validate_heap());
    MUST(heap_.levels().active_blocks == live_.size());
    MUST(heap_.levels().total_bytes == arena_.held * kPageSize);
  }

  void step(Action action) {
    if (live_.empty() && (action == Action::realloc || action == Action::free)) action = Action::malloc;
    switch (action) {
      case Action::malloc: {
        const std::size_t bytes = any_size();
        keep(heap_.malloc(bytes), bytes, 16);
        break;
      }
      case Action::memalign: {
        const std::size_t align = std::size_t{1} << input_.ConsumeIntegralInRange(0, 16);
        const std::size_t bytes = any_size();
        keep(heap_.memalign(align, bytes), bytes, align);
        break;
      }
      case Action::realloc: resize(any_slot(), any_size()); break;
      case Action::free: release(any_slot()); break;
      case Action::misuse: misuse(); break;
      case Action::shrink: heap_.shrink(); break;
      case Action::limit: arena_.limit = input_.ConsumeIntegralInRange<std::size_t>(0, kPages); break;
      case Action::fail: {
        const std::uint64_t n = input_.ConsumeIntegralInRange<std::uint64_t>(0, 4);
        plan_.arm(n);
        heap_.set_plan(n == 0 ? KernelHeap::Plan::idle : KernelHeap::Plan::armed);
        break;
      }
      case Action::prove: prove(); break;
    }
  }

  FuzzedDataProvider input_;
  Arena arena_;
  FailPlan plan_;
  KernelHeap heap_;
  std::vector<Live> live_;
  unsigned char pattern_ = 0;
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  Run(data, size).go();
  return 0;
}

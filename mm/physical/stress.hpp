// Stress: a seeded stream of allocations, releases and misuses, the same in the kernel and on the host.
// SPDX-License-Identifier: MIT
#pragma once
#include "mm/base/random.hpp"
#include "mm/physical/physical.hpp"

namespace memory {

struct StressReport {
  std::uint64_t operations = 0;
  std::uint64_t allocations = 0;
  std::uint64_t releases = 0;
  std::uint64_t refused = 0;  // allocations that found no memory
  std::uint64_t misuses = 0;  // deliberate, each detected
  std::uint64_t live_blocks = 0;
  std::uint64_t live_frames = 0;
};

// Keeps what it holds in a table that lies in a block of the allocator under test, so it needs no other
// memory. Each block's first and last eight bytes carry a stamp that is checked before its release: two
// owners of one frame show. One user at a time.
class Stress {
 public:
  static constexpr std::size_t kMaxLive = 8192;
  static constexpr Order kTableOrder{4};

  explicit Stress(Physical& physical, std::uint64_t seed) : physical_(physical), random_(seed), seed_(seed) {}
  Stress(const Stress&) = delete;
  Stress& operator=(const Stress&) = delete;

  // Runs up to `operations` more, or fewer when keep_going() says no. Fails with no_memory when there is no
  // room for the table. Panics when the allocator hands out a frame twice or lets a misuse pass.
  template <typename KeepGoing>
  Result<void> run(std::uint64_t operations, KeepGoing&& keep_going) {
    TRY(open());
    for (std::uint64_t n = 0; n < operations && keep_going(); ++n) step();
    return {};
  }

  // Gives back everything that is held, the table last.
  void release_all();

  const StressReport& report() const { return report_; }

 private:
  struct Held {
    FrameNumber number;
    std::uint32_t order;
  };
  static_assert(kMaxLive * sizeof(Held) == bytes_in(kTableOrder));

  Result<void> open();
  void step();
  void allocate();
  void release(std::size_t slot);
  void misuse(std::size_t slot);
  void expect(Result<void> result, Error error);
  std::uint64_t stamp_of(Held held) const {
    return seed_ ^ raw(held.number) ^ std::uint64_t{held.order} << 32;
  }
  void stamp(Held held);
  void check_stamp(Held held) const;

  Physical& physical_;
  Random random_;
  std::uint64_t seed_;
  Held* table_ = nullptr;  // report_.live_blocks entries
  FrameNumber table_frame_ = kNoFrame;
  bool filling_ = true;  // towards 90 % of memory, then towards 30 %, and again
  StressReport report_;
};

}  // namespace memory

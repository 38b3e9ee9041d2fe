// IdleGauge: how much of a heap's slabs nobody uses, and when it is time to give that back.
// SPDX-License-Identifier: MIT
#pragma once
#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>

namespace memory {

// Magazines and depots keep what callers released, and each object in them keeps a slab: after a peak, objects that lie
// far apart can hold all the memory of the peak. A release that costs nothing cannot see that, so the slow paths add up
// here what goes into slabs and comes out, and whoever releases asks what is to be done.
//
// All CPUs write; exact when nobody allocates, and else good enough to decide by.
class IdleGauge {
 public:
  // What may lie idle without anybody looking at it.
  static constexpr std::uint64_t kIdleBytes = 5 << 18;
  // How much must have come home since the last time, so that the work of giving back is spread over many releases.
  static constexpr std::uint64_t kStepBytes = 64 << 10;

  void slab_made(std::size_t bytes) { slab_bytes_.fetch_add(bytes, std::memory_order_relaxed); }
  void slab_unmade(std::size_t bytes) { slab_bytes_.fetch_sub(bytes, std::memory_order_relaxed); }

  // Bytes of objects that left the slabs or the depot for a CPU, and that came back.
  void went_out(std::size_t bytes) {
    const std::uint64_t now = out_bytes_.fetch_add(bytes, std::memory_order_relaxed) + bytes;
    if (now > peak_bytes_.load(std::memory_order_relaxed)) peak_bytes_.store(now, std::memory_order_relaxed);
  }
  void came_home(std::size_t bytes) { out_bytes_.fetch_sub(bytes, std::memory_order_relaxed); }

  std::uint64_t slab_bytes() const { return slab_bytes_.load(std::memory_order_relaxed); }
  std::uint64_t out_bytes() const { return out_bytes_.load(std::memory_order_relaxed); }

  // Whether more lies idle than is out, and it is worth a thought: then a CPU keeps only a handful.
  bool mostly_idle() const {
    const std::uint64_t all = slab_bytes();
    const std::uint64_t out = out_bytes();
    return all > out && all - out > std::max(out, kIdleBytes);
  }

  // The same, and half of the peak since the last time has come home. Who is told so gives back, and says when he did.
  bool is_due() const {
    const std::uint64_t out = out_bytes();
    const std::uint64_t peak = peak_bytes_.load(std::memory_order_relaxed);
    return out <= peak / 2 && peak - out >= kStepBytes && mostly_idle();
  }
  void given_back() { peak_bytes_.store(out_bytes(), std::memory_order_relaxed); }

 private:
  std::atomic<std::uint64_t> slab_bytes_{0};  // [a] of all slabs
  std::atomic<std::uint64_t> out_bytes_{0};   // [a] of objects that callers or the CPUs' magazines have
  std::atomic<std::uint64_t> peak_bytes_{0};  // [a] the most that were out since the last given_back()
};

}  // namespace memory

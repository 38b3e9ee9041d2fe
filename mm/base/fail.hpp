// FailPlan: lets the n-th allocation of a machine fail, to prove that nothing is lost when it does.
// SPDX-License-Identifier: MIT
#pragma once
#include <atomic>
#include <cstdint>
#include <string_view>

namespace memory {

// Every place that obtains memory asks the plan first: SITE(name, what is obtained there).
#define MEMORY_FAIL_SITES(SITE)                                    \
  SITE(frame_block, "a block of frames out of a zone")             \
  SITE(section_storage, "the storage that describes added memory") \
  SITE(cache_object, "an object out of a cache")                   \
  SITE(heap_block, "a block of the kernel heap")                   \
  SITE(heap_pages, "pages for the kernel heap")

enum class FailSite : std::uint8_t {
#define SITE(name, what) name,
  MEMORY_FAIL_SITES(SITE)
#undef SITE
};

constexpr std::string_view name_of(FailSite site) {
  constexpr std::string_view kNames[] = {
#define SITE(name, what) #name,
      MEMORY_FAIL_SITES(SITE)
#undef SITE
  };
  return kNames[static_cast<unsigned>(site)];
}

// In words ("a block of frames out of a zone").
constexpr std::string_view text_of(FailSite site) {
  constexpr std::string_view kTexts[] = {
#define SITE(name, what) what,
      MEMORY_FAIL_SITES(SITE)
#undef SITE
  };
  return kTexts[static_cast<unsigned>(site)];
}

// One for each machine. Costs a load where it is asked and nothing is armed; the fast paths do not ask, so whoever
// arms a plan switches them off.
class FailPlan {
 public:
  // The n-th question from now on is answered with "fail", once. 0 disarms.
  void arm(std::uint64_t n) {
    armed_.store(n != 0, std::memory_order_relaxed);
    left_.store(n, std::memory_order_relaxed);
  }
  // From arm(n) to arm(0).
  bool armed() const { return armed_.load(std::memory_order_relaxed); }
  // Whether the armed failure is still to come.
  bool pending() const { return left_.load(std::memory_order_relaxed) != 0; }
  // Whether it came since arm(), and where.
  bool struck() const { return armed() && !pending(); }
  FailSite last_site() const { return last_site_.load(std::memory_order_relaxed); }

  // True when this allocation is to fail.
  bool strikes(FailSite site) {
    if (left_.load(std::memory_order_relaxed) == 0) [[likely]]
      return false;
    return count_down(site);
  }

 private:
  bool count_down(FailSite site) {
    std::uint64_t left = left_.load(std::memory_order_relaxed);
    while (left != 0)
      if (left_.compare_exchange_weak(left, left - 1, std::memory_order_relaxed)) {
        if (left != 1) return false;
        last_site_.store(site, std::memory_order_relaxed);
        return true;
      }
    return false;
  }

  std::atomic<bool> armed_{false};      // [a]
  std::atomic<std::uint64_t> left_{0};  // [a] questions until it strikes; 0: it has, or none is armed
  std::atomic<FailSite> last_site_{};
};

}  // namespace memory

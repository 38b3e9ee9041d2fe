// CallSites: the live objects by the call that allocated them.
// SPDX-License-Identifier: MIT
#pragma once
#include <array>
#include <span>
#include <string_view>

#include "mm/memory_manager.hpp"

namespace memory {

class Inspector;

// What lives of the objects of one call.
struct SiteCount {
  std::uint64_t site = 0;  // as HeapCall's
  std::uint64_t objects = 0;
  std::uint64_t bytes = 0;  // asked for
};

// Counted by a walk over the tracks that config::debug_slab keeps of each object, so no allocation pays for it. In a table
// of its own: it takes no memory. Objects of the caches that caches need themselves are not counted.
class CallSites {
 public:
  static constexpr std::size_t kMost = 256;

  constexpr CallSites() = default;
  CallSites(const CallSites&) = delete;
  CallSites& operator=(const CallSites&) = delete;

  // Whether this build knows whose call it was.
  static constexpr bool known() { return config::debug_slab; }

  // What lives now, instead of what was counted before. Without known() it finds no site. Precondition: nobody allocates or
  // releases. Takes no lock. O(memory).
  void count(const FrameTable& frames);

  // The most bytes first, and by address where they are equal.
  std::span<const SiteCount> sites() const { return std::span(sites_).first(used_); }
  // All that was counted, and what of it has no place in the table. Their `site` is 0.
  const SiteCount& all() const { return all_; }
  const SiteCount& others() const { return others_; }

 private:
  void add(std::uint64_t site, std::uint64_t bytes);

  std::array<SiteCount, kMost> sites_{};
  std::size_t used_ = 0;
  SiteCount all_;
  SiteCount others_;
};

// An address that a call returns to, as `name` puts it into words.
void describe_caller(Inspector& to, std::string_view key, std::uint64_t address, Vmalloc::NameCaller name);

// The sums, what of them has no site, the kernel heap's blocks, whose calls nobody writes down, and of the sites from the
// `first` on no more than kSitesShown. `name` puts the address that a call returns to into words.
inline constexpr std::uint64_t kSitesShown = 16;
void describe_call_sites(Inspector& to, const CallSites& found, const HeapLevels& heap, std::uint64_t first,
                         Vmalloc::NameCaller name);

}  // namespace memory

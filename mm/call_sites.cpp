// CallSites: the walk, the order, the words.
// SPDX-License-Identifier: MIT
#include "mm/call_sites.hpp"

#include <algorithm>

#include "mm/base/format.hpp"
#include "mm/stats/inspector.hpp"

namespace memory {

namespace {

void add_to(SiteCount& sum, std::uint64_t bytes) {
  ++sum.objects;
  sum.bytes += bytes;
}

bool comes_before(const SiteCount& one, const SiteCount& other) {
  return one.bytes != other.bytes ? one.bytes > other.bytes : one.site < other.site;
}

}  // namespace

// Neighbours in memory are often of one call: the search begins with the latest, which moves to the front.
void CallSites::add(std::uint64_t site, std::uint64_t bytes) {
  add_to(all_, bytes);
  const auto end = sites_.begin() + used_;
  auto found = std::find_if(sites_.begin(), end, [site](const SiteCount& one) { return one.site == site; });
  if (site == 0 || (found == end && used_ == kMost)) return add_to(others_, bytes);
  if (found == end) {
    *found = {.site = site};
    ++used_;
  }
  add_to(*found, bytes);
  std::swap(*found, sites_.front());
}

void CallSites::count(const FrameTable& frames) {
  used_ = 0;
  all_ = others_ = {};
  for_each_object(frames, [this](const HeapObject& object) {
    add(object.track != nullptr ? object.track->allocated.site : 0, object.bytes);
  });
  const auto end = sites_.begin() + used_;
  // Heapsort needs no room, on the stack or elsewhere.
  std::make_heap(sites_.begin(), end, comes_before);
  std::sort_heap(sites_.begin(), end, comes_before);
}

void describe_caller(Inspector& to, std::string_view key, std::uint64_t address, Vmalloc::NameCaller name) {
  TextBuffer<160> words;
  name(words, address);
  to.text(key, words.view());
}

void describe_call_sites(Inspector& to, const CallSites& found, const HeapLevels& heap, std::uint64_t first,
                         Vmalloc::NameCaller name) {
  const auto number = [&to](std::string_view key, std::uint64_t value) {
    to.number(key, static_cast<std::int64_t>(value), Unit::none);
  };
  const auto sites = found.sites();
  to.begin_object("", Layout::lines);
  number("sites", sites.size());
  number("objects", found.all().objects);
  number("bytes", found.all().bytes);
  number("no_site_objects", found.others().objects);
  number("no_site_bytes", found.others().bytes);
  number("heap_blocks", heap.active_blocks);
  number("heap_bytes", heap.allocated_bytes);
  to.begin_array("list", Layout::table);
  for (std::uint64_t n = first; n < sites.size() && n - first < kSitesShown; ++n) {
    to.begin_object("", Layout::row);
    number("objects", sites[n].objects);
    number("bytes", sites[n].bytes);
    describe_caller(to, "site", sites[n].site, name);
    to.end_object();
  }
  to.end_array();
  to.end_object();
}

}  // namespace memory

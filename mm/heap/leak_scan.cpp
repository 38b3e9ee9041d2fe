// LeakScan: marking and judging.
// SPDX-License-Identifier: MIT
//
// Theory (Boehm and Weiser, "Garbage collection in an uncooperative environment", Software: Practice and Experience 18/9,
// 1988; Linux's mm/kmemleak.c does the same for a kernel). Whatever may be a pointer is taken for one: so nothing is
// reported that is in use, and a number that happens to look like an address hides a leak, at worst. From an address to
// its object are the four steps that a release takes, through the Frame and its slab.
//
//   white   allocated, no pointer to it was met yet     state `allocated`
//   grey    met, not looked through                     state `allocated` + kGrey, its block on the list of grey blocks
//   black   looked through                              state `allocated` + kBlack
//
// The marks lie where nobody needs anything while memory stands still: of an object in its byte of state, of a block in
// `prev` of its first Frame, and the list of grey blocks, newest first, in `next`. So the scan takes no memory, any depth of
// pointers costs none of the stack, and no byte of a profile that does not scan is there for it.
//
// Invariants:
//   L1  an object is grey only while its slab's block is on the list; the list ends, for a block is on it once
//   L2  after scan() every state is what it was, and `prev` and `next` of every Frame are 0
//   L3  black objects lead to no white one
#include "mm/heap/leak_scan.hpp"

#include "mm/base/check.hpp"

namespace memory {

using namespace heap_walk;

namespace {

constexpr std::uint8_t kAllocated = static_cast<std::uint8_t>(ObjectState::allocated);
constexpr std::uint8_t kGrey = 0x40;
constexpr std::uint8_t kBlack = 0x80;
static_assert((kGrey | kBlack) == heap_walk::kMarks);

// Of a block, in Frame::prev.
constexpr std::uint32_t kListed = 1;   // it is on the list of grey blocks
constexpr std::uint32_t kReached = 2;  // not of a slab: a pointer to it was met

// A word of memory that may be anybody's, and on the host beside what a checker lets one read.
[[gnu::no_sanitize_address]] std::uint64_t word_at(std::uint64_t place) {
  return *reinterpret_cast<const volatile std::uint64_t*>(place);
}

}  // namespace

// ---- blocks of frames -------------------------------------------------------------------------------------------

void LeakScan::push(Frame& head) {
  if ((head.prev & kListed) != 0) return;
  head.prev |= kListed;
  head.next = grey_;
  grey_ = raw(frames_.number_of(head)) + 1;
}

void LeakScan::drain() {
  while (grey_ != 0) {
    const FrameNumber number{grey_ - 1};
    Frame& head = frames_[number];
    grey_ = head.next;
    head.next = 0;
    head.prev &= ~kListed;
    if (is_slab(tag_of(head)))
      look_through_slab(slab_of(head));
    else
      look_through_block(number);
  }
}

// ---- marking ----------------------------------------------------------------------------------------------------

void LeakScan::look_through(std::uint64_t first, std::uint64_t end) {
  constexpr std::uint64_t kWord = sizeof(std::uint64_t);
  for (std::uint64_t at = (first + kWord - 1) & ~(kWord - 1); at + kWord <= end; at += kWord) {
    ++count_.words;
    follow(word_at(at));
  }
}

void LeakScan::follow(std::uint64_t word) {
  const FrameNumber number = frames_.frame_behind(word);
  if (number == kNoFrame) [[likely]]
    return;
  const Frame& frame = frames_[number];
  if (is_slab(tag_of(frame)))
    reach_object(slab_of(frame), word);
  else
    reach_block(number);
}

void LeakScan::reach_object(Slab& slab, std::uint64_t address) {
  const KmemCache& cache = *slab.cache;
  if (!cache.watched()) return;
  const std::uint64_t offset = address - reinterpret_cast<std::uint64_t>(slab.first);
  const std::uint64_t index = offset / cache.cut().stride;
  if (index >= slab.objects || offset % cache.cut().stride >= cache.asked_for(slab, index)) return;
  std::uint8_t& state = slab.states()[index];
  if (state != kAllocated) return;
  state |= kGrey;
  push(*slab.head);
}

// Not a range of the kernel heap, whose used blocks are roots and whose free ones are nobody's: it has a tag of its own.
void LeakScan::reach_block(FrameNumber number) {
  const FrameNumber first = frames_.block_around(number);
  if (first == kNoFrame) return;
  Frame& head = frames_[first];
  const bool ours = is_large(tag_of(head)) || tag_of(head) == static_cast<unsigned>(FrameTag::none);
  if (head.state() != FrameState::allocated || !ours || (head.prev & kReached) != 0) return;
  head.prev |= kReached;
  push(head);
}

void LeakScan::look_through_slab(Slab& slab) {
  const KmemCache& cache = *slab.cache;
  for (std::uint64_t index = 0; index < slab.objects; ++index) {
    std::uint8_t& state = slab.states()[index];
    if (state != (kAllocated | kGrey)) continue;
    state = kAllocated | kBlack;
    const std::uint64_t first = reinterpret_cast<std::uint64_t>(slab.first) + index * cache.cut().stride;
    look_through(first, first + cache.asked_for(slab, index));
  }
}

void LeakScan::look_through_block(FrameNumber number) {
  const std::uint64_t first = address_of(frames_, number);
  const Frame& head = frames_[number];
  look_through(first,
               first + (is_large(tag_of(head)) ? large_at(frames_, number).bytes : bytes_in(head.order())));
}

// ---- roots ------------------------------------------------------------------------------------------------------

// Where the first hidden byte of [at, end) is; `end` when there is none.
std::uint64_t LeakScan::hidden_from(std::uint64_t at, std::uint64_t end) const {
  const auto nearer = [&](std::uint64_t first, std::uint64_t last) {
    if (last > at && first < end) end = first > at ? first : at;
  };
  for (const VirtRange& range : hidden_) nearer(range.first.value, range.end.value);
  heap_.for_each([&](const KmemCache& cache) {
    const auto first = reinterpret_cast<std::uint64_t>(&cache);
    nearer(first, first + sizeof cache);
  });
  return end;
}

// Behind what hides `at`; `at` where nothing does.
std::uint64_t LeakScan::hidden_until(std::uint64_t at) const {
  std::uint64_t until = at;
  const auto farther = [&](std::uint64_t first, std::uint64_t last) {
    if (first <= at && at < last && last > until) until = last;
  };
  for (const VirtRange& range : hidden_) farther(range.first.value, range.end.value);
  heap_.for_each([&](const KmemCache& cache) {
    const auto first = reinterpret_cast<std::uint64_t>(&cache);
    farther(first, first + sizeof cache);
  });
  return until;
}

void LeakScan::root(VirtRange words) {
  std::uint64_t at = words.first.value;
  while (at < words.end.value) {
    const std::uint64_t shown = hidden_from(at, words.end.value);
    look_through(at, shown);
    drain();
    at = shown < words.end.value ? hidden_until(shown) : shown;
  }
}

struct LeakScan::Roots final : RootVisitor {
  explicit Roots(LeakScan& of) : scan(of) {}
  void visit(VirtRange words) override { scan.root(words); }
  LeakScan& scan;
};

// ---- judging ----------------------------------------------------------------------------------------------------

void LeakScan::judge(const HeapObject& object, LeakSink& sink) {
  bool reached = (object.head->prev & kReached) != 0;
  if (object.state != nullptr) {
    reached = *object.state != kAllocated;
    *object.state = kAllocated;  // L2
  }
  ++count_.objects;
  if (object.track != nullptr && object.track->leak != LeakState::known)
    object.track->leak = reached ? LeakState::none : LeakState::reported;
  if (reached) return;
  ++count_.leaks;
  count_.leaked_bytes += object.bytes;
  sink.found(object);
}

LeakCount LeakScan::scan(LeakRoots& roots, LeakSink& sink) {
  count_ = {};
  // What is known to be lost is a root: what only it leads to is no news.
  for_each_object(frames_, [this](const HeapObject& object) {
    if (object.track != nullptr && object.track->leak == LeakState::known) follow(object.address);
  });
  drain();
  blocks_.for_each_used([this](VirtRange payload) { root(payload); });
  Roots visitor(*this);
  roots.show(visitor);
  CHECK(grey_ == 0);
  for_each_object(frames_, [&](const HeapObject& object) { judge(object, sink); });
  for_each_block(frames_, [this](FrameNumber number) { frames_[number].prev = 0; });  // L2
  return count_;
}

}  // namespace memory

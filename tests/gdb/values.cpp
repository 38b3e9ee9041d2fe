// One of each thing that Coronel's GDB printers show; GDB stops in look() and prints them.
// SPDX-License-Identifier: MIT
#include <cstddef>

#include "mm/base/list.hpp"
#include "mm/base/result.hpp"
#include "mm/base/types.hpp"
#include "mm/physical/frames.hpp"
#include "mm/physical/magazine.hpp"

using namespace memory;

struct Member {
  int value = 0;
  ListNode link;
};
using Members = List<Member, offsetof(Member, link)>;

int target = 7;  // what the virtual address names

[[gnu::noinline]] void look(Members& members) { asm volatile("" : : "r"(&members) : "memory"); }

int main() {
  [[maybe_unused]] PhysAddr phys{0x1000};
  [[maybe_unused]] VirtAddr virt{reinterpret_cast<std::uint64_t>(&target)};
  [[maybe_unused]] FrameNumber number{4711};
  [[maybe_unused]] FrameNumber none = kNoFrame;
  [[maybe_unused]] Order order{3};
  [[maybe_unused]] Result<FrameNumber> good = FrameNumber{5};
  [[maybe_unused]] Result<FrameNumber> bad = Error::double_free;
  [[maybe_unused]] Result<int*> good_pointer = &target;
  [[maybe_unused]] Result<int*> bad_pointer = Error::no_memory;
  [[maybe_unused]] Result<void> done;
  Frame frame{};
  frame.set(FrameState::allocated, Order{3});
  frame.uses = Frame::kReference;
  frame.owner = 0xabc;
  [[maybe_unused]] Pageblock block{};
  block.free_frames = 12;
  block.list = 5;
  block.prev = Pageblock::kNone;
  block.next = 9;
  [[maybe_unused]] Pageblock uncounted{};
  uncounted.runs = Pageblock::kUncounted;
  uncounted.free_frames = 3;
  uncounted.list = 60;
  uncounted.prev = uncounted.next = Pageblock::kNone;
  [[maybe_unused]] ZoneRecord zone{.name = "DMA32", .first = 4096, .end = 8192};
  zone.present_frames = 4000;
  zone.minimum = 15;
  zone.low = 18;
  zone.high = 22;
  [[maybe_unused]] ZoneRecord nothing{.name = "HighMem"};
  [[maybe_unused]] SmallMagazine empty{};
  LargeMagazine magazine{};
  magazine.head.count = 2;
  magazine.blocks[0] = 4711;
  magazine.blocks[1] = 12;
  SmallMagazine bad_magazine{};
  bad_magazine.head.count = SmallMagazine::kBlocks + 1;
  FrameCache cache{};
  cache.small[3].head.count = 2;
  cache.large[8].head.count = 1;
  Member one{.value = 1, .link = {}}, two{.value = 2, .link = {}}, three{.value = 3, .link = {}};
  Members members;
  members.push_back(one);
  members.push_back(two);
  members.push_back(three);
  look(members);
  ListNode* const right = two.link.previous;
  two.link.previous = &three.link;  // a link that does not point back
  look(members);
  two.link.previous = right;
  look(members);
  return 0;
}

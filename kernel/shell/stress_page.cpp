// Each CPU has a page of the scratch window that it alone changes, and everybody reads and writes.
//
// Theory. An epoch is a state of the page; `epoch` is the latest whose shootdown, if it needs one, has been answered:
//
//   epoch % 4 | 0                | 1                   | 2                  | 3
//   the page  | shows a frame    | shows another frame | is read-only       | is not there
//   made by   | map_pages        | exchange, flush     | protect, flush     | unmap, flush
//
//   owner   change the entry | flush here and everywhere | epoch = e + 1 | spoil what is shown no longer
//   reader                before = epoch | word, or a fault | after = epoch
//
// At the moment of the access the page is in an epoch from `before` to `after`, or in the one that is being made. So what
// the access finds must fit one of these; else the CPU used a translation that was flushed. A frame's first and last word
// say in which epoch it was put there, as (epoch << 8 | CPU); the word between them is for writes. What is shown no longer is
// spoiled, and stays so until the next change, when it is free: a read through a stale translation finds it, and a
// write leaves its trace there. So does a write to a page that is read-only.
// SPDX-License-Identifier: MIT
#include <algorithm>

#include "kernel/arch/x86_64/probe.hpp"
#include "kernel/shell/stress_worker.hpp"
#include "mm/base/check.hpp"
#include "mm/virtual/kernel_space.hpp"
#include "mm/virtual/page_table.hpp"

namespace kernel::shell {

namespace {

using memory::FrameNumber;
using memory::Order;
using memory::VirtAddr;

constexpr std::size_t kLastWord = memory::kPageSize / 8 - 1;
constexpr std::size_t kWritten = 256;
constexpr std::uint64_t kAllCpus = ~std::uint64_t{0};

enum State : std::uint64_t { kShown, kShownAgain, kReadOnly, kAbsent };
constexpr State state_of(std::uint64_t epoch) { return static_cast<State>(epoch % 4); }

std::uint64_t* words_of(FrameNumber frame) {
  return reinterpret_cast<std::uint64_t*>(memory::manager().physical().frames().open(frame).bytes());
}
VirtAddr page_of(unsigned cpu) { return memory::kernel_space::kScratch + cpu * memory::kPageSize; }
volatile std::uint64_t* word_at(unsigned cpu, std::size_t word) {
  return reinterpret_cast<volatile std::uint64_t*>(page_of(cpu).value + 8 * word);
}

// ---- the owner

void free_retired(StressWorker& me) {
  if (me.retired == memory::kNoFrame) return;
  const std::uint64_t* const words = words_of(me.retired);
  for (const std::size_t word : {std::size_t{0}, kWritten, kLastWord})
    if (words[word] != kStale) stress_fails("written through a stale translation", words[word], kStale);
  CHECK(memory::manager().free_pages(me.retired, Order{0}).ok());
  me.retired = memory::kNoFrame;
}

// Every CPU has answered that it forgot the frame.
void retire(StressWorker& me) {
  std::uint64_t* const words = words_of(me.shown);
  words[0] = words[kWritten] = words[kLastWord] = kStale;
  me.retired = me.shown;
  me.shown = memory::kNoFrame;
}

// kNoFrame: there is none.
FrameNumber fresh_frame(StressWorker& me, std::uint64_t epoch) {
  const auto fresh = memory::manager().alloc_pages(Order{0});
  if (!fresh.ok()) {
    ++me.report.refused;
    return memory::kNoFrame;
  }
  std::uint64_t* const words = words_of(fresh.take());
  words[0] = words[kLastWord] = epoch << 8 | me.cpu;
  words[kWritten] = 0;
  return fresh.take();
}

void publish(StressWorker& me, std::uint64_t epoch) { me.epoch.store(epoch, std::memory_order_release); }

void show(StressWorker& me, std::uint64_t epoch) {
  const FrameNumber fresh = fresh_frame(me, epoch);
  if (fresh == memory::kNoFrame) return;
  const auto mapped =
      memory::kernel_tables().map_pages(page_of(me.cpu), {&fresh, 1}, {.access = memory::Access::read_write});
  if (!mapped.ok()) {
    ++me.report.refused;
    CHECK(memory::manager().free_pages(fresh, Order{0}).ok());
    return;
  }
  me.shown = fresh;
  publish(me, epoch);
  me.count(StressPath::maps);
}

memory::AtomicEntry& entry_of(VirtAddr page) {
  const memory::TablePath path = memory::kernel_tables().path(page).take();
  const memory::TablePath::Step& last = path.steps[path.count - 1];
  return reinterpret_cast<memory::AtomicEntry*>(words_of(memory::frame_at(last.table)))[last.index];
}

// In one step: at no moment is the page absent. PageTables has no such call, so it is done as it would do it.
void show_another(StressWorker& me, std::uint64_t epoch) {
  const FrameNumber fresh = fresh_frame(me, epoch);
  if (fresh == memory::kNoFrame) return;
  const VirtAddr page = page_of(me.cpu);
  entry_of(page).exchange(memory::PageEntry::leaf(memory::address_of(fresh), memory::PageLevel::page,
                                                  memory::Access::read_write));
  memory::platform::flush_page(memory::SpaceId::kernel, page);
  memory::platform::flush_others(memory::SpaceId::kernel, {&page, 1}, kAllCpus);
  publish(me, epoch);
  retire(me);
  me.shown = fresh;
  me.count(StressPath::remaps);
}

void make_read_only(StressWorker& me, std::uint64_t epoch) {
  {
    memory::FlushBatch flush(memory::kernel_tables());
    CHECK(memory::kernel_tables()
              .protect(page_of(me.cpu), memory::kPageSize, {.access = memory::Access::read}, flush)
              .ok());
  }
  me.written = words_of(me.shown)[kWritten];
  publish(me, epoch);
  me.count(StressPath::protects);
}

void take_away(StressWorker& me, std::uint64_t epoch) {
  const std::uint64_t written = words_of(me.shown)[kWritten];
  if (written != me.written) stress_fails("a read-only page was written to", written, me.written);
  {
    memory::FlushBatch flush(memory::kernel_tables());
    CHECK(memory::kernel_tables().unmap(page_of(me.cpu), memory::kPageSize, flush).ok());
  }
  publish(me, epoch);
  retire(me);
  me.count(StressPath::unmaps);
}

// ---- everybody

// The epochs that an access may have met.
struct Span {
  std::uint64_t first;
  std::uint64_t last;

  bool meets(State wanted) const {
    for (std::uint64_t epoch = first; epoch <= std::min(last, first + 3); ++epoch)
      if (state_of(epoch) == wanted) return true;
    return false;
  }
  bool may_write() const { return meets(kShown) || meets(kShownAgain); }
  bool may_not_write() const { return meets(kReadOnly) || meets(kAbsent); }
  // Whether the page may have shown what was put there in that epoch: it still does when it becomes read-only.
  bool showed(std::uint64_t epoch) const {
    if (state_of(epoch) > kShownAgain) return false;
    const std::uint64_t until = epoch + (state_of(epoch) == kShownAgain ? 1 : 0);
    return epoch <= last && until >= first;
  }
};

// What one access found, and whether that fits a span.
struct Access {
  bool done;
  std::uint64_t word;
  unsigned cpu;

  bool is_read_in(Span span) const {
    return done ? (word & 0xff) == cpu && span.showed(word >> 8) : span.meets(kAbsent);
  }
  bool is_write_in(Span span) const { return done ? span.may_write() : span.may_not_write(); }
};

}  // namespace

void change_page(StressWorker& me) {
  free_retired(me);
  const std::uint64_t epoch = me.epoch.load(std::memory_order_relaxed) + 1;
  switch (state_of(epoch)) {
    case kShown: show(me, epoch); break;
    case kShownAgain: show_another(me, epoch); break;
    case kReadOnly: make_read_only(me, epoch); break;
    case kAbsent: take_away(me, epoch); break;
  }
}

void read_page(StressWorker& me, const StressWorker& other) {
  const std::size_t word = me.random.below(2) * kLastWord;
  Access access{.done = false, .word = 0, .cpu = other.cpu};
  const std::uint64_t before = other.epoch.load(std::memory_order_acquire);
  access.done = probe_read(word_at(other.cpu, word), &access.word);
  const std::uint64_t after = other.epoch.load(std::memory_order_acquire);
  if (!access.is_read_in({before, after + 1}))
    stress_fails(access.done ? "read through a stale translation" : "a page that is there could not be read",
                 access.word, before << 8 | other.cpu);
  me.count(access.done ? StressPath::reads : StressPath::read_faults);
  if (before != after || !access.is_read_in({before, before})) me.count(StressPath::crossings);
}

void write_page(StressWorker& me, const StressWorker& other) {
  Access access{.done = false, .word = me.random.next(), .cpu = other.cpu};
  const std::uint64_t before = other.epoch.load(std::memory_order_acquire);
  access.done = probe_write(word_at(other.cpu, kWritten), access.word);
  const std::uint64_t after = other.epoch.load(std::memory_order_acquire);
  if (!access.is_write_in({before, after + 1}))
    stress_fails(access.done ? "written through a stale translation" : "a page could not be written to",
                 before, after);
  me.count(access.done ? StressPath::writes : StressPath::write_faults);
  if (before != after || !access.is_write_in({before, before})) me.count(StressPath::crossings);
}

void take_page_away(StressWorker& me) {
  while (me.shown != memory::kNoFrame) {
    free_retired(me);
    const std::uint64_t epoch = me.epoch.load(std::memory_order_relaxed) + 1;
    if (state_of(epoch) == kShownAgain) {  // no frame is asked for at the end
      publish(me, epoch);
    } else {
      change_page(me);
    }
  }
  free_retired(me);
}

}  // namespace kernel::shell

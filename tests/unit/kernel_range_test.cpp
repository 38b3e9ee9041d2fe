// Kernel addresses: first fit, guards, coalescing, exact misuse, and the same as a naive model of single pages.
// SPDX-License-Identifier: MIT
#include "mm/virtual/kernel_range.hpp"

#include "mm/base/random.hpp"
#include "tests/unit/world.hpp"

using namespace memory;

namespace {

constexpr VirtAddr kStart{0xffff'c000'0000'0000};

// Records out of an array, and a failure of the n-th request.
class Pool final : public RangeStorage {
 public:
  explicit Pool(std::size_t count) {
    const auto room = unit::storage(count * sizeof(Slot));
    if (room.empty()) return;
    for (std::size_t n = count; n > 0; --n) push(reinterpret_cast<Slot*>(room.data())[n - 1]);
  }

  Result<KernelRange*> fresh() override {
    if (fail_in != 0 && --fail_in == 0) return Error::no_memory;
    if (free_ == nullptr) return Error::no_memory;
    Slot& slot = *free_;
    free_ = slot.next;
    ++out;
    return reinterpret_cast<KernelRange*>(&slot);
  }
  void give_back(KernelRange& range) override {
    push(reinterpret_cast<Slot&>(range));
    --out;
  }

  unsigned fail_in = 0;  // 0: never
  std::size_t out = 0;

 private:
  union Slot {
    Slot* next;
    alignas(KernelRange) std::byte room[sizeof(KernelRange)];
  };
  void push(Slot& slot) {
    slot.next = free_;
    free_ = &slot;
  }
  Slot* free_ = nullptr;
};

struct Space {
  explicit Space(std::uint64_t pages, std::size_t records = 600)
      : pool(records),
        ranges(*unit::fresh<KernelRanges>(VirtRange{kStart, kStart + pages * kPageSize}, pool)) {}

  // First page of the body, counted from the start of the window; kNone when it failed.
  static constexpr std::uint64_t kNone = ~std::uint64_t{0};
  std::uint64_t take(std::uint64_t pages, std::uint64_t align_pages = 1, std::uint8_t below = 0,
                     std::uint8_t above = 0) {
    const auto got = ranges.allocate({.bytes = pages * kPageSize,
                                      .align = align_pages * kPageSize,
                                      .guard_below = below,
                                      .guard_above = above,
                                      .owner = "test"});
    return got.ok() ? (got.take()->body().first - kStart) / kPageSize : kNone;
  }
  Error give(std::uint64_t page) {
    const auto got = ranges.take_back(kStart + page * kPageSize, RangeKind::vmalloc);
    if (!got.ok()) return got.error();
    ranges.release(*got.take());
    return Error::ok;
  }

  Pool pool;
  KernelRanges& ranges;  // in storage: too large for a kernel's stack
};

constexpr VirtAddr page(std::uint64_t number) { return kStart + number * kPageSize; }

}  // namespace

TEST(kernel_range, takes_the_lowest_place_that_fits) {
  Space world(64);
  for (unsigned n = 0; n < 16; ++n) ASSERT(world.take(4) == 4 * n);
  EXPECT_EQ(world.take(1), Space::kNone);
  for (const std::uint64_t freed : {8, 12, 32, 52, 56, 60}) ASSERT(world.give(freed) == Error::ok);
  //  |..........|8 free 16|........|32 free 36|........|52 free 64|
  EXPECT_EQ(world.take(9), 52u);
  EXPECT_EQ(world.take(5), 8u);
  EXPECT_EQ(world.take(4), 32u);
  EXPECT_EQ(world.take(3), 13u);
  EXPECT_EQ(world.take(3), 61u);
  EXPECT_EQ(world.ranges.free_bytes(), 0u);
  EXPECT(world.ranges.valid());
}

TEST(kernel_range, joins_with_both_neighbours) {
  Space world(12);
  for (unsigned n = 0; n < 3; ++n) ASSERT(world.take(4) == 4 * n);
  EXPECT(world.give(0) == Error::ok && world.give(8) == Error::ok);
  EXPECT_EQ(world.ranges.largest_free(), 4 * kPageSize);
  EXPECT(world.give(4) == Error::ok);
  EXPECT(world.ranges.valid());
  EXPECT_EQ(world.ranges.largest_free(), 12 * kPageSize);
  EXPECT_EQ(world.pool.out, 0u);  // one free range, by the record of the window
  EXPECT_EQ(world.take(12), 0u);
}

TEST(kernel_range, guards_belong_to_the_range_and_to_no_body) {
  Space world(32);
  EXPECT_EQ(world.take(4, 1, 1, 1), 1u);  // 0 guard, 1-4, 5 guard
  EXPECT_EQ(world.take(2, 1, 0, 1), 6u);
  const auto guard = world.ranges.find(page(5) + 17);
  ASSERT(guard.ok());
  EXPECT(guard.take().guards(page(5) + 17) && guard.take().guards(page(0)));
  EXPECT(!guard.take().guards(page(4)) && !guard.take().guards(page(6)));
  EXPECT_EQ(guard.take().body.first, page(1));
  EXPECT_EQ(guard.take().body.bytes(), 4 * kPageSize);
  EXPECT(world.ranges.valid());
}

TEST(kernel_range, aligns_the_body_not_its_guard) {
  Space world(64);
  EXPECT_EQ(world.take(1), 0u);
  EXPECT_EQ(world.take(8, 8, 1, 0), 8u);  // guard 7, body 8-15; 1-6 stay free
  EXPECT_EQ(world.take(8, 8, 0, 1), 16u);
  EXPECT_EQ(world.take(6), 1u);
  EXPECT_EQ(world.take(2, 32), 32u);
  EXPECT_EQ(world.ranges.valid(), true);
  EXPECT(world.give(8) == Error::ok && world.give(16) == Error::ok);
  // 7-31 is free, but no place for an aligned body of 25: the wrong one of the two free ranges is not taken.
  EXPECT_EQ(world.take(25, 2), 34u);
  EXPECT_EQ(world.take(1, std::uint64_t{1} << 35), Space::kNone);  // its end would wrap
  EXPECT(world.ranges.valid());
}

TEST(kernel_range, says_who_has_an_address) {
  Space world(32);
  const auto got = world.ranges.allocate({.bytes = 2 * kPageSize,
                                          .guard_above = 1,
                                          .kind = RangeKind::device,
                                          .owner = "a very long name indeed",
                                          .number = 7,
                                          .physical = PhysAddr{0xfee0'0000},
                                          .caller = 0x1234});
  ASSERT(got.ok());
  const auto result = world.ranges.find(page(1) + 5);
  ASSERT(result.ok());
  const FoundRange found = result.take();
  EXPECT_EQ(found.kind, RangeKind::device);
  EXPECT_EQ(found.owner.view(), std::string_view("a very long nam"));
  EXPECT_EQ(found.number, 7u);
  EXPECT_EQ(found.physical, PhysAddr{0xfee0'0000});
  EXPECT_EQ(found.caller, 0x1234u);
  EXPECT_EQ(world.ranges.find(page(3)).error(), Error::not_found);
  EXPECT_EQ(world.ranges.find(page(32)).error(), Error::not_found);
  EXPECT_EQ(world.ranges.find(kStart - 1).error(), Error::not_found);
}

TEST(kernel_range, finds_without_its_lock_what_may_be_read) {
  Space world(600);
  for (unsigned n = 0; n < 200; ++n) ASSERT(world.take(2, 1, 0, 1) == 3 * n);
  for (unsigned n = 0; n < 200; n += 2) ASSERT(world.give(3 * n) == Error::ok);
  const auto everything = [](const KernelRange*) { return true; };
  for (unsigned n = 0; n < 600; ++n) {
    const auto locked = world.ranges.find(page(n));
    const auto free = world.ranges.find_unlocked(page(n), everything);
    ASSERT(locked.ok() == free.ok());
    if (locked.ok()) ASSERT(locked.take().whole == free.take().whole);
  }
  EXPECT_EQ(world.ranges.find_unlocked(page(4), [](const KernelRange*) { return false; }).error(),
            Error::not_found);
  unsigned asked = 0;
  const auto few = [&asked](const KernelRange*) { return ++asked < 3; };
  EXPECT(!world.ranges.find_unlocked(page(4), few).ok() || asked < 3);
}

TEST(kernel_range, tells_every_misuse_apart) {
  Space world(64);
  EXPECT_EQ(world.take(4, 1, 1, 1), 1u);
  EXPECT_EQ(world.take(4, 1, 0, 1), 6u);
  EXPECT_EQ(world.give(0), Error::interior_free);  // its guard
  EXPECT_EQ(world.give(2), Error::interior_free);
  EXPECT_EQ(world.give(5), Error::interior_free);
  EXPECT_EQ(world.ranges.take_back(page(1) + 8, RangeKind::vmalloc).error(), Error::interior_free);
  EXPECT_EQ(world.give(20), Error::wild_range);
  EXPECT_EQ(world.give(64), Error::wild_range);
  EXPECT_EQ(world.ranges.take_back(kStart - kPageSize, RangeKind::vmalloc).error(), Error::wild_range);
  EXPECT_EQ(world.give(6), Error::ok);
  EXPECT_EQ(world.give(6), Error::double_free);
  EXPECT_EQ(world.give(7), Error::wild_range);

  EXPECT_EQ(world.ranges.take_back(page(1), RangeKind::stack).error(), Error::wrong_range);
  const auto leaving = world.ranges.take_back(page(1), RangeKind::vmalloc);
  ASSERT(leaving.ok());
  EXPECT_EQ(world.ranges.take_back(page(1), RangeKind::vmalloc).error(), Error::double_free);
  EXPECT_EQ(world.ranges.take_back(page(2), RangeKind::vmalloc).error(), Error::interior_free);
  EXPECT_EQ(world.take(60), Space::kNone);  // its addresses are nobody's yet
  EXPECT(world.ranges.valid());
  world.ranges.renew(*leaving.take(), "other", 3, 0x77);
  EXPECT_EQ(world.ranges.find(page(1)).take().number, 3u);
  EXPECT_EQ(world.give(1), Error::ok);
  EXPECT_EQ(world.give(1), Error::double_free);
  EXPECT_EQ(world.take(64), 0u);
  EXPECT_EQ(world.give(6), Error::interior_free);  // somebody else's now
  EXPECT(world.ranges.valid());
}

TEST(kernel_range, refuses_what_makes_no_sense) {
  struct Case {
    RangeRequest request;
    Error error;
  };
  static constexpr Case kCases[] = {
      {{.bytes = 0}, Error::invalid},
      {{.bytes = 100}, Error::invalid},
      {{.bytes = ~std::uint64_t{0} << 12}, Error::invalid},
      {{.bytes = kPageSize, .align = 0}, Error::invalid},
      {{.bytes = kPageSize, .align = 64}, Error::invalid},
      {{.bytes = kPageSize, .align = 3 * kPageSize}, Error::invalid},
      {{.bytes = kPageSize, .kind = RangeKind::none}, Error::invalid},
      {{.bytes = 64 * kPageSize}, Error::no_memory},  // its guard does not fit
      {{.bytes = std::uint64_t{1} << 47, .guard_above = 255}, Error::no_memory},
  };
  Space world(64);
  for (const Case& one : kCases) EXPECT_EQ(world.ranges.allocate(one.request).error(), one.error);
  EXPECT(world.ranges.valid() && world.ranges.allocated() == 0 && world.pool.out == 0);
}

TEST(kernel_range, leaves_everything_as_it_was_when_a_record_fails) {
  for (const std::uint64_t align : {1, 8}) {
    Space world(64, 40);
    EXPECT_EQ(world.take(3), 0u);
    const std::size_t out = world.pool.out;
    const unsigned requests = align == 1 ? 1 : 2;
    for (unsigned nth = 1; nth <= requests; ++nth) {
      world.pool.fail_in = nth;
      EXPECT_EQ(world.take(4, align), Space::kNone);
      EXPECT(world.ranges.valid() && world.pool.out == out && world.ranges.allocated() == 1);
    }
    world.pool.fail_in = 0;
    EXPECT_EQ(world.take(4, align), align == 1 ? 3u : 8u);
    EXPECT_EQ(world.pool.out, out + requests);
  }
  Pool none(1);
  none.fail_in = 1;
  KernelRanges ranges({kStart, kStart + kPageSize}, none);
  EXPECT_EQ(ranges.allocate({.bytes = kPageSize, .guard_above = 0}).error(), Error::no_memory);
  EXPECT_EQ(ranges.take_back(kStart, RangeKind::vmalloc).error(), Error::wild_range);
  EXPECT(ranges.valid() && ranges.largest_free() == kPageSize);
}

TEST(kernel_range, a_window_that_nobody_uses_needs_no_records) {
  Space world(64);
  EXPECT_EQ(world.pool.out, 0u);
  for (const std::uint64_t align : {1, 4, 16}) {
    std::array<std::uint64_t, 3> at{};
    for (std::uint64_t& one : at) one = world.take(5, align, 1, 1);
    EXPECT(world.pool.out > 0 && world.ranges.valid());
    for (const unsigned n : {1, 0, 2}) {
      EXPECT_EQ(world.give(at[n]), Error::ok);
      EXPECT(world.ranges.valid());
    }
    EXPECT_EQ(world.pool.out, 0u);
  }
  const std::uint64_t all = world.take(64);  // its record is the window's
  EXPECT(all == 0 && world.ranges.valid() && world.ranges.largest_free() == 0);
  EXPECT_EQ(world.give(all), Error::ok);
  EXPECT(world.pool.out == 0 && world.ranges.valid());
}

TEST(kernel_range, meets_every_taken_range_in_order) {
  Space world(300);
  for (unsigned n = 0; n < 60; ++n) ASSERT(world.take(4, 1, 0, 1) == 5 * n);
  for (unsigned n = 0; n < 60; n += 3) ASSERT(world.give(5 * n) == Error::ok);
  std::uint64_t expected = 0, met = 0;
  world.ranges.for_each([&](const FoundRange& range) {
    while (expected % 3 == 0) ++expected;
    EXPECT_EQ(range.whole.first, page(5 * expected));
    ++expected;
    ++met;
  });
  EXPECT_EQ(met, 40u);
  EXPECT_EQ(world.ranges.allocated(), 40u);
}

// The model: one byte a page says which range has it, 0 nobody. First fit is the first run that will do.
namespace {

struct Model {
  static constexpr unsigned kPages = 512;
  struct Body {
    unsigned whole, first, pages, end;
  };
  std::array<std::uint8_t, kPages> owner{};
  std::array<Body, 200> bodies{};

  std::uint64_t first_fit(unsigned pages, unsigned align, unsigned below, unsigned above) const {
    for (unsigned body = below; body + pages + above <= kPages; ++body) {
      // The window starts at a multiple of every alignment that is asked for.
      if (body % align != 0) continue;
      unsigned at = body - below;
      while (at < body + pages + above && owner[at] == 0) ++at;
      if (at == body + pages + above) return body;
    }
    return Space::kNone;
  }
  void set(const Body& body, std::uint8_t who) {
    for (unsigned at = body.whole; at < body.end; ++at) owner[at] = who;
  }
};

}  // namespace

TEST(kernel_range, does_what_a_naive_model_does) {
  static Model model;
  model = {};
  Space world(Model::kPages);
  Random random{unit::seed()};
  unsigned full = 0;
  for (unsigned step = 0; step < 4000; ++step) {
    const auto who = static_cast<unsigned>(1 + random.below(model.bodies.size() - 1));
    Model::Body& body = model.bodies[who];
    if (body.pages == 0) {
      const auto pages = static_cast<unsigned>(1 + random.below(random.below(8) == 0 ? 40 : 6));
      const unsigned align = 1u << random.below(3) * random.below(3);
      const auto below = static_cast<std::uint8_t>(random.below(2)),
                 above = static_cast<std::uint8_t>(random.below(3));
      const std::uint64_t expected = model.first_fit(pages, align, below, above);
      ASSERT(world.take(pages, align, below, above) == expected);
      if (expected == Space::kNone) {
        ++full;
        continue;
      }
      const auto first = static_cast<unsigned>(expected);
      body = {first - below, first, pages, first + pages + above};
      model.set(body, static_cast<std::uint8_t>(who));
    } else {
      ASSERT(world.give(body.first) == Error::ok);
      model.set(body, 0);
      body = {};
    }
    const auto probe = static_cast<unsigned>(random.below(Model::kPages));
    const auto found = world.ranges.find(page(probe));
    ASSERT(found.ok() == (model.owner[probe] != 0));
    if (found.ok()) {
      ASSERT(found.take().body.first == page(model.bodies[model.owner[probe]].first));
      ASSERT(found.take().whole.first == page(model.bodies[model.owner[probe]].whole));
    }
    if (step % 16 == 0) ASSERT(world.ranges.valid());
  }
  EXPECT(full > 10);  // the window was really short at times
  for (const Model::Body& body : model.bodies)
    if (body.pages != 0) ASSERT(world.give(body.first) == Error::ok);
  EXPECT(world.ranges.valid() && world.pool.out == 0);
  EXPECT_EQ(world.ranges.largest_free(), Model::kPages * kPageSize);
}

namespace {

unsigned height_of(const TreeNode* node) {
  unsigned height = 0;
  for (; node != nullptr; node = node->child[node->balance >= 0]) ++height;  // into the higher side
  return height;
}

}  // namespace

// Every second of 100 000 ranges is freed and taken again; steps are counted by the tree's height, not by a clock.
TEST(kernel_range, holds_a_hundred_thousand_ranges) {
  constexpr unsigned kRanges = 100'000;
  Space world(3 * kRanges, kRanges + 8);
  for (unsigned n = 0; n < kRanges; ++n) ASSERT(world.take(2, 1, 0, 1) == 3 * n);
  EXPECT_EQ(world.take(1), Space::kNone);
  EXPECT(height_of(world.ranges.record().tree->root) <= 24);  // 1.44 log2(100 000)
  for (unsigned n = 1; n < kRanges; n += 2) ASSERT(world.give(3 * n) == Error::ok);
  EXPECT(world.ranges.valid());
  EXPECT_EQ(world.take(4), Space::kNone);
  EXPECT_EQ(world.take(3), 3u);
  EXPECT(world.give(3) == Error::ok);
  Random random{unit::seed()};
  for (unsigned n = 1; n < kRanges; n += 2) ASSERT(world.take(2, 1, 0, 1) == 3 * n);
  for (unsigned n = 0; n < 1000; ++n) {
    const std::uint64_t at = random.below(kRanges);
    ASSERT(world.ranges.find(page(3 * at + 1)).take().body.first == page(3 * at));
  }
  EXPECT(world.ranges.valid());
  EXPECT_EQ(world.ranges.allocated(), kRanges);
  for (unsigned n = 0; n < kRanges; ++n) ASSERT(world.give(3 * n) == Error::ok);
  EXPECT(world.ranges.valid() && world.pool.out == 0);
}

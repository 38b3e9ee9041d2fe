// SPDX-License-Identifier: MIT
#include "mm/base/sync.hpp"

#include "mm/base/format.hpp"
#include "tests/unit/unit.hpp"

using namespace memory;

namespace {

constexpr Rank kAscending[] = {Rank::log,    Rank::timer, Rank::wait_queue, Rank::run_queue,
                               Rank::zone,   Rank::depot, Rank::cache,      Rank::page_table,
                               Rank::range,  Rank::heap,  Rank::object,     Rank::address_space,
                               Rank::process};

// One lock of each kind. In the kernel a panic does not unwind, so a lock that it was taken under stays held:
// each is used up by the first EXPECT_PANIC that takes it.
struct World {
  Guarded<int, Spin<Rank::zone>> zone{1};
  Guarded<int, IrqSpin<Rank::log>> line{2};
  Guarded<int, Mutex<Rank::object>> object{3};
  Guarded<int, RwLock<Rank::address_space>> space{4};
};
[[maybe_unused]] constinit World static_world;  // needs no initialisation at run time

bool nothing_held() { return lock_order::Snapshot{}.empty(); }

// Takes `inner` while `outer` is held, both spin locks; ends with neither.
void nest_spin(Rank outer, Rank inner) {
  lock_order::enter_spin(outer);
  lock_order::enter_spin(inner);
  lock_order::leave_spin(inner);
  lock_order::leave_spin(outer);
}
void nest_sleeping(Rank outer, Rank inner) {
  lock_order::enter_sleeping(outer);
  lock_order::enter_sleeping(inner);
  lock_order::leave_sleeping(inner);
  lock_order::leave_sleeping(outer);
}

}  // namespace

TEST(sync, ranks_descend_as_designed) {
  Rank below = Rank::none;
  for (const Rank rank : kAscending) {
    EXPECT(below < rank);
    below = rank;
  }
  EXPECT_EQ(name_of(Rank::log), std::string_view("log"));
  EXPECT_EQ(name_of(Rank::process), std::string_view("process"));
  EXPECT_EQ(name_of(Rank{99}), std::string_view("?"));
  static_assert(HeldRanks{}.ranks.size() > std::size(kAscending));  // room for one of each, and a try
}

TEST(sync, every_pair_of_spin_locks_nests_downward_only) {
  for (const Rank outer : kAscending) {
    for (const Rank inner : kAscending) {
      if (inner < outer) {
        nest_spin(outer, inner);
        nest_sleeping(outer, inner);
        continue;
      }
      TextBuffer<64> reason;
      reason.text("lock order: ").text(name_of(inner)).text(" taken while holding ").text(name_of(outer));
      EXPECT_PANIC(nest_spin(outer, inner), reason.view());
      EXPECT_PANIC(nest_sleeping(outer, inner), reason.view());
    }
  }
  EXPECT(nothing_held());
}

TEST(sync, the_lowest_rank_held_counts) {
  World world;
  const auto three = [](Rank first, Rank second, Rank third) {
    lock_order::enter_sleeping(first);
    lock_order::enter_spin(second);
    lock_order::enter_spin(third);
  };
  EXPECT_PANIC(three(Rank::object, Rank::zone, Rank::depot), "depot taken while holding zone");
  if constexpr (!config::debug) return;
  const auto upward_then_between = [&] {  // not always the last one taken: a try goes upward
    Guarded<int, Spin<Rank::timer>> timer{0};
    world.line.with([&](int&) { EXPECT(world.zone.try_with([&](int&) { timer.with([](int&) {}); })); });
  };
  EXPECT_PANIC(upward_then_between(), "lock order: timer taken while holding log");
  EXPECT(nothing_held());
}

TEST(sync, guarded_refuses_the_wrong_order) {
  if constexpr (!config::debug) return;  // not checked there
  World world;
  EXPECT_PANIC(world.line.with([&](int&) { world.zone.with([](int&) {}); }),
               "lock order: zone taken while holding log");
  Guarded<int, Spin<Rank::zone>> other_zone{5};
  EXPECT_PANIC(other_zone.with([&](int&) { world.zone.with([](int&) {}); }),
               "lock order: zone taken while holding zone");
  EXPECT(nothing_held());
}

TEST(sync, no_sleeping_lock_under_a_spin_lock) {
  if constexpr (!config::debug) return;
  World world;
  EXPECT_PANIC(world.zone.with([&](int&) { world.object.with([](int&) {}); }),
               "lock order: object, which may sleep, taken while holding the spin lock zone");
  World other;
  EXPECT_PANIC(other.zone.with([&](int&) { other.space.read([](const int&) {}); }), "which may sleep");
  Guarded<int, Spin<Rank::process>> high{0};  // not even below its rank
  EXPECT_PANIC(high.with([&](int&) { world.object.with([](int&) {}); }), "which may sleep");
  EXPECT(nothing_held());
}

TEST(sync, a_spin_lock_stays_below_the_sleeping_ones) {
  if constexpr (!config::debug) return;
  World world;
  const auto inner = [&](int&) { return world.zone.with([](int& value) { return value; }); };
  EXPECT_EQ(world.object.with(inner), 1);
  Guarded<int, Spin<Rank::process>> high{0};
  EXPECT_PANIC(world.object.with([&](int&) { high.with([](int&) {}); }),
               "lock order: process taken while holding object");
  EXPECT(nothing_held());
}

TEST(sync, with_reaches_the_value_and_returns_a_copy) {
  World world;
  Guarded<int, Mutex<Rank::heap>> guarded{7};
  EXPECT_EQ(guarded.with([](int& value) { return ++value; }), 8);
  EXPECT_EQ(guarded.with([](int& value) -> Result<int> { return value; }).take(), 8);
  const auto& constant = guarded;
  EXPECT_EQ(constant.with([](const int& value) { return value; }), 8);
  EXPECT_EQ(world.space.read([](const int& value) { return value; }), 4);
  EXPECT_EQ(world.space.with([](int& value) { return value; }), 4);
  guarded.with_world_stopped([](int& value) { value = 9; });
  EXPECT_EQ(guarded.with([](int& value) { return value; }), 9);
  EXPECT(nothing_held());
}

TEST(sync, nothing_of_the_value_leaves_its_lock) {
  static_assert(kMayLeaveLock<int> && kMayLeaveLock<void> && kMayLeaveLock<Result<int>>);
  static_assert(kMayLeaveLock<Frame*> && kMayLeaveLock<const Frame*> && kMayLeaveLock<Result<Frame*>>);
  static_assert(!kMayLeaveLock<int&> && !kMayLeaveLock<const int&> && !kMayLeaveLock<int&&>);
  static_assert(!kMayLeaveLock<int*> && !kMayLeaveLock<void*> && !kMayLeaveLock<Result<int*>>);
  static_assert(!kMayLeaveLock<int* const> && !kMayLeaveLock<Frame&>);
}

TEST(sync, a_try_never_waits) {
  World world;
  bool ran = false;
  EXPECT(world.zone.try_with([&](int&) { ran = true; }));
  EXPECT(ran);
  ASSERT(world.zone.try_with([](int&) {}));  // let go again
  world.zone.with([&](int&) { EXPECT(!world.zone.try_with([](int&) { EXPECT(false); })); });
  world.line.with([&](int&) { EXPECT(!world.line.try_with([](int&) { EXPECT(false); })); });
  EXPECT(world.line.try_with([&](int&) { EXPECT(!world.line.try_with([](int&) {})); }));
  EXPECT(nothing_held());
}

TEST(sync, a_try_may_go_upward_but_counts_as_held) {
  if constexpr (!config::debug) return;
  World world;
  world.line.with([&](int&) { EXPECT(world.zone.try_with([](int&) {})); });
  Guarded<int, Spin<Rank::depot>> depot{0};
  EXPECT(world.zone.try_with([&](int&) { world.line.with([](int&) {}); }));
  EXPECT_PANIC((void)world.zone.try_with([&](int&) { depot.with([](int&) {}); }),
               "lock order: depot taken while holding zone");
  EXPECT(nothing_held());
}

TEST(sync, letting_go_of_what_is_not_held_panics) {
  lock_order::enter_spin(Rank::zone);
  EXPECT_PANIC(lock_order::leave_spin(Rank::depot), "depot let go but not held here");
  lock_order::leave_spin(Rank::zone);
  EXPECT_PANIC(lock_order::leave_sleeping(Rank::object),
               "object let go but not held here; the lowest held is none");
  EXPECT(nothing_held());
}

TEST(sync, a_snapshot_brings_the_ranks_back) {
  lock_order::enter_sleeping(Rank::object);
  const lock_order::Snapshot before;
  EXPECT(!before.empty());
  lock_order::enter_spin(Rank::zone);
  lock_order::enter_spin(Rank::log);
  before.restore();
  lock_order::enter_spin(Rank::zone);  // would panic if the former were still recorded
  lock_order::leave_spin(Rank::zone);
  lock_order::leave_sleeping(Rank::object);
  EXPECT(nothing_held());
}

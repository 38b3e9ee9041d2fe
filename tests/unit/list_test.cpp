// SPDX-License-Identifier: MIT
#include "mm/base/list.hpp"

#include "mm/base/random.hpp"
#include "tests/unit/unit.hpp"

using namespace memory;

namespace {

struct Item {
  int number = 0;
  ListNode link;
  ListNode other_link;
};
using Items = List<Item, offsetof(Item, link)>;
using OtherItems = List<Item, offsetof(Item, other_link)>;

constexpr int kItems = 8;
struct World {
  Item items[kItems];
  Items list;
  World() {
    for (int i = 0; i < kItems; ++i) items[i].number = i;
  }
};

// Whether the list holds exactly these numbers, in this order.
template <typename... Numbers>
bool holds(const Items& list, Numbers... numbers) {
  const int expected[] = {numbers..., -1};
  std::size_t at = 0;
  for (const Item& item : list)
    if (at == sizeof...(numbers) || item.number != expected[at++]) return false;
  return at == sizeof...(numbers) && list.size() == at && list.valid();
}

static_assert(std::is_standard_layout_v<Items>);
[[maybe_unused]] constinit Items static_list;  // needs no initialisation at run time

}  // namespace

TEST(list, keeps_the_order_of_both_ends) {
  World world;
  EXPECT(world.list.empty() && world.list.front() == nullptr && world.list.back() == nullptr);
  world.list.push_back(world.items[1]);
  world.list.push_back(world.items[2]);
  world.list.push_front(world.items[0]);
  EXPECT(holds(world.list, 0, 1, 2));
  EXPECT_EQ(world.list.front(), &world.items[0]);
  EXPECT_EQ(world.list.back(), &world.items[2]);
  EXPECT_EQ(world.list.pop_front(), &world.items[0]);
  EXPECT_EQ(world.list.pop_back(), &world.items[2]);
  EXPECT(holds(world.list, 1));
  world.list.pop_front();
  EXPECT_EQ(world.list.pop_front(), nullptr);
  EXPECT_EQ(world.list.pop_back(), nullptr);
  EXPECT(world.list.empty() && world.list.valid());
}

TEST(list, inserts_and_removes_in_the_middle) {
  World world;
  world.list.push_back(world.items[0]);
  world.list.push_back(world.items[3]);
  world.list.insert_before(world.items[3], world.items[1]);
  world.list.insert_before(world.items[0], world.items[4]);
  EXPECT(holds(world.list, 4, 0, 1, 3));
  EXPECT(Items::linked(world.items[1]));
  world.list.remove(world.items[1]);
  EXPECT(!Items::linked(world.items[1]));
  EXPECT(holds(world.list, 4, 0, 3));
}

TEST(list, a_member_is_on_two_lists_by_two_nodes) {
  World world;
  OtherItems other;
  world.list.push_back(world.items[0]);
  world.list.push_back(world.items[1]);
  other.push_back(world.items[1]);
  world.list.remove(world.items[1]);
  EXPECT_EQ(other.front(), &world.items[1]);
  EXPECT(other.valid() && holds(world.list, 0));
}

TEST(list, erases_while_iterating) {
  World world;
  for (Item& item : world.items) world.list.push_back(item);
  for (auto at = world.list.begin(); at != world.list.end();)
    at->number % 3 == 0 ? at = world.list.erase(at) : ++at;
  EXPECT(holds(world.list, 1, 2, 4, 5, 7));
}

TEST(list, splices_in_order) {
  World world;
  Items other;
  world.list.push_back(world.items[0]);
  other.push_back(world.items[1]);
  other.push_back(world.items[2]);
  world.list.splice_back(other);
  EXPECT(holds(world.list, 0, 1, 2));
  EXPECT(other.empty() && other.valid());
}

TEST(list, linking_twice_panics) {
  World world;
  world.list.push_back(world.items[0]);
  EXPECT_PANIC(world.list.push_back(world.items[0]), "on a list already");
}

TEST(list, removing_twice_panics) {
  World world;
  world.list.push_back(world.items[0]);
  world.list.remove(world.items[0]);
  EXPECT_PANIC(world.list.remove(world.items[0]), "it is on no list");
}

// One overwritten link is found by whatever is done next beside it, before anything else is written.
TEST(list, a_corrupt_next_link_is_found_at_removal) {
  World world;
  for (Item& item : world.items) world.list.push_back(item);
  world.items[3].link.next = &world.items[6].link;
  EXPECT(!world.list.valid());
  EXPECT_PANIC(world.list.remove(world.items[3]), "list corrupt at remove");
  EXPECT_PANIC(world.list.remove(world.items[4]), "list corrupt at remove");
  EXPECT_PANIC(world.list.insert_before(world.items[4], world.items[0]), "list");
  world.items[3].link.next = &world.items[4].link;  // nothing else was touched
  EXPECT(holds(world.list, 0, 1, 2, 3, 4, 5, 6, 7));
}

TEST(list, a_corrupt_previous_link_is_found) {
  World world;
  for (int i = 0; i < 4; ++i) world.list.push_back(world.items[i]);
  world.items[2].link.previous = &world.items[0].link;
  EXPECT(!world.list.valid());
  EXPECT_PANIC(world.list.remove(world.items[2]), "list corrupt at remove");
  EXPECT_PANIC(world.list.remove(world.items[1]), "list corrupt at remove");
  EXPECT_PANIC(world.list.insert_before(world.items[2], world.items[5]), "list corrupt at insert before");
  world.items[2].link.previous = nullptr;
  EXPECT(!world.list.valid());
  EXPECT_PANIC(world.list.insert_before(world.items[2], world.items[5]), "list corrupt at insert before");
}

TEST(list, validity_is_bounded_on_a_cycle) {
  World world;
  for (int i = 0; i < 4; ++i) world.list.push_back(world.items[i]);
  world.items[3].link.next = &world.items[1].link;  // a cycle that leaves the head out
  world.items[1].link.previous = &world.items[3].link;
  EXPECT(!world.list.valid());
}

TEST(list, removal_from_the_wrong_list_shows) {
  World world;
  Items other;
  world.list.push_back(world.items[0]);
  world.list.push_back(world.items[1]);
  other.push_back(world.items[2]);
  other.remove(world.items[0]);
  EXPECT(!world.list.valid());
  EXPECT(!other.valid());
}

// The model: an array of numbers that is shifted by hand.
TEST(list, agrees_with_an_array) {
  Random random{unit::seed()};
  World world;
  int model[kItems];
  int length = 0;
  for (int turn = 0; turn < 2000; ++turn) {
    Item& item = world.items[random.below(kItems)];
    int at = 0;
    while (at < length && model[at] != item.number) ++at;
    ASSERT(Items::linked(item) == (at < length));
    if (at < length) {
      world.list.remove(item);
      for (--length; at < length; ++at) model[at] = model[at + 1];
    } else {
      const int place = static_cast<int>(random.between(0, static_cast<std::uint64_t>(length)));
      if (place == length) {
        world.list.push_back(item);
      } else if (place == 0) {
        world.list.push_front(item);
      } else {
        world.list.insert_before(world.items[model[place]], item);
      }
      for (int i = length++; i > place; --i) model[i] = model[i - 1];
      model[place] = item.number;
    }
    int seen = 0;
    for (const Item& member : world.list) ASSERT(seen < length && member.number == model[seen++]);
    ASSERT(seen == length && world.list.valid());
  }
}

// SPDX-License-Identifier: MIT
#include "mm/base/tree.hpp"

#include "mm/base/random.hpp"
#include "tests/unit/unit.hpp"

using namespace memory;

namespace {

// An area of addresses: its key is where it starts, and a subtree knows its largest area.
struct Item {
  unsigned start = 0;
  unsigned length = 0;
  TreeNode node;
  unsigned longest = 0;  // in the subtree
};

struct ByStart {
  using Key = unsigned;
  using Summary = unsigned;
  static Key key(const Item& item) { return item.start; }
  static Summary& summary(Item& item) { return item.longest; }
  static Summary summarise(const Item& item, const Item* left, const Item* right) {
    Summary longest = item.length;
    if (left != nullptr && left->longest > longest) longest = left->longest;
    if (right != nullptr && right->longest > longest) longest = right->longest;
    return longest;
  }
};
using Items = Tree<Item, offsetof(Item, node), ByStart>;

struct PlainByStart {
  using Key = unsigned;
  static Key key(const Item& item) { return item.start; }
};
using PlainItems = Tree<Item, offsetof(Item, node), PlainByStart>;
static_assert(Items::kAugmented && !PlainItems::kAugmented);

constexpr unsigned kItems = 300;
Item items[kItems];  // item i starts at 10 i

void reset_items() {
  for (unsigned i = 0; i < kItems; ++i) items[i] = Item{10 * i, 1 + i % 7, {}, 0};
}

// Fresh items; the tree holds those whose numbers are `from`, `from + step` ... below `end`.
void fill(Items& tree, unsigned from, unsigned end, unsigned step) {
  reset_items();
  for (unsigned i = from; i < end; i += step) EXPECT(tree.insert(items[i]).ok());
}

unsigned height(const Item* item) {
  if (item == nullptr) return 0;
  const unsigned left = height(Items::left(*item)), right = height(Items::right(*item));
  return 1 + (left > right ? left : right);
}

}  // namespace

TEST(tree, stays_balanced_however_it_is_filled) {
  Items up, down, zigzag;
  fill(up, 0, kItems, 1);
  EXPECT(up.valid());
  EXPECT_EQ(height(up.root()), 9u);  // 300 < 2^9: as flat as can be

  fill(down, kItems, kItems, 1);
  for (unsigned i = kItems; i > 0; --i) EXPECT(down.insert(items[i - 1]).ok());
  EXPECT(down.valid());
  EXPECT_EQ(height(down.root()), 9u);

  fill(zigzag, kItems, kItems, 1);
  for (unsigned i = 0; i < kItems; ++i)
    EXPECT(zigzag.insert(items[i % 2 == 0 ? i / 2 : kItems - 1 - i / 2]).ok());
  EXPECT(zigzag.valid());
  EXPECT(height(zigzag.root()) <= 11);  // 1.44 log2(300)
}

TEST(tree, finds_what_is_there_and_its_neighbours) {
  Items tree;
  fill(tree, 1, kItems, 2);  // 10, 30, 50 ...
  EXPECT_EQ(tree.find(30), &items[3]);
  EXPECT_EQ(tree.find(40), nullptr);
  EXPECT_EQ(tree.floor(30), &items[3]);
  EXPECT_EQ(tree.floor(49), &items[3]);
  EXPECT_EQ(tree.floor(9), nullptr);
  EXPECT_EQ(tree.lower_bound(30), &items[3]);
  EXPECT_EQ(tree.lower_bound(31), &items[5]);
  EXPECT_EQ(tree.lower_bound(10 * kItems), nullptr);
  EXPECT_EQ(tree.upper_bound(30), &items[5]);
  EXPECT_EQ(tree.upper_bound(29), &items[3]);
  EXPECT_EQ(tree.first(), &items[1]);
  EXPECT_EQ(tree.last(), &items[299]);
  EXPECT_EQ(Items::next(items[3]), &items[5]);
  EXPECT_EQ(Items::previous(items[3]), &items[1]);
  EXPECT_EQ(Items::next(items[299]), nullptr);
  EXPECT_EQ(Items::previous(items[1]), nullptr);
}

TEST(tree, an_empty_tree_has_nothing) {
  Items tree;
  EXPECT(tree.empty() && tree.valid() && tree.size() == 0);
  EXPECT(tree.first() == nullptr && tree.last() == nullptr && tree.root() == nullptr);
  EXPECT(tree.find(1) == nullptr && tree.floor(1) == nullptr && tree.lower_bound(1) == nullptr);
  const Items::Place place = tree.place(1);
  EXPECT(place.found() == nullptr && place.previous() == nullptr && place.next() == nullptr);
}

TEST(tree, a_place_is_walked_to_once) {
  Items tree;
  fill(tree, 1, 60, 2);
  const Items::Place taken = tree.place(30);
  EXPECT_EQ(taken.found(), &items[3]);
  for (unsigned i = 0; i < 60; i += 2) {
    const Items::Place place = tree.place(10 * i);
    ASSERT(place.found() == nullptr);
    EXPECT_EQ(place.previous(), i == 0 ? nullptr : &items[i - 1]);
    EXPECT_EQ(place.next(), &items[i + 1]);
    tree.insert(place, items[i]);
    ASSERT(tree.valid());
  }
  EXPECT_EQ(tree.size(), 60u);
}

TEST(tree, a_known_neighbour_needs_no_walk) {
  Items tree;
  fill(tree, 0, 200, 4);
  for (unsigned i = 0; i < 200; i += 4) {
    tree.insert_after(items[i], items[i + 2]);
    tree.insert_before(items[i + 2], items[i + 1]);
    tree.insert_after(items[i + 2], items[i + 3]);
    ASSERT(tree.valid());
  }
  unsigned expected = 0;
  for (const Item* at = tree.first(); at != nullptr; at = Items::next(*at)) ASSERT(at == &items[expected++]);
  EXPECT_EQ(expected, 200u);
}

TEST(tree, refuses_a_key_that_is_taken) {
  Items tree;
  fill(tree, 0, 10, 1);
  Item twin{30, 1, {}, 0};
  EXPECT_EQ(tree.insert(twin).error(), Error::exists);
  EXPECT(!Items::linked(twin) && tree.valid() && tree.size() == 10);
}

TEST(tree, replaces_in_place) {
  Items tree;
  fill(tree, 0, 50, 1);
  for (unsigned i = 0; i < 50; ++i) {
    Item fresh{10 * i + 3, 100 + i, {}, 100 + i};  // its summary is right by accident: still carried upward
    tree.replace(items[i], fresh);
    ASSERT(tree.valid());
    EXPECT_EQ(tree.root()->longest, 100 + i);
    EXPECT(!Items::linked(items[i]));
    tree.replace(fresh, items[i]);
    ASSERT(tree.valid());
  }
}

TEST(tree, a_summary_follows_its_member) {
  Items tree;
  fill(tree, 0, kItems, 1);
  EXPECT_EQ(tree.root()->longest, 7u);
  items[123].length = 50;
  EXPECT(!tree.valid());
  tree.refresh(items[123]);
  EXPECT(tree.valid());
  EXPECT_EQ(tree.root()->longest, 50u);
  tree.erase(items[123]);
  EXPECT(tree.valid());
  EXPECT_EQ(tree.root()->longest, 7u);
}

TEST(tree, erases_leaves_twigs_and_roots) {
  for (unsigned size = 1; size <= 16; ++size) {
    for (unsigned gone = 0; gone < size; ++gone) {
      Items tree;
      fill(tree, 0, size, 1);
      tree.erase(items[gone]);
      ASSERT(tree.valid() && tree.size() == size - 1 && !Items::linked(items[gone]));
      ASSERT(tree.find(10 * gone) == nullptr);
    }
  }
}

TEST(tree, misuse_panics) {
  Items tree;
  fill(tree, 0, 3, 1);
  EXPECT_PANIC(tree.erase(items[5]), "in no tree");
  EXPECT_PANIC(tree.insert(tree.place(15), items[2]), config::debug ? "between(" : "in a tree already");
  Items other;
  EXPECT_PANIC(other.insert(other.place(20), items[2]), "in a tree already");
  items[0].node.parent = &items[2].node;  // a parent that knows nothing of it
  EXPECT_PANIC(tree.erase(items[0]), "not where its parent points");
}

TEST(tree, validity_finds_each_kind_of_damage) {
  Items tree;
  fill(tree, 0, 40, 1);
  EXPECT(tree.valid());
  Item& root = *tree.root();
  Item& left = *Items::left(root);

  root.node.balance ^= 1;
  EXPECT(!tree.valid());
  root.node.balance ^= 1;

  left.node.parent = &left.node;
  EXPECT(!tree.valid());
  left.node.parent = &root.node;

  std::swap(root.node.child[0], root.node.child[1]);
  EXPECT(!tree.valid());
  std::swap(root.node.child[0], root.node.child[1]);

  TreeNode* const cut = left.node.child[0];
  left.node.child[0] = nullptr;
  EXPECT(!tree.valid());
  left.node.child[0] = &root.node;  // a cycle
  EXPECT(!tree.valid());
  left.node.child[0] = left.node.child[1];  // two ways to one node
  EXPECT(!tree.valid());
  left.node.child[0] = cut;

  left.start += 1000;
  EXPECT(!tree.valid());
  left.start -= 1000;
  left.longest += 1;
  EXPECT(!tree.valid());
  left.longest -= 1;
  EXPECT(tree.valid());
}

namespace {

// The model: which items are in, by number, so ascending by construction.
struct Model {
  bool in[kItems] = {};

  const Item* at_or_above(unsigned number) const {
    for (; number < kItems; ++number)
      if (in[number]) return &items[number];
    return nullptr;
  }
  const Item* at_or_below(int number) const {
    for (; number >= 0; --number)
      if (in[number]) return &items[number];
    return nullptr;
  }
};

template <typename Index>
void run_against_model(Index& tree, Random random) {
  static Model model;
  model = Model{};
  for (unsigned turn = 0; turn < 4000; ++turn) {
    // Waves: mostly filling, then mostly emptying, so that every size is passed through.
    const bool filling = turn / 500 % 2 == 0;
    const unsigned i = static_cast<unsigned>(random.below(kItems));
    if (!model.in[i] && (filling || random.one_in(4))) {
      ASSERT(tree.insert(items[i]).ok());
      model.in[i] = true;
    } else if (model.in[i] && (!filling || random.one_in(4))) {
      tree.erase(items[i]);
      model.in[i] = false;
    }
    const unsigned key = static_cast<unsigned>(random.below(10 * kItems));
    ASSERT(tree.floor(key) == model.at_or_below(static_cast<int>(key / 10)));
    ASSERT(tree.lower_bound(key) == model.at_or_above((key + 9) / 10));
    ASSERT(tree.find(10 * i) == (model.in[i] ? &items[i] : nullptr));
    if (turn % 16 == 0) ASSERT(tree.valid());
  }
  std::size_t size = 0;
  const Item* at = tree.first();
  for (unsigned i = 0; i < kItems; ++i) {
    if (!model.in[i]) continue;
    ++size;
    ASSERT(at == &items[i]);
    at = Index::next(*at);
  }
  EXPECT(at == nullptr && tree.size() == size && tree.valid());
}

}  // namespace

TEST(tree, agrees_with_a_sorted_array) {
  for (std::uint64_t run = 0; run < 3; ++run) {
    Items tree;
    reset_items();
    run_against_model(tree, Random{unit::seed() + run});
    PlainItems plain;
    reset_items();
    run_against_model(plain, Random{unit::seed() + run});
  }
}

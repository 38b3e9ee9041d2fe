// Instructions of the tree per operation, by size: run it under callgrind, see `usage`.
//
// Random order, keys are page addresses, the members lie apart like areas do. The loop, the call and the
// choice of the member are in the figures (4-6 instructions).
// SPDX-License-Identifier: MIT
#include <cstdio>
#include <cstdlib>
#include <vector>

#include "mm/base/random.hpp"
#include "mm/base/tree.hpp"

using namespace memory;

namespace {

constexpr char kUsage[] =
    "usage: valgrind --tool=callgrind --callgrind-out-file=/dev/null --collect-atstart=no \\\n"
    "         --toggle-collect='find_each*' tree_bench MEMBERS OPERATIONS\n"
    "then divide \"Collected\" by OPERATIONS; likewise floor_each, churn_each, churn_plain_each.\n";

struct Area {
  VirtAddr first;
  VirtAddr end;
  TreeNode node;
  std::uint64_t gap = 0;         // before this area
  std::uint64_t widest_gap = 0;  // in the subtree
};

struct ByAddress {
  using Key = VirtAddr;
  using Summary = std::uint64_t;
  static Key key(const Area& area) { return area.first; }
  static Summary& summary(Area& area) { return area.widest_gap; }
  static Summary summarise(const Area& area, const Area* left, const Area* right) {
    Summary widest = area.gap;
    if (left != nullptr && left->widest_gap > widest) widest = left->widest_gap;
    if (right != nullptr && right->widest_gap > widest) widest = right->widest_gap;
    return widest;
  }
};
struct PlainByAddress {
  using Key = VirtAddr;
  static Key key(const Area& area) { return area.first; }
};
using Areas = Tree<Area, offsetof(Area, node), ByAddress>;
using PlainAreas = Tree<Area, offsetof(Area, node), PlainByAddress>;

}  // namespace

// Not in a namespace: callgrind matches these names.
[[gnu::noinline]] std::uint64_t find_each(const Areas& tree, const std::vector<Area*>& order) {
  std::uint64_t sum = 0;
  for (const Area* area : order) sum += tree.find(area->first)->end.value;
  return sum;
}
[[gnu::noinline]] std::uint64_t floor_each(const Areas& tree, const std::vector<Area*>& order) {
  std::uint64_t sum = 0;
  for (const Area* area : order) sum += tree.floor(area->first + 8)->end.value;
  return sum;
}
[[gnu::noinline]] void churn_each(Areas& tree, const std::vector<Area*>& order) {
  for (Area* area : order) {
    tree.erase(*area);
    tree.insert(tree.place(area->first), *area);
  }
}
[[gnu::noinline]] void churn_plain_each(PlainAreas& tree, const std::vector<Area*>& order) {
  for (Area* area : order) {
    tree.erase(*area);
    tree.insert(tree.place(area->first), *area);
  }
}

int main(int count, char** words) {
  if (count != 3) {
    std::fputs(kUsage, stderr);
    return 2;
  }
  const std::size_t members = std::strtoull(words[1], nullptr, 0);
  const std::size_t operations = std::strtoull(words[2], nullptr, 0);
  Random random{1};
  std::vector<Area> areas(members), plain_areas(members);
  Areas tree;
  PlainAreas plain;
  for (std::size_t i = 0; i < members; ++i) {
    Area& area = areas[i];
    do {
      area.first = VirtAddr{random.below(members * 16) * kPageSize};
      area.gap = random.below(1_MiB);
    } while (!tree.insert(area).ok());
    area.end = area.first + kPageSize;
    plain_areas[i] = Area{area.first, area.end, {}};
    if (!plain.insert(plain_areas[i]).ok()) return 1;
  }
  std::vector<Area*> order, plain_order;
  for (std::size_t i = 0; i < operations; ++i) {
    const std::size_t pick = random.below(members);
    order.push_back(&areas[pick]);
    plain_order.push_back(&plain_areas[pick]);
  }
  std::uint64_t sum = find_each(tree, order) + floor_each(tree, order);
  churn_each(tree, order);
  churn_plain_each(plain, plain_order);
  std::printf("%zu members, check sum %llx, valid: %d %d\n", members, static_cast<unsigned long long>(sum),
              tree.valid(), plain.valid());
  return tree.valid() && plain.valid() ? 0 : 1;
}

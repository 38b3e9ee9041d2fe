// Theory. An AVL tree: the heights of a node's subtrees differ by at most one, so n members lie at most
// 1.44 log2(n) deep (Knuth, TAOCP 3, 6.2.3). A change walks up from where it happened, until a subtree is as
// high as before; an insertion rotates at most once, a removal at most once per level.
//
// Invariants, proved by valid():
//   T1  child.parent == node for both children; the root's parent is null; size nodes are reached
//   T2  balance == height(right) - height(left), -1 .. 1
//   T3  keys ascend in order (Tree)
//   T4  each summary is what its node and its children's summaries give (Tree)
//
// A rotation changes the shape of a subtree, not its members, so no summary above it changes: each change
// first brings T4 up to date along the old shape, then rotates, refreshing only the nodes that turn.
// SPDX-License-Identifier: MIT
#include "mm/base/tree.hpp"

#include <array>

#include "mm/base/format.hpp"

namespace memory {

namespace {

constexpr std::size_t kMaxHeight = 64;  // of 2^44 members

constexpr std::int8_t towards(Side side) { return side == Side::right ? 1 : -1; }

void adopt(TreeNode& parent, Side side, TreeNode* child) {
  parent.at(side) = child;
  if (child != nullptr) child->parent = &parent;
}

}  // namespace

// Where the tree points to `node`. Panics when its parent does not.
inline TreeNode*& TreeCore::slot_of(TreeNode& node) {
  TreeNode* const parent = node.parent;
  TreeNode*& slot = parent == nullptr ? root : parent->at(parent->side_of(&node));
  if (slot != &node) [[unlikely]]
    panic_misuse("not where its parent points", node);
  return slot;
}

// Turns `top` down to the lighter side, where `heavy` is two higher. Returns the subtree's new top.
//
//     top              x                  top                z
//    /   |            / |                /   |            /     |
//   a    x     ->   top  c              a    x     ->   top     x        (drawn for heavy == right)
//       / |        /  |                     / |        /  |    / |
//      b   c      a    b                   z   c      a    b  d   c
//                                         / |
//                                        b   d
TreeNode* TreeCore::rotate(TreeNode& top, Side heavy, Refresh refresh) {
  const Side light = opposite(heavy);
  const std::int8_t lean = towards(heavy);
  TreeNode*& slot = slot_of(top);
  TreeNode& x = *top.at(heavy);
  TreeNode* up = &x;
  if (x.balance != -lean) {
    adopt(top, heavy, x.at(light));
    top.balance = static_cast<std::int8_t>(lean - x.balance);
    x.balance = static_cast<std::int8_t>(x.balance - lean);
  } else {
    up = x.at(light);
    adopt(x, light, up->at(heavy));
    adopt(top, heavy, up->at(light));
    top.balance = static_cast<std::int8_t>(up->balance == lean ? -lean : 0);
    x.balance = static_cast<std::int8_t>(up->balance == -lean ? lean : 0);
    up->balance = 0;
    up->at(heavy) = &x;
    x.parent = up;
  }
  up->parent = top.parent;
  slot = up;
  up->at(light) = &top;
  top.parent = up;
  if (refresh != nullptr) {
    refresh(top);
    if (up != &x) refresh(x);
    refresh(*up);
  }
  return up;
}

// The subtree of `child` is one higher than it was.
inline void TreeCore::grown(TreeNode* child, Refresh refresh) {
  for (TreeNode* parent = child->parent; parent != nullptr; child = parent, parent = child->parent) {
    const Side side = parent->side_of(child);
    const std::int8_t lean = towards(side);
    if (parent->balance == lean) {
      rotate(*parent, side, refresh);
      return;
    }
    parent->balance = static_cast<std::int8_t>(parent->balance + lean);
    if (parent->balance == 0) return;
  }
}

// The subtree of `parent` on `side` is one lower than it was.
inline void TreeCore::shrunk(TreeNode* parent, Side side, Refresh refresh) {
  while (parent != nullptr) {
    const Side heavy = opposite(side);
    const std::int8_t lean = towards(heavy);
    TreeNode* top = parent;
    if (parent->balance == lean) {
      const bool as_high = parent->at(heavy)->balance == 0;
      top = rotate(*parent, heavy, refresh);
      if (as_high) return;
    } else {
      parent->balance = static_cast<std::int8_t>(parent->balance + lean);
      if (parent->balance != 0) return;
    }
    parent = top->parent;
    if (parent != nullptr) side = parent->side_of(top);
  }
}

void TreeCore::link(TreeNode* parent, Side side, TreeNode& node, Refresh refresh) {
  if (node.linked()) [[unlikely]]
    panic_misuse("in a tree already", node);
  TreeNode*& slot = parent == nullptr ? root : parent->at(side);
  if (slot != nullptr) [[unlikely]]
    panic_misuse("linked at a place that is taken", *slot);
  slot = &node;
  node.child[0] = node.child[1] = nullptr;
  node.parent = parent;
  node.balance = 0;
  ++size;
  if (refresh != nullptr) {
    refresh(node);
    refresh_upward(parent, refresh);
  }
  grown(&node, refresh);
}

// Takes out a node with at most one child, which moves up.
inline TreeCore::Lowered TreeCore::cut(TreeNode& node) {
  TreeNode*& slot = slot_of(node);
  TreeNode* const parent = node.parent;
  const Side side = parent == nullptr ? Side::left : parent->side_of(&node);
  TreeNode* const child = node.child[0] != nullptr ? node.child[0] : node.child[1];
  slot = child;
  if (child != nullptr) child->parent = parent;
  return {parent, side, nullptr};
}

// Takes out a node with two children: its neighbour from the higher side, which has no inner child, becomes
// heir to its place.
inline TreeCore::Lowered TreeCore::cut_for_heir(TreeNode& node) {
  TreeNode*& slot = slot_of(node);
  const Side outer = node.balance < 0 ? Side::left : Side::right;
  const Side inner = opposite(outer);
  TreeNode* heir = node.at(outer);
  Lowered lowered{heir, outer, heir};
  if (heir->at(inner) != nullptr) {
    do heir = heir->at(inner);
    while (heir->at(inner) != nullptr);
    lowered = {heir->parent, inner, heir};
    adopt(*heir->parent, inner, heir->at(outer));
    adopt(*heir, outer, node.at(outer));
  }
  adopt(*heir, inner, node.at(inner));
  heir->balance = node.balance;
  heir->parent = node.parent;
  slot = heir;
  return lowered;
}

void TreeCore::unlink(TreeNode& node, Refresh refresh) {
  if (!node.linked()) [[unlikely]]
    panic_misuse("in no tree", node);
  const bool both = node.child[0] != nullptr && node.child[1] != nullptr;
  const Lowered lowered = both ? cut_for_heir(node) : cut(node);
  --size;
  node.child[0] = node.child[1] = node.parent = nullptr;
  node.balance = TreeNode::kUnlinked;

  if (refresh != nullptr) {
    TreeNode* at = lowered.parent;
    if (lowered.heir != nullptr) {  // up to the heir nothing says that the rest is as it was
      for (; at != lowered.heir; at = at->parent) refresh(*at);
      refresh(*at);
      at = at->parent;
    }
    refresh_upward(at, refresh);
  }
  shrunk(lowered.parent, lowered.side, refresh);
}

void TreeCore::replace(TreeNode& old, TreeNode& fresh) {
  if (!old.linked()) [[unlikely]]
    panic_misuse("in no tree", old);
  if (fresh.linked()) [[unlikely]]
    panic_misuse("in a tree already", fresh);
  slot_of(old) = &fresh;
  adopt(fresh, Side::left, old.child[0]);
  adopt(fresh, Side::right, old.child[1]);
  fresh.parent = old.parent;
  fresh.balance = old.balance;
  old = TreeNode{};
}

void TreeCore::refresh_upward(TreeNode* from, Refresh refresh) {
  while (from != nullptr && refresh(*from)) from = from->parent;
}

TreeNode* TreeCore::neighbour(const TreeNode& node, Side side) {
  const Side back = opposite(side);
  TreeNode* at = node.at(side);
  if (at != nullptr) {
    while (at->at(back) != nullptr) at = at->at(back);
    return at;
  }
  const TreeNode* below = &node;
  for (at = node.parent; at != nullptr && at->at(side) == below; at = at->parent) below = at;
  return at;
}

TreeNode* TreeCore::outermost(Side side) const {
  TreeNode* at = root;
  while (at != nullptr && at->at(side) != nullptr) at = at->at(side);
  return at;
}

// Post-order, one byte per level: down to a child only when it points back (T1), up with the height below.
bool TreeCore::valid_shape() const {
  if (root == nullptr) return size == 0;
  if (root->parent != nullptr) return false;
  std::array<std::uint8_t, kMaxHeight> left_height{};
  std::size_t depth = 0;
  std::size_t reached = 1;
  const TreeNode* at = root;
  unsigned next_child = 0;  // of `at`; 2: both are done
  int height = 0;           // of the subtree that was done last
  while (true) {
    if (next_child < 2) {
      const TreeNode* const child = at->child[next_child];
      if (child != nullptr) {
        if (child->parent != at || child == at->child[1 - next_child]) return false;  // T1
        if (++reached > size || ++depth == kMaxHeight) return false;
        at = child;
        next_child = 0;
        continue;
      }
      height = 0;
    } else {
      const int lower = left_height[depth];
      const int balance = height - lower;
      if (balance != at->balance || balance < -1 || balance > 1) return false;  // T2
      height = 1 + (balance > 0 ? height : lower);
      if (at == root) return reached == size;
      next_child = static_cast<unsigned>(at->parent->side_of(at));
      at = at->parent;
      --depth;
    }
    if (next_child == 0) left_height[depth] = static_cast<std::uint8_t>(height);
    ++next_child;
  }
}

[[gnu::cold]] void TreeCore::panic_misuse(std::string_view what, const TreeNode& node) {
  const auto number = [](const TreeNode* at) { return reinterpret_cast<std::uintptr_t>(at); };
  TextBuffer<192> reason;
  reason.text("tree: node ").hex(number(&node)).text(" is ").text(what);
  reason.text(": parent ").hex(number(node.parent)).text(", left ").hex(number(node.child[0]));
  reason.text(", right ").hex(number(node.child[1]));
  platform::panic(reason.view());
}

}  // namespace memory

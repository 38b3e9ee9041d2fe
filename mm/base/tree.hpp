// Tree: an intrusive, augmented AVL tree of unique keys. It allocates nothing and owns no member.
//
// One walk per operation: place(key) finds where a key is or would be, insert(place, member) links it there;
// insert_before() and insert_after() link beside a neighbour that is known, without a walk.
//
// Traits say what the order is, and what a subtree knows about its members:
//   using Key                                          compared with == and <
//   static Key key(const T&)
// and, for an augmented tree:
//   using Summary                                      compared with ==
//   static Summary& summary(T&)                        the member's room for it
//   static Summary summarise(const T&, const T* left, const T* right)
//                                                      from the member itself and its children's summaries
// A summary must depend on the members of the subtree in their order, not on its shape (largest gap, count,
// highest end do).
//
// Whoever looks from outside (GDB, drgn, Python) reads Tree<T, 16, Traits>: a TreeCore whose members are Ts,
// each linked by the TreeNode at byte 16 in it. Not synchronised.
// SPDX-License-Identifier: MIT
#pragma once
#include <cstddef>
#include <cstdint>
#include <string_view>
#include <type_traits>

#include "mm/base/check.hpp"
#include "mm/base/result.hpp"

namespace memory {

enum class Side : std::uint8_t { left, right };
constexpr Side opposite(Side side) { return side == Side::left ? Side::right : Side::left; }

// What a member carries, once for every tree that it can be in at the same time.
struct TreeNode {
  static constexpr std::int8_t kUnlinked = 2;

  TreeNode* child[2] = {nullptr, nullptr};  // left, right
  TreeNode* parent = nullptr;               // null: the root
  std::int8_t balance = kUnlinked;          // height(right) - height(left)

  bool linked() const { return balance != kUnlinked; }
  TreeNode* at(Side side) const { return child[static_cast<unsigned>(side)]; }
  TreeNode*& at(Side side) { return child[static_cast<unsigned>(side)]; }
  Side side_of(const TreeNode* of) const { return of == child[1] ? Side::right : Side::left; }
};
static_assert(std::is_standard_layout_v<TreeNode> && sizeof(TreeNode) == 32);

// The part of a tree that knows no keys: links, balance, the walk from neighbour to neighbour.
class TreeCore {
 public:
  // Recomputes the summary of a node from its children's; says whether it changed. Null: not augmented.
  using Refresh = bool (*)(TreeNode&);

  constexpr TreeCore() = default;
  TreeCore(const TreeCore&) = delete;
  TreeCore& operator=(const TreeCore&) = delete;

  // Links `node`, which panics when it is linked already, as the child that `parent` lacks on `side`; as the
  // root of an empty tree when `parent` is null.
  void link(TreeNode* parent, Side side, TreeNode& node, Refresh refresh);
  // Panics when `node` is not linked, or when its neighbours in the tree do not agree that it is.
  void unlink(TreeNode& node, Refresh refresh);
  // Puts `fresh` where `old` was.
  void replace(TreeNode& old, TreeNode& fresh);
  // Refreshes `from` and its ancestors until a summary is as it was.
  static void refresh_upward(TreeNode* from, Refresh refresh);

  static TreeNode* neighbour(const TreeNode& node, Side side);  // in order; null at the end
  TreeNode* outermost(Side side) const;                         // null when empty

  // Parent links, balance, height and count. Bounded by size; follows no link that it has not proved.
  bool valid_shape() const;

  TreeNode* root = nullptr;
  std::size_t size = 0;

 private:
  TreeNode*& slot_of(TreeNode& node);
  TreeNode* rotate(TreeNode& top, Side heavy, Refresh refresh);
  void grown(TreeNode* child, Refresh refresh);
  void shrunk(TreeNode* parent, Side side, Refresh refresh);
  struct Lowered {     // what a removal leaves to be done:
    TreeNode* parent;  // its subtree
    Side side;         // on this side got lower
    TreeNode* heir;    // took the place of the removed node, or null
  };
  Lowered cut(TreeNode& node);
  Lowered cut_for_heir(TreeNode& node);
  [[noreturn]] static void panic_misuse(std::string_view what, const TreeNode& node);
};

static_assert(std::is_standard_layout_v<TreeCore> && sizeof(TreeCore) == 16);

// kLink is offsetof(T, the TreeNode). A member stays where it is in memory, and keeps its key's place among
// the others, while it is in the tree.
template <typename T, std::size_t kLink, typename Traits>
class Tree {
 public:
  using Key = typename Traits::Key;
  static constexpr bool kAugmented = requires { typename Traits::Summary; };

  constexpr Tree() = default;

  bool empty() const { return core_.root == nullptr; }
  std::size_t size() const { return core_.size; }

  // -- looking; each returns null when there is none
  T* find(const Key& key) const {
    TreeNode* at = core_.root;
    while (at != nullptr) {
      const Key here = Traits::key(owner(*at));
      if (here == key) return &owner(*at);
      at = at->child[here < key];
    }
    return nullptr;
  }
  T* lower_bound(const Key& key) const {  // the first at or above the key
    return last_left([&](const Key& here) { return here < key; });
  }
  T* upper_bound(const Key& key) const {  // the first above the key
    return last_left([&](const Key& here) { return !(key < here); });
  }
  T* floor(const Key& key) const {  // the last at or below the key
    TreeNode* at = core_.root;
    TreeNode* best = nullptr;
    while (at != nullptr) {
      const bool above = key < Traits::key(owner(*at));
      best = above ? best : at;
      at = at->child[!above];
    }
    return maybe(best);
  }
  T* first() const { return maybe(core_.outermost(Side::left)); }
  T* last() const { return maybe(core_.outermost(Side::right)); }
  static T* next(const T& member) { return maybe(TreeCore::neighbour(node(member), Side::right)); }
  static T* previous(const T& member) { return maybe(TreeCore::neighbour(node(member), Side::left)); }

  // For walks that a summary guides.
  T* root() const { return maybe(core_.root); }
  static T* left(const T& member) { return maybe(node(member).child[0]); }
  static T* right(const T& member) { return maybe(node(member).child[1]); }
  static T* parent(const T& member) { return maybe(node(member).parent); }

  // Where a key is, or would be. Good until the tree changes.
  class Place {
   public:
    T* found() const { return found_; }                 // the member with this key, or null
    T* previous() const { return beside(Side::left); }  // the neighbours of a key that was not found
    T* next() const { return beside(Side::right); }

   private:
    friend Tree;
    T* beside(Side side) const {
      if (parent_ == nullptr) return nullptr;
      return maybe(side_ != side ? parent_ : TreeCore::neighbour(*parent_, side));
    }
    T* found_ = nullptr;
    TreeNode* parent_ = nullptr;
    Side side_ = Side::left;
  };

  Place place(const Key& key) const {
    Place place;
    unsigned side = 0;
    for (TreeNode* at = core_.root; at != nullptr; at = at->child[side]) {
      const Key here = Traits::key(owner(*at));
      if (here == key) {
        place.found_ = &owner(*at);
        return place;
      }
      place.parent_ = at;
      side = here < key;
    }
    place.side_ = static_cast<Side>(side);
    return place;
  }

  // -- changing
  // Fails with exists when the key is taken; nothing has changed then.
  Result<void> insert(T& member) {
    const Place where = place(Traits::key(member));
    if (where.found() != nullptr) return Error::exists;
    core_.link(where.parent_, where.side_, node(member), kRefresh);
    return {};
  }
  // Preconditions: place(key of member), nothing found, and no change since.
  void insert(const Place& place, T& member) {
    DCHECK(place.found() == nullptr && between(place.previous(), member, place.next()));
    core_.link(place.parent_, place.side_, node(member), kRefresh);
  }
  // Preconditions: the key of `member` lies between `position` and its neighbour on that side.
  void insert_before(T& position, T& member) { insert_beside(position, Side::left, member); }
  void insert_after(T& position, T& member) { insert_beside(position, Side::right, member); }

  void erase(T& member) { core_.unlink(node(member), kRefresh); }  // precondition: it is in this tree

  // `fresh` takes the place of `old`. Precondition: its key fits between the neighbours of `old`.
  void replace(T& old, T& fresh) {
    if constexpr (kAugmented) Traits::summary(fresh) = Traits::summary(old);  // what the ancestors know
    core_.replace(node(old), node(fresh));
    DCHECK(between(previous(fresh), fresh, next(fresh)));
    refresh(fresh);
  }
  // After what summarise() reads in the member itself has changed.
  void refresh(T& member) {
    if constexpr (kAugmented) TreeCore::refresh_upward(&node(member), kRefresh);
  }

  static bool linked(const T& member) { return node(member).linked(); }

  // For outside readers.
  const TreeCore& core() const { return core_; }

  // Proves shape, balance, order and summaries (T1 .. T4 in tree.cpp). O(size), changes nothing.
  bool valid() const {
    if (!core_.valid_shape()) return false;
    const T* before = nullptr;
    for (const T* at = first(); at != nullptr; before = at, at = next(*at)) {
      if (before != nullptr && !(Traits::key(*before) < Traits::key(*at))) return false;
      if constexpr (kAugmented) {
        if (!(Traits::summary(*const_cast<T*>(at)) == Traits::summarise(*at, left(*at), right(*at))))
          return false;
      }
    }
    return true;
  }

 private:
  static TreeNode& node(const T& member) {
    return *reinterpret_cast<TreeNode*>(reinterpret_cast<std::byte*>(const_cast<T*>(&member)) + kLink);
  }
  static T& owner(TreeNode& node) {
    return *reinterpret_cast<T*>(reinterpret_cast<std::byte*>(&node) - kLink);
  }
  static T* maybe(TreeNode* node) { return node == nullptr ? nullptr : &owner(*node); }

  static bool refresh_node(TreeNode& node) {
    if constexpr (kAugmented) {
      T& member = owner(node);
      const typename Traits::Summary now = Traits::summarise(member, left(member), right(member));
      typename Traits::Summary& room = Traits::summary(member);
      const bool changed = !(room == now);
      room = now;
      return changed;
    } else {
      return false;
    }
  }
  static constexpr TreeCore::Refresh kRefresh = kAugmented ? &refresh_node : nullptr;

  static bool between(const T* low, const T& member, const T* high) {
    const Key key = Traits::key(member);
    return (low == nullptr || Traits::key(*low) < key) && (high == nullptr || key < Traits::key(*high));
  }

  // The last node from which the walk went left: the first in order that `goes_right` refuses.
  template <typename GoesRight>
  T* last_left(GoesRight goes_right) const {
    TreeNode* at = core_.root;
    TreeNode* best = nullptr;
    while (at != nullptr) {
      const bool below = goes_right(Traits::key(owner(*at)));
      best = below ? best : at;
      at = at->child[below];
    }
    return maybe(best);
  }

  void insert_beside(T& position, Side side, T& member) {
    TreeNode& at = node(position);
    TreeNode* const other = at.at(side) == nullptr ? nullptr : TreeCore::neighbour(at, side);
    if (other == nullptr) {
      core_.link(&at, side, node(member), kRefresh);
    } else {
      core_.link(other, opposite(side), node(member), kRefresh);
    }
    DCHECK(between(previous(member), member, next(member)));
  }

  TreeCore core_;
};

}  // namespace memory

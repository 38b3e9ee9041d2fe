// List: an intrusive, circular, doubly linked list. It allocates nothing and owns no member.
//
// Every insertion and removal checks the links around it, always, and panics with their addresses when they
// disagree: an overwritten link is found before it is followed.
//
// Whoever looks from outside (GDB, drgn, Python) reads List<T, 16>: a ListHead whose members are Ts, each
// linked by the ListNode at byte 16 in it. Not synchronised: the list lives in the Guarded of what it lists.
// SPDX-License-Identifier: MIT
#pragma once
#include <cstddef>
#include <string_view>
#include <type_traits>

namespace memory {

// What a member carries, once for every list that it can be on at the same time. Not linked: both null.
struct ListNode {
  ListNode* next = nullptr;
  ListNode* previous = nullptr;

  constexpr bool linked() const { return next != nullptr; }
};
static_assert(std::is_standard_layout_v<ListNode> && sizeof(ListNode) == 16);

// What every List consists of, for outside readers: its first node is next, its last is previous.
struct ListHead {
  constexpr ListHead() = default;
  ListHead(const ListHead&) = delete;
  ListHead& operator=(const ListHead&) = delete;

  ListNode node{&node, &node};
  std::size_t size = 0;  // members
};
static_assert(std::is_standard_layout_v<ListHead> && sizeof(ListHead) == 24);

namespace list_detail {

[[noreturn]] void panic_corrupt(std::string_view what, const ListNode& node);
[[noreturn]] void panic_linked(const ListNode& node);

// `node` goes in front of `position`.
inline void link(ListNode& position, ListNode& node) {
  ListNode* const before = position.previous;
  if (node.next != nullptr || node.previous != nullptr) [[unlikely]]
    panic_linked(node);
  if (before == nullptr || before->next != &position) [[unlikely]]
    panic_corrupt("insert before", position);
  node.next = &position;
  node.previous = before;
  before->next = &node;
  position.previous = &node;
}

inline void unlink(ListNode& node) {
  ListNode* const next = node.next;
  ListNode* const previous = node.previous;
  if (next == nullptr || previous == nullptr || next->previous != &node || previous->next != &node)
      [[unlikely]]
    panic_corrupt("remove", node);
  next->previous = previous;
  previous->next = next;
  node.next = nullptr;
  node.previous = nullptr;
}

// Follows at most size + 1 links: so many nodes, each pointing back to where the walk came from, then the
// head.
bool valid(const ListHead& head);

}  // namespace list_detail

// kLink is offsetof(T, the ListNode). Where T is still incomplete (a T that lists Ts) write the number and
// static_assert it behind T. A member is on at most one list through one node, and stays where it is in
// memory while it is on it; so does the list. Removing from another list than the member is on makes valid()
// fail on both.
template <typename T, std::size_t kLink>
class List {
 public:
  constexpr List() = default;
  List(const List&) = delete;
  List& operator=(const List&) = delete;

  bool empty() const { return head_.node.next == &head_.node; }
  std::size_t size() const { return head_.size; }

  T* front() const { return empty() ? nullptr : &owner(*head_.node.next); }
  T* back() const { return empty() ? nullptr : &owner(*head_.node.previous); }

  void push_front(T& member) { insert(*head_.node.next, member); }
  void push_back(T& member) { insert(head_.node, member); }
  void insert_before(T& position, T& member) { insert(node(position), member); }

  // Precondition: `member` is on this list. The list may be iterated on from begin() again, or through
  // erase().
  void remove(T& member) {
    list_detail::unlink(node(member));
    --head_.size;
  }
  T* pop_front() { return pop(head_.node.next); }  // null when empty
  T* pop_back() { return pop(head_.node.previous); }

  // Moves all members of `other`, which is not this list, in order, behind the own.
  void splice_back(List& other) {
    while (T* member = other.pop_front()) push_back(*member);
  }

  // Walks once around: every link agrees with its opposite, and there are size() members. Bounded by size().
  bool valid() const { return list_detail::valid(head_); }

  class Iterator {
   public:
    using difference_type = std::ptrdiff_t;
    using value_type = T;

    Iterator() = default;
    explicit Iterator(ListNode* at) : at_(at) {}
    T& operator*() const { return owner(*at_); }
    T* operator->() const { return &owner(*at_); }
    Iterator& operator++() {
      at_ = at_->next;
      return *this;
    }
    Iterator operator++(int) {
      const Iterator here = *this;
      at_ = at_->next;
      return here;
    }
    bool operator==(const Iterator&) const = default;

   private:
    ListNode* at_ = nullptr;
  };

  // Members may be inserted while iterating; the one that the iterator stands on leaves through erase().
  Iterator begin() const { return Iterator{head_.node.next}; }
  Iterator end() const { return Iterator{const_cast<ListNode*>(&head_.node)}; }
  Iterator erase(Iterator at) {
    T& member = *at++;
    remove(member);
    return at;
  }

  static bool linked(const T& member) { return node(const_cast<T&>(member)).linked(); }

 private:
  static ListNode& node(T& member) {
    return *reinterpret_cast<ListNode*>(reinterpret_cast<std::byte*>(&member) + kLink);
  }
  static T& owner(ListNode& node) {
    return *reinterpret_cast<T*>(reinterpret_cast<std::byte*>(&node) - kLink);
  }
  void insert(ListNode& position, T& member) {
    list_detail::link(position, node(member));
    ++head_.size;
  }
  T* pop(ListNode* at) {
    if (at == &head_.node) return nullptr;
    T& member = owner(*at);
    remove(member);
    return &member;
  }

  ListHead head_;
};

}  // namespace memory

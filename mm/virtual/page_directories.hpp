// PageDirectories: trees of page tables for whoever wants one, each known by the address of its root table.
// SPDX-License-Identifier: MIT
#pragma once
#include <array>

#include "mm/base/tree.hpp"
#include "mm/heap/object_cache.hpp"
#include "mm/virtual/page_table.hpp"

namespace memory {

// One tree, with an id of its own. In its owner's hands, who alone ends it.
struct PageDirectory {
  PageDirectory(Physical& physical, PageRoot root, PageLevel largest, SpaceId space)
      : tables(physical, root, largest, space) {}

  TreeNode node;  // by root; first, as `trees_` has it
  PageTables tables;
};

// Owns the trees. Each has the lower half to itself, and its root shows the kernel's half as it was then: what the
// kernel's root points to stays for good, so whatever is mapped below it shows in all of them. Any number of threads.
class PageDirectories {
 public:
  // Takes no memory. Both outlive it.
  PageDirectories(Physical& physical, Heap& heap) : physical_(physical), cache_(heap, "page_directory") {}
  PageDirectories(const PageDirectories&) = delete;
  PageDirectories& operator=(const PageDirectories&) = delete;

  // What trees are like from now on: how high, how large their largest pages are, and whose kernel half they show; null:
  // nobody's. Before the first of them.
  void set_kind(PageLevel top, PageLevel largest, const PageTables* kernel);

  // An empty tree. Fails with no_memory, or busy when all ids are in use.
  Result<PageTables*> create();

  // Gives back all tables of the tree at that root; what they map is somebody else's. Fails with invalid where there is
  // none, or busy while a CPU may have it; then nothing has changed.
  Result<void> destroy(PhysAddr root);

  // Fails with invalid where there is none.
  Result<PageTables*> find(PhysAddr root) const;
  // The same to look at it: the kernel's own tree, too.
  Result<const PageTables*> look(PhysAddr root) const;
  std::size_t count() const;

  // Every tree's invariants, and that each has its own id.
  bool valid() const;

 private:
  struct ByRoot {
    using Key = PhysAddr;
    static Key key(const PageDirectory& directory) { return directory.tables.root().table; }
  };
  Result<SpaceId> take_id();
  void give_back_id(SpaceId space);

  Physical& physical_;
  PageLevel top_ = PageLevel::gib_512;
  PageLevel largest_ = PageLevel::one_gib;
  const PageTables* kernel_ = nullptr;
  ObjectCache<PageDirectory> cache_;
  mutable Spin<Rank::range> lock_;  // over the two below
  Tree<PageDirectory, 0, ByRoot> trees_ GUARDED_BY(lock_);
  std::array<std::uint64_t, kSpaceIds / 64> used_ids_ GUARDED_BY(lock_){1};  // the kernel has the first
};

}  // namespace memory

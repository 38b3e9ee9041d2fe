// PageDirectories: made, found, ended.
// SPDX-License-Identifier: MIT
#include "mm/virtual/page_directories.hpp"

#include "mm/base/bits.hpp"
#include "mm/base/check.hpp"

namespace memory {

void PageDirectories::set_kind(PageLevel top, PageLevel largest, const PageTables* kernel) {
  CHECK(count() == 0);
  top_ = top;
  largest_ = largest;
  kernel_ = kernel;
}

Result<SpaceId> PageDirectories::take_id() {
  const Spin<Rank::range>::Hold hold(lock_);
  for (std::size_t word = 0; word < used_ids_.size(); ++word) {
    if (used_ids_[word] == ~std::uint64_t{0}) continue;
    const unsigned bit = lowest_bit(~used_ids_[word]);
    used_ids_[word] |= std::uint64_t{1} << bit;
    return SpaceId{static_cast<std::uint16_t>(word * 64 + bit)};
  }
  return Error::busy;
}

void PageDirectories::give_back_id(SpaceId space) {
  const Spin<Rank::range>::Hold hold(lock_);
  used_ids_[raw(space) / 64] &= ~(std::uint64_t{1} << raw(space) % 64);
}

Result<PageTables*> PageDirectories::create() {
  const SpaceId space = TRY(take_id());
  const auto root = PageTables::new_root(physical_, top_);
  if (!root.ok()) {
    give_back_id(space);
    return root.error();
  }
  const auto made = cache_.make(physical_, root.take(), largest_, space);
  if (!made.ok()) {
    PageTables::free_root(physical_, root.take());
    give_back_id(space);
    return made.error();
  }
  PageDirectory& directory = *made.take();
  if (kernel_ != nullptr) directory.tables.show_kernel(*kernel_);
  const Spin<Rank::range>::Hold hold(lock_);
  CHECK(trees_.insert(directory).ok());
  return &directory.tables;
}

Result<void> PageDirectories::destroy(PhysAddr root) {
  PageDirectory* directory = nullptr;
  {
    const Spin<Rank::range>::Hold hold(lock_);
    directory = trees_.find(root);
    if (directory == nullptr) return Error::invalid;
    if (directory->tables.cpus() != 0) return Error::busy;
    trees_.erase(*directory);
  }
  const SpaceId space = directory->tables.space();
  {
    FlushBatch flush(directory->tables);
    directory->tables.clear(flush);
  }
  PageTables::free_root(physical_, directory->tables.root());
  cache_.destroy(directory);
  give_back_id(space);
  return {};
}

Result<PageTables*> PageDirectories::find(PhysAddr root) const {
  const Spin<Rank::range>::Hold hold(lock_);
  PageDirectory* const found = trees_.find(root);
  if (found == nullptr) return Error::invalid;
  return &found->tables;
}

Result<const PageTables*> PageDirectories::look(PhysAddr root) const {
  if (kernel_ != nullptr && kernel_->root().table == root) return kernel_;
  return TRY(find(root));
}

std::size_t PageDirectories::count() const {
  const Spin<Rank::range>::Hold hold(lock_);
  return trees_.size();
}

bool PageDirectories::valid() const {
  const Spin<Rank::range>::Hold hold(lock_);
  std::array<std::uint64_t, kSpaceIds / 64> met{1};
  bool holds = trees_.valid();
  for (const PageDirectory* at = trees_.first(); holds && at != nullptr; at = trees_.next(*at)) {
    std::uint64_t& word = met[raw(at->tables.space()) / 64];
    const std::uint64_t bit = std::uint64_t{1} << raw(at->tables.space()) % 64;
    holds = (word & bit) == 0 && at->tables.valid();
    word |= bit;
  }
  return holds && met == used_ids_;
}

}  // namespace memory

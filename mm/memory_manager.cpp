// MemoryManager: the floors put together, the policy of the face, the kernel's own instance.
// SPDX-License-Identifier: MIT
#include "mm/memory_manager.hpp"

#include <new>

#include "mm/base/format.hpp"
#include "mm/layout.hpp"
#include "mm/stats/inspector.hpp"
#include "mm/virtual/kernel_space.hpp"

// The only globals of mm/.
constinit memory::stats::Record coronel_record{};

namespace memory {

namespace {

template <typename T>
struct Room {  // static storage for an object that is made when its time has come
  alignas(T) std::byte bytes[sizeof(T)];
  T* made() { return std::launder(reinterpret_cast<T*>(bytes)); }
};

constinit Room<EarlyAllocator> early_room{};
constinit Room<MemoryManager> manager_room{};
constinit bool initialized = false;

}  // namespace

MemoryManager::MemoryManager(const Storage& storage, std::span<PerCpu* const> cpus, stats::Record& record,
                             MisusePolicy on_misuse)
    : physical_(storage.frames, storage.blocks, storage.direct_map),
      cpus_(cpus),
      on_misuse_(on_misuse),
      manager_record_{.physical = &physical_.record()} {
  layout::fill(record);
  record.cpus = stats::table_of(cpus);
  record.manager = reinterpret_cast<std::uint64_t>(&manager_record_);
}

Result<FrameNumber> MemoryManager::alloc_pages(Order order) {
  Frame* frame = TRY(physical_.allocate(order));
  return physical_.frames().number_of(*frame);
}

Result<void> MemoryManager::free_pages(FrameNumber number, Order order) {
  const auto released = physical_.release(number, order);
  if (is_misuse(released.error()) && on_misuse_ == MisusePolicy::panic) {
    TextBuffer<120> why;
    why.text(text_of(released.error())).text(": frame ").hex(raw(number)).text(", order ").number(raw(order));
    if (released.error() == Error::wrong_order)
      why.text(", allocated with order ").number(raw(physical_.frames()[number].order()));
    platform::panic(why.view());
  }
  return released;
}

void MemoryManager::describe_counters(Inspector& to) const {
  to.begin_object("", Layout::lines);
  for (std::size_t n = 0; n < stats::kCounters; ++n) {
    const auto counter = static_cast<stats::Counter>(n);
    to.number(stats::name_of(counter), stats::read(cpus_, counter), Unit::none);
  }
  to.end_object();
}

Result<MemoryManager*> initialize(const BootInfo& info, const KernelImage& image, const BootState& state,
                                  std::span<PerCpu* const> cpus) {
  CHECK(!initialized);
  auto& early = *new (early_room.bytes) EarlyAllocator(info, state.reach_end);
  BootMap map = TRY(BootMap::create(early, state.reach, state.largest_page));
  TRY(map.map_kernel(image, info));
  platform::load_root(map.root());
  coronel_record.root = map.root().value;

  const MemoryManager::Storage storage{
      .frames = reinterpret_cast<Frame*>(kernel_space::kFrameArray.value),
      .blocks = reinterpret_cast<Pageblock*>(kernel_space::kPageblocks.value),
      .direct_map = reinterpret_cast<std::byte*>(kernel_space::kDirectMap.value)};
  auto& made = *new (manager_room.bytes) MemoryManager(storage, cpus, coronel_record, state.on_misuse);
  made.start(info, early);
  initialized = true;
  return &made;
}

MemoryManager& manager() {
  DCHECK(initialized);
  return *manager_room.made();
}

}  // namespace memory

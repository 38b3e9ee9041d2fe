// MemoryManager: the floors put together, the policy of the face, the kernel's own instance.
// SPDX-License-Identifier: MIT
#include "mm/memory_manager.hpp"

#include <algorithm>
#include <new>

#include "mm/base/format.hpp"
#include "mm/kalloc.hpp"
#include "mm/stats/inspector.hpp"
#include "mm/virtual/added_map.hpp"
#include "mm/virtual/direct_map_hider.hpp"
#include "mm/virtual/kernel_space.hpp"
#include "mm/virtual/kmap.hpp"
#include "mm/virtual/page_table.hpp"
#include "mm/virtual/protection.hpp"

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
constinit Room<AddedMap> added_map_room{};
constinit Room<DirectMapHider> hider_room{};
constinit Room<KMap> kmap_room{};
constinit Room<PageTables> kernel_tables_room{};
constinit Kalloc the_door{};
constinit bool initialized = false;

}  // namespace

MemoryManager::MemoryManager(const Storage& storage, std::span<PerCpu* const> cpus, stats::Record& record,
                             MisusePolicy on_misuse, const void* home)
    : physical_(storage.frames, storage.blocks, storage.direct_map, storage.direct_end),
      heap_(physical_, cpus),
      kmalloc_(heap_),
      heap_pages_(physical_),
      // Not to be guessed by a program that is wrong, which is what the headers are to be safe from.
      kernel_heap_(heap_pages_, physical_.fail_plan(), platform::random() ^ platform::now_ns() << 32),
      directories_(physical_, heap_),
      cpus_(cpus),
      record_(record),
      on_misuse_(on_misuse),
      manager_record_{.physical = &physical_.record(),
                      .heap = &heap_.record(),
                      .kernel_heap = &kernel_heap_.state(),
                      .home = home} {
  heap_.set_witness(*this);
  last_misuse_.with([this](const MisuseReport& report) { manager_record_.misuse = &report; });
  record.cpus = stats::table_of(cpus);
  record.manager = reinterpret_cast<std::uint64_t>(&manager_record_);
}

void MemoryManager::fail_nth(std::uint64_t n) {
  heap_.set_service(n == 0 ? FrameCaches::Service::on : FrameCaches::Service::off);
  kernel_heap_.set_plan(n == 0 ? KernelHeap::Plan::idle : KernelHeap::Plan::armed);
  physical_.fail_nth(n);
}

void MemoryManager::set_cpus(std::span<PerCpu* const> cpus) {
  for (std::size_t known = cpus_.size(); known < cpus.size(); ++known) physical_.serve(*cpus[known]);
  cpus_ = cpus;
  heap_.set_cpus(cpus);
  record_.cpus = stats::table_of(cpus);
}

// Panics where the policy says so.
[[gnu::noinline]] void MemoryManager::meet_misuse(Error error, FrameNumber number, Order order) const {
  if (!is_misuse(error) || on_misuse_ != MisusePolicy::panic) return;
  TextBuffer<120> why;
  why.text(text_of(error)).text(": frame ").hex(raw(number)).text(", order ").number(raw(order));
  if (error == Error::wrong_order)
    why.text(", allocated with order ").number(raw(physical_.frames()[number].order()));
  platform::panic(why.view());
}

// Who asked is known by where this returns to: the face inlines.
[[gnu::noinline]] Error MemoryManager::meet_misuse(Error error, const void* object, Asked asked) {
  if (!is_misuse(error)) return error;
  const bool of_the_heap = error == Error::wild_object && in_kernel_heap(object);
  if (of_the_heap) error = Error::wrong_cache;
  MisuseReport report = report_on_object(heap_, error, object);
  if (of_the_heap) report.name_keeper(Keeper::kernel_heap, name_of(Keeper::kernel_heap));
  report.name_receiver(asked.cache != nullptr ? asked.cache->name() : "kmalloc");
  report.told = asked.bytes;
  tell(report, asked.site != 0 ? asked.site : reinterpret_cast<std::uint64_t>(__builtin_return_address(0)));
  return error;
}

Result<void> MemoryManager::kfree_for(void* object, std::uint64_t site) {
  const Result<void> released = kmalloc_.release_for(object, site);
  if (!released.ok()) return meet_misuse(released.error(), object, {.site = site});
  return released;
}

Result<void> MemoryManager::heap_free_for(void* payload, std::uint64_t site) {
  const Result<void> released = kernel_heap_.free(payload);
  if (!released.ok()) return meet_heap_misuse(released.error(), payload, site);
  return released;
}

bool MemoryManager::in_kernel_heap(const void* address) const {
  const FrameTable& frames = physical_.frames();
  const FrameNumber frame = frames.frame_behind(reinterpret_cast<std::uint64_t>(address));
  return frame != kNoFrame &&
         frames[frame].tag.load(std::memory_order_relaxed) == static_cast<std::uint8_t>(FrameTag::heap_range);
}

// An address that is in no block of the heap may be an object, or in a range that the heap has given back.
[[gnu::noinline]] Error MemoryManager::meet_heap_misuse(Error error, const void* payload,
                                                        std::uint64_t site) {
  if (!is_misuse(error)) return error;
  const Error other = error == Error::wild_object ? kmalloc_.misuse_of(payload) : error;
  if (other == Error::ok || other == Error::wrong_cache) {
    error = Error::wrong_cache;
  } else if (other == Error::double_free) {
    error = other;
  }
  const bool of_the_heap = kernel_heap_.last_fault().error == error && error != Error::wild_object;
  MisuseReport report =
      of_the_heap ? report_on_block(kernel_heap_, error) : report_on_object(heap_, error, payload);
  report.name_receiver(name_of(Keeper::kernel_heap));
  tell(report, site != 0 ? site : reinterpret_cast<std::uint64_t>(__builtin_return_address(0)));
  return error;
}

// Writes it down; panics where the policy says so.
[[gnu::noinline]] void MemoryManager::tell(MisuseReport& report, std::uint64_t site) {
  report.caught = HeapCall::from(site);
  last_misuse_.with([&report](MisuseReport& last) {
    report.number = last.number + 1;
    last = report;
  });
  if (on_misuse_ != MisusePolicy::panic) return;
  TextBuffer<400> why;
  report.write(why);
  platform::panic(why.view());
}

// ---- leaks ------------------------------------------------------------------------------------------------------

namespace {

template <typename T>
VirtRange range_of(const T& what) {
  const VirtAddr first{reinterpret_cast<std::uint64_t>(&what)};
  return {first, first + sizeof what};
}

}  // namespace

// What the manager has for itself holds its objects, but for the parts that know each object there is, and the report of
// a misuse, which only speaks of one.
LeakCount MemoryManager::find_leaks(LeakRoots& roots, LeakSink& sink) {
  struct Errand final : LeakRoots {
    Errand(MemoryManager& manager, const BlockHeap& of_heap, LeakRoots& of_home, LeakSink& to)
        : own(range_of(manager)),
          hidden{range_of(manager.physical_), range_of(manager.heap_), range_of(manager.kmalloc_),
                 range_of(manager.kernel_heap_), range_of(manager.last_misuse_)},
          scan(manager.heap_, of_heap, hidden),
          home(of_home),
          sink(to) {}
    void while_still(void (*body)(void*), void* context) override { body(context); }
    void show(RootVisitor& to) override {
      to.visit(own);
      home.show(to);
    }

    const VirtRange own;
    const std::array<VirtRange, 5> hidden;
    LeakScan scan;
    LeakRoots& home;
    LeakSink& sink;
    LeakCount count;
  };
  // The heap's lock sleeps, so it is taken before nobody runs any more who could let it go.
  return kernel_heap_.inspect([&](const BlockHeap& blocks) {
    Errand errand(*this, blocks, roots, sink);
    roots.while_still(
        [](void* context) {
          auto& mine = *static_cast<Errand*>(context);
          mine.count = mine.scan.scan(mine, mine.sink);
        },
        &errand);
    return errand.count;
  });
}

void MemoryManager::start_addresses(PageTables& tables) {
  CHECK(!addresses_);
  addresses_.emplace(heap_, tables);
  manager_record_.ranges = &addresses_->ranges().record();
}

Result<void> MemoryManager::vfree(VirtAddr at) {
  const auto released = addresses().vmalloc().release(at);
  if (!released.ok()) [[unlikely]]
    meet_range_misuse(released.error(), at);
  return released;
}

Result<void> MemoryManager::iounmap(VirtAddr at) {
  const auto released = addresses().vmalloc().unmap_device(at);
  if (!released.ok()) [[unlikely]]
    meet_range_misuse(released.error(), at);
  return released;
}

[[gnu::noinline]] void MemoryManager::meet_range_misuse(Error error, VirtAddr at) const {
  if (!is_misuse(error) || on_misuse_ != MisusePolicy::panic) return;
  TextBuffer<160> why;
  why.text(text_of(error)).text(": kernel address ").address(at.value);
  const auto found = addresses().ranges().find(at);
  if (found.ok()) {
    const FoundRange range = found.take();
    why.text(", in the ").text(name_of(range.kind)).text(" range of ").text(range.owner.view());
    why.text(" at ").address(range.body.first.value);
  }
  platform::panic(why.view());
}

Result<FoundRange> MemoryManager::range_at_fault(VirtAddr at) const {
  if (!addresses_) return Error::not_found;
  const FrameTable& frames = physical_.frames();
  const auto direct = reinterpret_cast<std::uint64_t>(frames.map().direct_map);
  const auto own = reinterpret_cast<std::uint64_t>(this);
  return addresses_->ranges().find_unlocked(at, [&frames, direct, own](const KernelRange* record) {
    const std::uint64_t address = reinterpret_cast<std::uint64_t>(record);
    const std::uint64_t last = address + sizeof(KernelRange) - 1;
    if (address >= own && last < own + sizeof(MemoryManager) && last > address)
      return true;  // the window's own
    if (address < direct || address % alignof(KernelRange) != 0 || last < address) return false;
    for (const std::uint64_t byte : {address, last}) {
      if ((byte - direct) / kPageSize >= raw(kNoFrame)) return false;
      const FrameNumber number = frame_at(PhysAddr{byte - direct});
      if (!frames.has(number) || frames[number].state() == FrameState::absent ||
          !frames.in_direct_map(number))
        return false;
    }
    return true;
  });
}

bool MemoryManager::valid() const {
  if (!physical_.valid() || !heap_.valid() || !kernel_heap_.validate_heap()) return false;
  if (!directories_.valid()) return false;
  return !addresses_ || addresses_->valid();
}

void MemoryManager::describe_counters(Inspector& to) const {
  to.begin_object("", Layout::lines);
  for (std::size_t n = 0; n < stats::kCounters; ++n) {
    const auto counter = static_cast<stats::Counter>(n);
    to.number(stats::name_of(counter), stats::read(cpus_, counter), Unit::none);
  }
  to.end_object();
}

namespace {

// Memory for a guard pool of so many slots; empty where there is to be none, or none can be had in a row.
PhysRange guard_memory(EarlyAllocator& early, std::uint32_t slots) {
  if (slots == 0) return {};
  const std::uint32_t frames = GuardPool::frames_for(slots);
  const auto first = early.allocate(frames);
  if (!first.ok()) return {};
  return {first.take(), first.take() + frames * kPageSize};
}

}  // namespace

Result<MemoryManager*> initialize(const BootInfo& info, const KernelImage& image, const BootState& state,
                                  std::span<PerCpu* const> cpus) {
  CHECK(!initialized);
  // Tables are reached through the direct map later, so they come out of it.
  const PhysAddr direct_end = std::min(state.direct_map_end, PhysAddr{config::max_memory_gib * 1_GiB});
  auto& early = *new (early_room.bytes) EarlyAllocator(info, std::min(state.reach_end, direct_end));
  const PageLevel largest = config::debug_pagealloc ? PageLevel::page : state.largest_page;
  const bool samples = kHasGuardPool && state.sample_every != 0;
  const std::uint32_t guard_slots = samples ? GuardPool::slots_for(early.free_bytes()) : 0;
  const PhysRange guards = guard_memory(early, guard_slots);
  BootMap map = TRY(BootMap::create(early, state.reach, largest, state.top));
  TRY(map.map_kernel(image, info, direct_end, guards));
  verify_protection(map.root(), state.reach, state.top);
  platform::load_root(map.root(), SpaceId::kernel);
  coronel_record.root = map.root().value;
  auto* const direct_map = reinterpret_cast<std::byte*>(kernel_space::kDirectMap.value);
  the_door.begin(early, direct_map);

  const MemoryManager::Storage storage{
      .frames = reinterpret_cast<Frame*>(kernel_space::kFrameArray.value),
      .blocks = reinterpret_cast<Pageblock*>(kernel_space::kPageblocks.value),
      .direct_map = direct_map,
      .direct_end = direct_end};
  auto& made =
      *new (manager_room.bytes) MemoryManager(storage, cpus, coronel_record, state.on_misuse, state.home);
  made.start(info, early);
  the_door.open(made);
  const PageRoot root = map.tree();
  made.physical().frames().show_beyond(*new (kmap_room.bytes) KMap(made.physical().frames(), root));
  auto& tables = *new (kernel_tables_room.bytes) PageTables(made.physical(), root, state.largest_page);
  tables.adopt();
  tables.enter();
  made.directories().set_kind(root.top, state.largest_page, &tables);
  made.start_addresses(tables);
  new (added_map_room.bytes) AddedMap(made.physical().frames(), root, largest);
  auto& hider = *new (hider_room.bytes) DirectMapHider(made.physical().frames(), root);
  if constexpr (config::debug_pagealloc) made.physical().set_hider(hider);
  if (!guards.empty())
    made.heap().guards().start(made.physical().frames(), hider, frame_at(guards.first), guard_slots,
                               state.sample_every);
  initialized = true;
  return &made;
}

Result<void> add_memory(PhysRange memory) {
  TRY(manager().physical().add_memory(memory, *added_map_room.made()));
  kernel_tables().adopt();
  return {};
}

Kalloc& door() { return the_door; }

PageTables& kernel_tables() {
  DCHECK(initialized);
  return *kernel_tables_room.made();
}

Result<FoundRange> range_at_fault(VirtAddr at) {
  if (!initialized) return Error::not_found;
  return manager().range_at_fault(at);
}

Result<FrameNumber> frame_at_fault(VirtAddr at) {
  if (!initialized) return Error::not_found;
  const FrameTable& frames = manager().physical().frames();
  const FrameNumber frame = frames.frame_behind(at.value);
  if (frame == kNoFrame || frames[frame].state() == FrameState::absent) return Error::not_found;
  return frame;
}

Result<MisuseReport> misuse_at_fault(VirtAddr at) {
  if (!initialized) return Error::not_found;
  const Slab* const slab = manager().heap().guards().slot_meant(at.value);
  if (slab == nullptr) return Error::not_found;
  return report_on_guard(*slab, at.value);
}

MemoryManager& manager() {
  DCHECK(initialized);
  return *manager_room.made();
}

}  // namespace memory

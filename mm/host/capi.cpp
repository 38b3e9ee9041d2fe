// The C face on the host. Turns results into errno and a panic into a dead machine; holds no logic of its own.
// SPDX-License-Identifier: MIT
#include <cerrno>
#include <memory>
#include <new>
#include <optional>
#include <string>
#include <vector>

#include "mm/host/machine.hpp"
#include "mm/host/mm_host.h"
#include "mm/host/panic.hpp"
#include "mm/mm.h"
#include "mm/object_call.hpp"
#include "mm/physical/stress.hpp"
#include "mm/table_call.hpp"

struct mm_machine {
  std::unique_ptr<memory::host::Machine> machine;
  std::optional<std::string> panic;  // set once: the machine is dead
};

namespace {

using namespace memory;

struct Place {  // where the calling thread stands
  mm_machine* machine = nullptr;
  PerCpu* former = nullptr;  // where it stood before it entered `machine`
  Error last_error = Error::ok;
};
[[gnu::tls_model("initial-exec")]] constinit thread_local Place here;  // as host::current_cpu

int negative(Error error) {
  here.last_error = error;
  return -errno_of(error);
}

// Runs body(Machine&) on the entered machine; a panic kills it.
template <typename Body>
auto on_machine(Body&& body) -> decltype(body(std::declval<memory::Machine&>())) {
  if (here.machine == nullptr) return -EINVAL;
  if (here.machine->panic.has_value()) return -ENOTRECOVERABLE;
  try {
    return body(**here.machine->machine);
  } catch (const host::Panic& panic) {
    here.machine->panic = panic.what();
    return -ENOTRECOVERABLE;
  }
}

std::vector<PhysRange> ranges_of(const mm_range* ranges, std::size_t count) {
  std::vector<PhysRange> result;
  for (std::size_t n = 0; n < count; ++n)
    result.push_back({PhysAddr{ranges[n].first}, PhysAddr{ranges[n].end}});
  return result;
}

Result<std::uint32_t> allocate(memory::Machine& machine, std::uint32_t order, std::uint32_t gfp_flags) {
  if (order > raw(kMaxOrder) || gfp_flags >= kGfpEnd) return Error::invalid;
  return raw(TRY(machine.manager().alloc_pages(Order{static_cast<std::uint8_t>(order)},
                                               Gfp{static_cast<std::uint8_t>(gfp_flags)})));
}

Result<void> release(memory::Machine& machine, std::uint64_t pfn, std::uint32_t order) {
  if (order > raw(kMaxOrder)) return Error::invalid;
  const FrameNumber number = pfn < raw(kNoFrame) ? FrameNumber{static_cast<std::uint32_t>(pfn)} : kNoFrame;
  return machine.manager().free_pages(number, Order{static_cast<std::uint8_t>(order)});
}

// Sets what came of it; false when there is no such verb.
bool perform(memory::Machine& machine, mm_page_operation& operation) {
  Error error = Error::ok;
  operation.result = 0;
  if (operation.verb == MM_PAGE_ALLOC) {
    const auto block = allocate(machine, operation.order, operation.gfp_flags);
    error = block.error();
    if (block.ok()) operation.result = block.take();
  } else if (operation.verb == MM_PAGE_FREE) {
    error = release(machine, operation.pfn, operation.order).error();
  } else {
    return false;
  }
  operation.error = static_cast<std::uint32_t>(error);
  if (error != Error::ok) operation.result = negative(error);
  return true;
}

// Runs body(MemoryManager&), which returns a Result<void*>; null and the error noted when there is none.
template <typename Body>
void* object_of(Body&& body) {
  void* object = nullptr;
  const int status = on_machine([&](memory::Machine& machine) {
    const Result<void*> made = body(machine.manager());
    if (!made.ok()) return negative(made.error());
    object = made.take();
    return 0;
  });
  return status == 0 ? object : nullptr;
}

Result<Gfp> flags_of(unsigned gfp_flags) {
  if (gfp_flags >= kGfpEnd || !valid(Gfp{static_cast<std::uint8_t>(gfp_flags)})) return Error::invalid;
  return Gfp{static_cast<std::uint8_t>(gfp_flags)};
}

// The cache behind a handle of the C face, whatever that is.
Result<KmemCache*> cache_of(MemoryManager& manager, const kmem_cache* handle) {
  KmemCache* found = nullptr;
  manager.heap().for_each([&](KmemCache& cache) {
    if (reinterpret_cast<const kmem_cache*>(&cache) == handle) found = manager.heap().made(cache.number());
  });
  if (found == nullptr) return Error::not_found;
  return found;
}

// Runs body(MemoryManager&, KmemCache&), which returns a Result<void>.
template <typename Body>
int on_cache(const kmem_cache* handle, Body&& body) {
  return on_machine([&](memory::Machine& machine) {
    const auto cache = cache_of(machine.manager(), handle);
    if (!cache.ok()) return negative(cache.error());
    return negative(body(machine.manager(), *cache.take()).error());
  });
}

}  // namespace

kmem_cache* kmem_cache_create(const char* name, size_t size, size_t align, unsigned flags,
                              void (*ctor)(void*)) {
  return static_cast<kmem_cache*>(object_of([&](MemoryManager& manager) -> Result<void*> {
    const std::size_t alignment = align == 0 ? SlabCut::kMinStride : align;
    if (name == nullptr || flags > SLAB_CACHE_DMA || alignment > kPageSize) return Error::invalid;
    if (size > SlabCut::kMaxBytes) return Error::too_big;
    return TRY(manager.heap().create({.name = name,
                                      .object_bytes = static_cast<std::uint32_t>(size),
                                      .align = static_cast<std::uint32_t>(alignment),
                                      .zone = flags == SLAB_CACHE_DMA ? Gfp::dma : Gfp::kernel,
                                      .construct = ctor}));
  }));
}

int kmem_cache_destroy(kmem_cache* cache) {
  return on_cache(cache,
                  [](MemoryManager& manager, KmemCache& found) { return manager.heap().destroy(found); });
}

void* kmem_cache_alloc(kmem_cache* cache, unsigned gfp_flags) {
  return object_of([&](MemoryManager& manager) -> Result<void*> {
    KmemCache* const found = TRY(cache_of(manager, cache));
    const Gfp flags = TRY(flags_of(gfp_flags));
    return found->allocate(flags);
  });
}

int kmem_cache_free(kmem_cache* cache, void* object) {
  return on_cache(
      cache, [=](MemoryManager& manager, KmemCache& found) { return manager.cache_free(found, object); });
}

int kmem_cache_alloc_bulk(kmem_cache* cache, unsigned gfp_flags, size_t count, void** objects) {
  return on_cache(cache, [=](MemoryManager&, KmemCache& found) -> Result<void> {
    return found.allocate_bulk({objects, count}, TRY(flags_of(gfp_flags)));
  });
}

int kmem_cache_free_bulk(kmem_cache* cache, size_t count, void** objects) {
  return on_cache(cache,
                  [=](MemoryManager&, KmemCache& found) { return found.release_bulk({objects, count}); });
}

int64_t kmem_cache_shrink(kmem_cache* cache) {
  std::uint64_t frames = 0;
  const int status = on_cache(cache, [&](MemoryManager&, KmemCache& found) -> Result<void> {
    frames = found.shrink();
    return {};
  });
  return status < 0 ? status : static_cast<int64_t>(frames);
}

void* kmalloc(size_t size, unsigned gfp_flags) {
  return object_of([&](MemoryManager& manager) -> Result<void*> {
    return manager.kmalloc().allocate(size, TRY(flags_of(gfp_flags)));
  });
}

void* kzalloc(size_t size, unsigned gfp_flags) {
  return object_of([&](MemoryManager& manager) -> Result<void*> {
    return manager.kmalloc().allocate_zeroed(size, TRY(flags_of(gfp_flags)));
  });
}

void* kcalloc(size_t count, size_t size, unsigned gfp_flags) {
  return object_of([&](MemoryManager& manager) -> Result<void*> {
    return manager.kmalloc().allocate_array(count, size, TRY(flags_of(gfp_flags)));
  });
}

void* kmalloc_array(size_t count, size_t size, unsigned gfp_flags) {
  std::size_t product = 0;
  if (__builtin_mul_overflow(count, size, &product)) product = ~std::size_t{0};  // too big for anybody
  return kmalloc(product, gfp_flags);
}

void* krealloc(void* object, size_t size, unsigned gfp_flags) {
  return object_of([&](MemoryManager& manager) -> Result<void*> {
    return manager.krealloc(object, size, TRY(flags_of(gfp_flags)));
  });
}

int kfree(void* object) {
  return on_machine(
      [=](memory::Machine& machine) { return negative(machine.manager().kfree(object).error()); });
}

int kfree_sized(void* object, size_t size) {
  return on_machine([=](memory::Machine& machine) {
    return negative(machine.manager().kfree_sized(object, size).error());
  });
}

size_t ksize(const void* object) {
  std::size_t bytes = 0;
  (void)on_machine([&](memory::Machine& machine) {
    const auto usable = machine.manager().kmalloc().usable_bytes(object);
    if (usable.ok()) bytes = usable.take();
    return negative(usable.error());
  });
  return bytes;
}

int64_t mm_run_objects(mm_object_call* calls, size_t count) {
  int64_t done = 0;
  const int64_t status = on_machine([&](memory::Machine& machine) -> int64_t {
    for (std::size_t n = 0; n < count; ++n) {
      mm_object_call& call = calls[n];
      const char letter = call.letter < 128 ? static_cast<char>(call.letter) : '\0';
      if (!is_object_call(letter)) return 0;
      const auto outcome = perform(machine.manager(), ObjectCall{letter, call.first, call.second});
      call.error = static_cast<std::uint32_t>(outcome.error());
      call.result = outcome.ok() ? outcome.take() : 0;
      if (!outcome.ok()) (void)negative(outcome.error());
      ++done;
    }
    return 0;
  });
  return status < 0 && done == 0 ? status : done;
}

int64_t mm_run_tables(mm_table_call* calls, size_t count) {
  int64_t done = 0;
  const int64_t status = on_machine([&](memory::Machine& machine) -> int64_t {
    for (std::size_t n = 0; n < count; ++n) {
      mm_table_call& call = calls[n];
      TableCall one{.letter = call.letter < 128 ? static_cast<char>(call.letter) : '\0'};
      if (!table_numbers(one.letter)) return 0;
      std::copy(std::begin(call.numbers), std::end(call.numbers), one.numbers.begin());
      const auto outcome = perform(machine.manager(), one);
      call.error = static_cast<std::uint32_t>(outcome.error());
      call.result = outcome.ok() ? outcome.take() : 0;
      if (!outcome.ok()) (void)negative(outcome.error());
      ++done;
    }
    return 0;
  });
  return status < 0 && done == 0 ? status : done;
}

uint64_t pgd_alloc(void) {
  uint64_t root = 0;
  (void)on_machine([&](memory::Machine& machine) {
    const auto made = machine.manager().directories().create();
    if (made.ok()) root = made.take()->root().table.value;
    return negative(made.error());
  });
  return root;
}

int pgd_free(uint64_t pgd) {
  return on_machine([=](memory::Machine& machine) {
    return negative(machine.manager().directories().destroy(PhysAddr{pgd}).error());
  });
}

namespace {

// Runs body(PageTables&), which returns a Result<void>.
template <typename Body>
int on_tables(uint64_t pgd, Body&& body) {
  return on_machine([&](memory::Machine& machine) {
    const auto tables = machine.manager().directories().find(PhysAddr{pgd});
    if (!tables.ok()) return negative(tables.error());
    return negative(body(*tables.take()).error());
  });
}

}  // namespace

int map_page(uint64_t pgd, uint64_t virt, uint64_t phys, uint64_t flags) {
  return on_tables(pgd, [=](PageTables& tables) -> Result<void> {
    const std::uint64_t bytes = bytes_at((flags & PTE_HUGE) != 0 ? PageLevel::two_mib : PageLevel::page);
    const VirtAddr at{virt};
    const PhysAddr to{phys};
    if (!at.aligned_to(bytes) || !to.aligned_to(bytes)) return Error::invalid;
    const Protection how = TRY(PteFlags{flags & ~PTE_HUGE}.protection());
    return tables.map(at, to, bytes, how);
  });
}

int unmap_page(uint64_t pgd, uint64_t virt) {
  return on_tables(pgd, [=](PageTables& tables) -> Result<void> {
    const VirtAddr at{virt};
    const std::uint64_t bytes = bytes_at(TRY(tables.query(at)).level);
    if (!at.aligned_to(bytes)) return Error::invalid;
    FlushBatch flush(tables);
    return tables.unmap(at, bytes, flush);
  });
}

int64_t virt_to_phys_pgtable(uint64_t pgd, uint64_t virt) {
  std::uint64_t physical = 0;
  const int status = on_tables(pgd, [&](PageTables& tables) -> Result<void> {
    physical = TRY(tables.query(VirtAddr{virt})).physical.value;
    return {};
  });
  return status < 0 ? status : static_cast<int64_t>(physical);
}

unsigned mm_cache_number(const kmem_cache* cache) {
  unsigned number = 0;
  (void)on_cache(cache, [&](MemoryManager&, KmemCache& found) -> Result<void> {
    number = found.number();
    return {};
  });
  return number;
}

kmem_cache* mm_cache(unsigned number) {
  return static_cast<kmem_cache*>(object_of([=](MemoryManager& manager) -> Result<void*> {
    KmemCache* const found = number < kCacheSlots ? manager.heap().made(number) : nullptr;
    if (found == nullptr) return Error::not_found;
    return static_cast<void*>(found);
  }));
}

int64_t alloc_pages(unsigned order, unsigned gfp_flags) {
  return on_machine([&](memory::Machine& machine) -> int64_t {
    const auto block = allocate(machine, order, gfp_flags);
    return block.ok() ? int64_t{block.take()} : negative(block.error());
  });
}

int free_pages(uint64_t pfn, unsigned order) {
  return on_machine([&](memory::Machine& machine) { return negative(release(machine, pfn, order).error()); });
}

int64_t mm_run_pages(mm_page_operation* operations, size_t count) {
  int64_t done = 0;
  const int64_t status = on_machine([&](memory::Machine& machine) -> int64_t {
    for (std::size_t n = 0; n < count && perform(machine, operations[n]); ++n) ++done;
    return 0;
  });
  return status < 0 && done == 0 ? status : done;
}

const char* mm_error_text(unsigned error) {
  return error < kErrors ? text_of(static_cast<Error>(error)).data() : nullptr;
}

int mm_error_number(unsigned error) { return error < kErrors ? errno_of(static_cast<Error>(error)) : 0; }

int mm_shrink(void) {
  return on_machine([](memory::Machine& machine) {
    (void)machine.manager().heap().shrink();
    return 0;
  });
}

namespace {

int answer(const Result<void*>& made, uint64_t* address) {
  if (made.ok()) *address = reinterpret_cast<uint64_t>(made.take());
  return negative(made.error());
}

}  // namespace

int mm_heap_malloc(uint64_t bytes, uint64_t align, uint64_t* address) {
  return on_machine([&](memory::Machine& machine) {
    MemoryManager& manager = machine.manager();
    return answer(align == 0 ? manager.heap_malloc(bytes) : manager.heap_memalign(align, bytes), address);
  });
}

int mm_heap_realloc(uint64_t payload, uint64_t bytes, uint64_t* address) {
  return on_machine([&](memory::Machine& machine) {
    return answer(machine.manager().heap_realloc(reinterpret_cast<void*>(payload), bytes), address);
  });
}

int mm_heap_free(uint64_t payload) {
  return on_machine([&](memory::Machine& machine) {
    return negative(machine.manager().heap_free(reinterpret_cast<void*>(payload)).error());
  });
}

int64_t mm_heap_shrink(void) {
  return on_machine([](memory::Machine& machine) -> int64_t {
    return static_cast<int64_t>(machine.manager().kernel_heap().shrink());
  });
}

int mm_machine_create(const mm_shape* shape, mm_machine** out) {
  const std::vector<PhysRange> memory_list = ranges_of(shape->memory, shape->memory_ranges);
  const std::vector<PhysRange> reserved_list = ranges_of(shape->reserved, shape->reserved_ranges);
  if (shape->misuse_policy != MM_MISUSE_PANIC && shape->misuse_policy != MM_MISUSE_REFUSE) return -EINVAL;
  if (shape->levels != 0 && shape->levels != 4 && shape->levels != 5) return -EINVAL;
  MachineShape wanted{
      .memory = memory_list,
      .reserved = reserved_list,
      .cpus = shape->cpus,
      .on_misuse = shape->misuse_policy == MM_MISUSE_PANIC ? MisusePolicy::panic : MisusePolicy::refuse,
      .room_end = PhysAddr{shape->room_end},
      .top = shape->levels == 5 ? PageLevel::tib_256 : PageLevel::gib_512};
  if (shape->direct_end != 0) wanted.direct_end = PhysAddr{shape->direct_end};
  try {
    const auto machine = host::Machine::create(wanted);
    if (!machine.ok()) return -errno_of(machine.error());
    std::unique_ptr<host::Machine> owner(machine.take());
    *out = new mm_machine{.machine = std::move(owner), .panic = std::nullopt};
    return 0;
  } catch (const std::bad_alloc&) {
    return -ENOMEM;
  } catch (const host::Panic&) {  // a reserved range that is no memory, for one
    return -EINVAL;
  }
}

void mm_machine_destroy(mm_machine* machine) {
  if (here.machine == machine) mm_enter(nullptr, 0);
  delete machine;
}

int mm_enter(mm_machine* machine, unsigned cpu) {
  if (machine != nullptr && cpu >= (*machine->machine)->cpu_count()) return -EINVAL;
  if (here.machine == nullptr) here.former = host::current_cpu;
  here.machine = machine;
  host::current_cpu = machine != nullptr ? &(*machine->machine)->cpu(cpu) : here.former;
  return 0;
}

const char* mm_last_panic(void) {
  return here.machine != nullptr && here.machine->panic ? here.machine->panic->c_str() : nullptr;
}

uint64_t mm_record(const mm_machine* machine) {
  return reinterpret_cast<uint64_t>(&(*machine->machine)->record());
}

const char* mm_last_error(void) { return text_of(here.last_error).data(); }

int buddy_add_memory(uint64_t first, uint64_t end) {
  return on_machine([&](memory::Machine& machine) -> int {
    return negative(machine.add_memory({PhysAddr{first}, PhysAddr{end}}).error());
  });
}

int mm_quiesce(void) {
  return on_machine([](memory::Machine& machine) {
    machine.manager().heap().quiesce();
    machine.physical().quiesce();
    return 0;
  });
}

int mm_fail_nth(uint64_t n) {
  return on_machine([&](memory::Machine& machine) {
    machine.manager().fail_nth(n);
    return 0;
  });
}

int mm_fail_pending(void) {
  return on_machine(
      [](memory::Machine& machine) { return static_cast<int>(machine.physical().fail_plan().pending()); });
}

const char* mm_fail_site(void) {
  const char* site = nullptr;
  (void)on_machine([&](memory::Machine& machine) {
    const FailPlan& plan = machine.physical().fail_plan();
    if (plan.struck()) site = text_of(plan.last_site()).data();
    return 0;
  });
  return site;
}

int mm_valid(void) {
  return on_machine([](memory::Machine& machine) { return static_cast<int>(machine.manager().valid()); });
}

int mm_stress_pages(uint64_t operations, uint64_t seed, int hold, mm_stress_report* report) {
  return on_machine([&](memory::Machine& machine) -> int {
    Stress stress(machine.physical(), seed);
    const auto ran = stress.run(operations, [] { return true; });
    if (!ran.ok()) return negative(ran.error());
    const StressReport& said = stress.report();
    *report = {.operations = said.operations,
               .allocations = said.allocations,
               .releases = said.releases,
               .refused = said.refused,
               .misuses = said.misuses,
               .live_blocks = said.live_blocks,
               .live_frames = said.live_frames};
    if (hold == 0) stress.release_all();
    return 0;
  });
}

void* mm_frame_bytes(uint64_t pfn) {
  if (here.machine == nullptr || pfn >= raw(kNoFrame)) return nullptr;
  FrameTable& frames = (*here.machine->machine)->frames();
  const FrameNumber number{static_cast<std::uint32_t>(pfn)};
  return frames.has(number) && frames[number].state() != FrameState::absent ? frames.open(number).bytes()
                                                                            : nullptr;
}

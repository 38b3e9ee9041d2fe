// libFuzzer target: any operations on the frame allocator of a small machine, against a model of one byte a
// frame.
// SPDX-License-Identifier: MIT
#include <fuzzer/FuzzedDataProvider.h>

#include <array>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <vector>

#include "mm/host/cpu.hpp"
#include "mm/host/machine.hpp"
#include "tests/fuzz/must.hpp"

namespace {

using namespace memory;

constexpr std::uint32_t kFrames = 2 * 2048;  // two blocks of the largest order, all of zone DMA
constexpr unsigned kOrders = config::max_order + 1;

enum class Action : std::uint8_t { allocate, release, misuse, fill, drain, donate, prove, kMaxValue = prove };

enum class Is : std::uint8_t { absent, reserved, free, head, inside };

struct Held {
  std::uint32_t number;
  unsigned order;
};

Order order_of(unsigned order) { return Order{static_cast<std::uint8_t>(order)}; }

// What the allocator should be, without lists, bits or merging: a block is free when all of its frames are.
class Model {
 public:
  std::array<Is, kFrames> frames{};
  std::array<std::uint8_t, kFrames> orders{};
  std::vector<Held> held;

  void set(std::uint32_t first, std::uint32_t count, Is is) {
    for (std::uint32_t n = 0; n < count; ++n) frames[first + n] = is;
  }
  bool all(std::uint32_t first, std::uint32_t count, Is is) const {
    for (std::uint32_t n = 0; n < count; ++n)
      if (frames[first + n] != is) return false;
    return true;
  }
  bool has_block(unsigned order) const {
    for (std::uint32_t at = 0; at < kFrames; at += 1u << order)
      if (all(at, 1u << order, Is::free)) return true;
    return false;
  }
  std::uint64_t count(Is is) const {
    std::uint64_t found = 0;
    for (const Is frame : frames) found += frame == is;
    return found;
  }
  void allocated(Held block) {
    MUST(block.number % (1u << block.order) == 0);
    MUST(all(block.number, 1u << block.order, Is::free));
    set(block.number, 1u << block.order, Is::inside);
    frames[block.number] = Is::head;
    orders[block.number] = static_cast<std::uint8_t>(block.order);
    held.push_back(block);
  }
  void released(std::size_t slot) {
    set(held[slot].number, 1u << held[slot].order, Is::free);
    held[slot] = held.back();
    held.pop_back();
  }
  // What release(number, order) must say.
  Error verdict(std::uint64_t number, unsigned order) const {
    if (order >= kOrders) return Error::invalid;
    if (number >= kFrames) return Error::wild_free;
    switch (frames[number]) {
      case Is::absent: return Error::wild_free;
      case Is::reserved: return Error::reserved_free;
      case Is::free: return Error::double_free;
      case Is::inside: return Error::interior_free;
      case Is::head: return orders[number] == order ? Error::ok : Error::wrong_order;
    }
    std::abort();
  }
  // Free blocks of each order as a buddy system has them: aligned, free, and the buddy is not.
  std::array<std::uint64_t, kOrders> free_blocks() const {
    std::array<std::uint64_t, kOrders> blocks{};
    for (std::uint32_t at = 0; at < kFrames; at += 1u << (kOrders - 1)) descend(at, kOrders - 1, blocks);
    return blocks;
  }

 private:
  void descend(std::uint32_t at, unsigned order, std::array<std::uint64_t, kOrders>& blocks) const {
    if (all(at, 1u << order, Is::free)) {
      ++blocks[order];
    } else if (order > 0) {
      descend(at, order - 1, blocks);
      descend(at + (1u << (order - 1)), order - 1, blocks);
    }
  }
};

class Run {
 public:
  Run(const std::uint8_t* data, std::size_t size) : input_(data, size) {
    if (input_.ConsumeBool()) caching_ = FrameCaches::Service::on;
    draw_memory();
    draw_reserved();
    machine_.reset(
        host::Machine::create({.memory = memory_, .reserved = reserved_, .caching = caching_}).take());
  }

  void go() {
    const host::Cpu cpu(machine()->cpu(0));
    while (input_.remaining_bytes() > 0) act(input_.ConsumeEnum<Action>());
    prove();
    while (!model_.held.empty()) release(model_.held.size() - 1);
    prove();
  }

 private:
  host::Machine& machine() { return *machine_; }

  void draw_memory() {
    std::uint32_t at = 0;
    for (unsigned ranges = input_.ConsumeIntegralInRange(1u, 4u); ranges > 0 && at < kFrames - 1; --ranges) {
      const auto first = input_.ConsumeIntegralInRange(at, std::min(at + 1100, kFrames - 1));
      const auto end = input_.ConsumeIntegralInRange(first + 1, kFrames);
      memory_.push_back(range(first, end));
      model_.set(first, end - first, Is::free);
      at = end + 1;
    }
  }
  void draw_reserved() {
    std::uint32_t at = 0;
    for (unsigned pieces = input_.ConsumeIntegralInRange(0u, 6u); pieces > 0; --pieces) {
      const auto first = input_.ConsumeIntegralInRange(at, kFrames - 1);
      std::uint32_t end = first;
      for (auto most = input_.ConsumeIntegralInRange(1u, 2048u); most > 0 && end < kFrames; --most, ++end)
        if (model_.frames[end] != Is::free) break;
      if (end == first) continue;
      reserved_.push_back(range(first, end));
      model_.set(first, end - first, Is::reserved);
      at = end;
      if (at >= kFrames) return;
    }
  }

  void act(Action action) {
    switch (action) {
      case Action::allocate: allocate(input_.ConsumeIntegralInRange(0u, kOrders + 1)); return;
      case Action::release:
        if (!model_.held.empty()) release(input_.ConsumeIntegral<std::uint16_t>() % model_.held.size());
        return;
      case Action::misuse: return misuse();
      case Action::fill: {
        const unsigned order = input_.ConsumeIntegralInRange(0u, kOrders - 1);
        for (unsigned n = 0; n < 64 && allocate(order); ++n) {
        }
        return;
      }
      case Action::drain:
        for (unsigned n = input_.ConsumeIntegral<std::uint8_t>(); n > 0 && !model_.held.empty(); --n)
          release(n * 7 % model_.held.size());
        return;
      case Action::donate: return donate();
      case Action::prove: return prove();
    }
  }

  bool allocate(unsigned order) {
    const auto got = machine()->physical().allocate(order_of(order), Gfp::atomic);
    if (order >= kOrders) {
      MUST(got.error() == Error::invalid);
      return false;
    }
    MUST(got.ok() == model_.has_block(order));
    if (!got.ok()) {
      MUST(got.error() == Error::no_memory);
      return false;
    }
    const FrameNumber number = got.take();
    model_.allocated({raw(number), order});
    const Frame& frame = machine()->frames()[number];
    MUST(frame.is(FrameState::allocated, order_of(order)) && frame.references() == 1);
    std::byte* const bytes = machine()->frames().open(number).bytes();
    std::memset(bytes, 0x5c, 8);  // ASan: all of it is ours
    std::memset(bytes + bytes_in(order_of(order)) - 8, 0x5c, 8);
    return true;
  }

  void release(std::size_t slot) {
    const Held block = model_.held[slot];
    const std::byte* const bytes = machine()->frames().open(FrameNumber{block.number}).bytes();
    MUST(bytes[0] == std::byte{0x5c} && bytes[bytes_in(order_of(block.order)) - 1] == std::byte{0x5c});
    MUST(machine()->physical().release(FrameNumber{block.number}, order_of(block.order)).ok());
    model_.released(slot);
  }

  // Any release at all that is not right.
  void misuse() {
    const auto number = input_.ConsumeBool() ? input_.ConsumeIntegralInRange(0u, kFrames + 600)
                                             : input_.ConsumeIntegral<std::uint32_t>();
    const unsigned order = input_.ConsumeIntegralInRange(0u, kOrders + 1);
    const Error verdict = model_.verdict(number, order);
    if (verdict == Error::ok) return;
    MUST(machine()->physical().release(FrameNumber{number}, order_of(order)).error() == verdict);
  }

  // Puts a part of what was reserved into service.
  void donate() {
    const auto from = input_.ConsumeIntegralInRange(0u, kFrames - 1);
    std::uint32_t first = from;
    while (first < kFrames && model_.frames[first] != Is::reserved) ++first;
    std::uint32_t end = first;
    for (auto most = input_.ConsumeIntegralInRange(1u, 1500u); most > 0 && end < kFrames; --most, ++end)
      if (model_.frames[end] != Is::reserved) break;
    if (first == end) return;
    machine()->physical().zone(ZoneKind::dma).donate(range(first, end));
    model_.set(first, end - first, Is::free);
  }

  void prove() {
    MUST(machine()->manager().valid());
    machine()->physical().quiesce();
    const Physical& physical = machine()->physical();
    MUST(machine()->manager().valid());
    MUST(physical.free_blocks() == model_.free_blocks());
    MUST(physical.levels().free == model_.count(Is::free));
    MUST(physical.levels().present == kFrames - model_.count(Is::absent));
    MUST(physical.levels().reserved == model_.count(Is::reserved));
  }

  static PhysRange range(std::uint32_t first, std::uint32_t end) {
    return {address_of(FrameNumber{first}), address_of(FrameNumber{end})};
  }

  FuzzedDataProvider input_;
  FrameCaches::Service caching_ = FrameCaches::Service::off;
  std::vector<PhysRange> memory_;
  std::vector<PhysRange> reserved_;
  Model model_;
  std::unique_ptr<host::Machine> machine_;
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  Run(data, size).go();
  return 0;
}

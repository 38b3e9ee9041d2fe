// Fuzzes the frame allocator: any sequence of allocations, releases and misuses against a model that is one byte a
// frame.
// SPDX-License-Identifier: MIT
#include <fuzzer/FuzzedDataProvider.h>

#include <array>
#include <cstdlib>
#include <map>
#include <memory>
#include <vector>

#include "mm/host/machine.hpp"

namespace {

using namespace memory;
using stats::Counter;

void require(bool holds) {
  if (!holds) std::abort();
}

enum class Kind : std::uint8_t { absent, reserved, free, head, inside };

// Two pieces of memory with a hole, odd edges and reserved frames between them; the input moves the edges.
struct Shape {
  std::array<PhysRange, 2> memory;
  std::array<PhysRange, 2> reserved;

  explicit Shape(FuzzedDataProvider& input) {
    const auto range = [](std::uint64_t first, std::uint64_t frames) {
      return PhysRange{PhysAddr{first * kPageSize}, PhysAddr{(first + frames) * kPageSize}};
    };
    const std::uint64_t low = input.ConsumeIntegralInRange<std::uint64_t>(1, 1500);
    const std::uint64_t gap = input.ConsumeIntegralInRange<std::uint64_t>(0, 1200);
    const std::uint64_t high = input.ConsumeIntegralInRange<std::uint64_t>(1, 4500);
    const std::uint64_t first = input.ConsumeIntegralInRange<std::uint64_t>(0, 600);
    memory = {range(first, low), range(first + low + gap, high)};
    reserved = {range(first, input.ConsumeIntegralInRange<std::uint64_t>(0, low)),
                range(first + low + gap, input.ConsumeIntegralInRange<std::uint64_t>(0, high))};
  }
};

class Model {
 public:
  explicit Model(const Shape& shape) {
    for (const PhysRange& range : shape.memory) mark(range, Kind::free);
    for (const PhysRange& range : shape.reserved) mark(range, Kind::reserved);
    for (const Kind kind : kinds_) free_ += kind == Kind::free;
  }

  std::uint64_t free() const { return free_; }
  const std::map<std::uint32_t, unsigned>& live() const { return live_; }

  bool has_free(unsigned order) const {
    for (std::size_t first = 0; first + (std::size_t{1} << order) <= kinds_.size();
         first += std::size_t{1} << order)
      if (all(first, order, Kind::free)) return true;
    return false;
  }

  void allocated(std::uint32_t number, unsigned order) {
    require(number % (1u << order) == 0 && all(number, order, Kind::free));
    fill(number, order, Kind::inside);
    kinds_[number] = Kind::head;
    live_[number] = order;
    free_ -= std::uint64_t{1} << order;
  }

  // What release() must say, and what it does when it says ok.
  Error release(std::uint32_t number, unsigned order) {
    if (order > raw(kMaxOrder)) return Error::invalid;
    const Kind kind = number < kinds_.size() ? kinds_[number] : Kind::absent;
    switch (kind) {
      case Kind::absent: return Error::wild_free;
      case Kind::reserved: return Error::reserved_free;
      case Kind::free: return Error::double_free;
      case Kind::inside: return Error::interior_free;
      case Kind::head: break;
    }
    if (live_.at(number) != order) return Error::wrong_order;
    live_.erase(number);
    fill(number, order, Kind::free);
    free_ += std::uint64_t{1} << order;
    return Error::ok;
  }

 private:
  void mark(PhysRange range, Kind kind) {
    const std::size_t end = raw(frame_at(range.end));
    if (kinds_.size() < end) kinds_.resize(end, Kind::absent);
    for (std::size_t at = raw(frame_at(range.first)); at < end; ++at) kinds_[at] = kind;
  }
  void fill(std::size_t first, unsigned order, Kind kind) {
    for (std::size_t at = first; at < first + (std::size_t{1} << order); ++at) kinds_[at] = kind;
  }
  bool all(std::size_t first, unsigned order, Kind kind) const {
    if (first + (std::size_t{1} << order) > kinds_.size()) return false;
    for (std::size_t at = first; at < first + (std::size_t{1} << order); ++at)
      if (kinds_[at] != kind) return false;
    return true;
  }

  std::vector<Kind> kinds_;
  std::map<std::uint32_t, unsigned> live_;
  std::uint64_t free_ = 0;
};

enum class Action : std::uint8_t { allocate, release, misuse, validate, kMaxValue = validate };

void run(FuzzedDataProvider& input, memory::Machine& machine, Model& model) {
  Physical& physical = machine.physical();
  while (input.remaining_bytes() > 0) {
    switch (input.ConsumeEnum<Action>()) {
      case Action::allocate: {
        const auto order = input.ConsumeIntegralInRange<std::uint8_t>(0, 12);
        const auto frame = physical.allocate(Order{order});
        if (frame.ok()) {
          model.allocated(raw(physical.frames().number_of(*frame.take())), order);
        } else {
          require(frame.error() == (order > raw(kMaxOrder) ? Error::invalid : Error::no_memory));
          require(order > raw(kMaxOrder) || !model.has_free(order));
        }
        break;
      }
      case Action::release: {
        if (model.live().empty()) break;
        auto block = model.live().begin();
        std::advance(block, input.ConsumeIntegralInRange<std::size_t>(0, model.live().size() - 1));
        const auto [number, order] = *block;
        require(physical.release(FrameNumber{number}, Order{static_cast<std::uint8_t>(order)}).ok());
        require(model.release(number, order) == Error::ok);
        break;
      }
      case Action::misuse: {  // or not, as it happens
        const auto number = input.ConsumeIntegralInRange<std::uint32_t>(0, 9000);
        const auto order = input.ConsumeIntegralInRange<std::uint8_t>(0, 12);
        require(physical.release(FrameNumber{number}, Order{order}).error() == model.release(number, order));
        break;
      }
      case Action::validate: require(machine.manager().valid()); break;
    }
    require(physical.zone().levels().free_frames == model.free());
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  FuzzedDataProvider input(data, size);
  const Shape shape(input);
  const auto made = host::Machine::create({.memory = shape.memory, .reserved = shape.reserved});
  require(made.ok());
  const std::unique_ptr<host::Machine> owner(made.take());
  memory::Machine& machine = **owner;
  const host::Cpu cpu(machine.cpu(0));
  Model model(shape);
  run(input, machine, model);
  require(machine.manager().valid());
  for (const auto& [number, order] : std::map(model.live()))
    require(machine.physical().release(FrameNumber{number}, Order{static_cast<std::uint8_t>(order)}).ok());
  require(machine.manager().valid());
  require(machine.counter(Counter::frames_free) == machine.counter(Counter::frames_managed));
  return 0;
}

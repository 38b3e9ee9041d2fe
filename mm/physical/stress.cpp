// Stress: the steps and the checks behind them.
// SPDX-License-Identifier: MIT
#include "mm/physical/stress.hpp"

#include <cstring>

#include "mm/base/bits.hpp"

namespace memory {

Result<void> Stress::open() {
  if (table_ != nullptr) return {};
  table_frame_ = TRY(physical_.allocate(kTableOrder));
  table_ = reinterpret_cast<Held*>(physical_.frames().open(table_frame_).bytes());
  return {};
}

void Stress::step() {
  ++report_.operations;
  const std::uint64_t dice = random_.next();
  if (report_.live_blocks > 0 && (dice & 15) == 0) return misuse(random_.below(report_.live_blocks));

  const ZoneLevels levels = physical_.zone_levels();
  if (levels.free_frames * 10 < levels.managed_frames) filling_ = false;
  if (levels.free_frames * 10 > levels.managed_frames * 7) filling_ = true;
  const bool grow = (dice >> 4 & 3) != 0 ? filling_ : !filling_;  // three of four steps follow the tide
  if (report_.live_blocks == 0 || (grow && report_.live_blocks < kMaxLive)) return allocate();
  release(random_.below(report_.live_blocks));
}

// Order n is half as likely as order n - 1, so that every order moves about as much memory.
void Stress::allocate() {
  const auto order =
      static_cast<std::uint8_t>(lowest_bit(random_.next() | std::uint64_t{1} << raw(kMaxOrder)));
  const auto frame = physical_.allocate(Order{order});
  if (!frame.ok()) {
    ++report_.refused;
    return;
  }
  const Held held{frame.take(), order};
  stamp(held);
  table_[report_.live_blocks++] = held;
  report_.live_frames += frames_in(Order{order});
  ++report_.allocations;
}

void Stress::release(std::size_t slot) {
  const Held held = table_[slot];
  const Order order{static_cast<std::uint8_t>(held.order)};
  check_stamp(held);
  expect(physical_.release(held.number, order), Error::ok);
  table_[slot] = table_[--report_.live_blocks];
  report_.live_frames -= frames_in(order);
  ++report_.releases;
}

// One of the releases that no caller may make, on and around a block that is held.
void Stress::misuse(std::size_t slot) {
  const Held held = table_[slot];
  const Order order{static_cast<std::uint8_t>(held.order)};
  const Order other{static_cast<std::uint8_t>((held.order + 1) % (raw(kMaxOrder) + 1))};
  ++report_.misuses;
  switch (random_.below(4)) {
    case 0: return expect(physical_.release(held.number, other), Error::wrong_order);
    case 1:
      if (held.order == 0)
        return expect(physical_.release(physical_.frames().limit(), order), Error::wild_free);
      return expect(physical_.release(held.number + (frames_in(order) - 1), Order{0}), Error::interior_free);
    case 2: return expect(physical_.release(physical_.frames().limit() + 7, order), Error::wild_free);
    default: {
      release(slot);
      return expect(physical_.release(held.number, order), Error::double_free);
    }
  }
}

void Stress::expect(Result<void> result, Error error) {
  if (result.error() == error) return;
  platform::panic(error == Error::ok ? "stress: a block that is held was not taken back"
                                     : "stress: a misuse was not detected for what it is");
}

void Stress::stamp(Held held) {
  const std::uint64_t stamp = stamp_of(held);
  std::byte* const bytes = physical_.frames().open(held.number).bytes();
  std::memcpy(bytes, &stamp, sizeof stamp);
  std::memcpy(bytes + bytes_in(Order{static_cast<std::uint8_t>(held.order)}) - sizeof stamp, &stamp,
              sizeof stamp);
}

void Stress::check_stamp(Held held) const {
  const std::byte* const bytes = physical_.frames().open(held.number).bytes();
  const std::byte* const last =
      bytes + bytes_in(Order{static_cast<std::uint8_t>(held.order)}) - sizeof(std::uint64_t);
  std::uint64_t stamps[2];
  std::memcpy(&stamps[0], bytes, sizeof stamps[0]);
  std::memcpy(&stamps[1], last, sizeof stamps[1]);
  if (stamps[0] != stamp_of(held) || stamps[1] != stamp_of(held))
    platform::panic("stress: a block was overwritten while it was held");
}

void Stress::release_all() {
  while (report_.live_blocks > 0) release(report_.live_blocks - 1);
  if (table_ == nullptr) return;
  expect(physical_.release(table_frame_, kTableOrder), Error::ok);
  table_ = nullptr;
}

}  // namespace memory

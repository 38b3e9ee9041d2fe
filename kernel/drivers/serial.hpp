// A 16550 serial port: sends by polling, receives into a ring, by interrupt or polling.
// SPDX-License-Identifier: MIT
#pragma once
#include <array>
#include <atomic>
#include <cstdint>
#include <optional>
#include <string_view>

namespace kernel {

class SerialPort {
 public:
  // `attention`: a byte that throws away what was received before it and is remembered (^C on a console).
  constexpr SerialPort(std::uint16_t base, unsigned irq, std::optional<std::uint8_t> attention = std::nullopt)
      : base_(base), irq_(irq), attention_(attention) {}
  SerialPort(const SerialPort&) = delete;
  SerialPort& operator=(const SerialPort&) = delete;

  // Looks for the chip, sets 115200 8N1. What already waits in it is kept, at the price of FIFOs that
  // settle() switches on later. False: nobody is there, and every other call does nothing.
  bool start();
  // Call now and then when there is nothing else to do.
  void settle();
  bool present() const { return present_; }

  // From now on the interrupt handler fills the ring. Interrupts may still be off.
  void receive_by_interrupt(void (*handler)());
  void on_interrupt();

  // Sends raw bytes, waiting for room before each. A peer that takes nothing for some twenty seconds loses
  // bytes (counted) and is not waited for again until it takes one. Any context; calls do not nest into each
  // other's bytes.
  void write(std::string_view bytes);
  void write_byte(std::uint8_t byte);

  // The next byte that was received, if any. Not from interrupt handlers.
  std::optional<std::uint8_t> read();
  // True when read() would give a byte.
  bool readable();

  // True once after the attention byte arrived.
  bool take_attention() { return attention_seen_.exchange(false, std::memory_order_relaxed); }
  bool attention_seen() const { return attention_seen_.load(std::memory_order_relaxed); }

  std::uint64_t bytes_unsent() const { return unsent_; }  // given up by write()
  std::uint64_t bytes_overrun() const {
    return overruns_;
  }  // times that the chip says it lost received bytes

 private:
  void drain();  // chip -> ring, until one is empty or the other full. Interrupts off.
  void keep(std::uint8_t byte);
  void switch_fifos_on();
  void set_receive_interrupt(std::uint8_t enabled);
  std::uint32_t held() const { return head_ - tail_; }

  // Room for every line that a person pastes while a command runs; more waits in the chip and before it,
  // because a full ring stops reading (QEMU then stops, and so does the peer; on a cable RTS says so).
  static constexpr std::uint32_t kRing = 4096;

  const std::uint16_t base_;
  const unsigned irq_;
  const std::optional<std::uint8_t> attention_;
  bool present_ = false;
  bool by_interrupt_ = false;
  bool fifos_on_ = false;
  bool paused_ = false;   // the ring was full
  bool stalled_ = false;  // the peer takes nothing
  std::atomic<bool> attention_seen_ = false;
  std::uint64_t unsent_ = 0;
  std::uint64_t overruns_ = 0;
  std::uint64_t last_byte_tick_ = 0;
  std::uint32_t head_ = 0;  // bytes ever put in
  std::uint32_t tail_ = 0;  // bytes ever taken out
  std::array<std::uint8_t, kRing> ring_{};
};

// COM1 is for people, COM2 for programs.
extern SerialPort com1;
extern SerialPort com2;

}  // namespace kernel

// SPDX-License-Identifier: MIT
#include "kernel/shell/link.hpp"

#include <algorithm>
#include <array>

#include "kernel/arch/x86_64/clock.hpp"
#include "kernel/boot.hpp"
#include "kernel/drivers/serial.hpp"
#include "kernel/shell/command.hpp"
#include "kernel/shell/event.hpp"
#include "mm/base/format.hpp"
#include "mm/stats/render.hpp"

namespace kernel::shell {

namespace {

constexpr std::uint64_t kQuietNs = 100'000'000;
constexpr std::size_t kMostLines = 64;

std::size_t lines_in(std::string_view text) {
  return text.empty() ? 0 : static_cast<std::size_t>(std::count(text.begin(), text.end(), '\n')) + 1;
}

}  // namespace

void send_record(RecordHeader header, std::string_view payload) {
  header.bytes = static_cast<std::uint16_t>(payload.size());
  header.crc = crc_of(header, payload);
  com2.write({reinterpret_cast<const char*>(&header), sizeof header});
  com2.write(payload);
}

bool Link::poll() {
  bool whole = false;
  std::size_t taken = 0;
  for (; taken < bytes_.size() && !whole; ++taken) {
    const auto byte = com2.read();
    if (!byte) break;
    whole = take_byte(*byte);
  }
  if (taken == 0) {
    drop_stale_beginning();
  } else {
    last_byte_ns_ = clock::now_ns();  // once for all: reading the clock costs more than a byte
  }
  return whole || taken == bytes_.size();
}

void Link::drop_stale_beginning() {
  if (used_ == 0 && junk_ == 0) return;
  if (clock::now_ns() - last_byte_ns_ < kQuietNs) return;
  memory::TextBuffer<80> why;
  why.text("unfinished: ").number(used_ + junk_).text(" bytes that are no whole record");
  refuse(why.view());
}

RecordHeader Link::header() const {
  RecordHeader header;
  __builtin_memcpy(&header, bytes_.data(), sizeof header);
  return header;
}

// True when the byte ended a record, good or bad.
bool Link::take_byte(std::uint8_t byte) {
  bytes_[used_++] = static_cast<char>(byte);
  skip_to_magic();
  if (used_ < sizeof(RecordHeader)) return false;
  const RecordHeader head = header();
  if (head.bytes > RecordHeader::kMostPayload) {
    refuse("bad length: a payload has at most 4076 bytes");
    return true;
  }
  if (used_ < sizeof(RecordHeader) + head.bytes) return false;
  const std::string_view payload(bytes_.data() + sizeof(RecordHeader), head.bytes);
  if (crc_of(head, payload) != head.crc) {
    refuse("bad CRC");
    return true;
  }
  serve(head, payload);
  used_ = 0;
  junk_ = 0;
  return true;
}

// Drops bytes from the front until they begin with as much of the magic as there is.
void Link::skip_to_magic() {
  constexpr std::uint32_t kMagic = RecordHeader::kMagic;
  if (used_ > sizeof kMagic) return;
  while (used_ > 0 && __builtin_memcmp(bytes_.data(), &kMagic, used_) != 0) {
    ++junk_;
    --used_;
    __builtin_memmove(bytes_.data(), bytes_.data() + 1, used_);
  }
}

void Link::refuse(std::string_view why) {
  used_ = 0;
  junk_ = 0;
  send_record({.kind = RecordKind::refused}, why);
}

void Link::serve(const RecordHeader& header, std::string_view payload) {
  if (header.kind != RecordKind::request) return refuse("only requests (kind 1) are taken");
  if (header.id == 0) return refuse("id 0 belongs to the kernel");
  if (header.part != 0 || header.parts != 1) return refuse("a request has one part");
  if (!payload.empty() && payload.back() == '\n') payload.remove_suffix(1);
  if (lines_in(payload) > kMostLines) return refuse("a request has at most 64 lines");
  if (header.id != last_id_) {
    last_id_ = 0;  // a command that never comes back leaves no half reply
    run_lines(payload);
    last_id_ = header.id;
  }
  send_reply();
}

void Link::run_lines(std::string_view lines) {
  reply_.clear();
  reply_.write("[");
  for (std::size_t left = lines_in(lines); left > 0; --left) {
    const std::size_t end = std::min(lines.find('\n'), lines.size());
    // Each line still to come has room for at least a failure, with its comma.
    reply_.set_limit(Reply::kMostBytes - 1 - (left - 1) * (kFailureBytes + 1));
    run_for_program(lines.substr(0, end), reply_);
    lines.remove_prefix(std::min(end + 1, lines.size()));
    reply_.set_limit(Reply::kMostBytes);
    if (left > 1) reply_.write(",");
  }
  reply_.write("]");
}

void Link::send_reply() const {
  const std::string_view text = reply_.view();
  constexpr std::size_t kPart = RecordHeader::kMostPayload;
  const std::size_t parts = std::max<std::size_t>(1, (text.size() + kPart - 1) / kPart);
  for (std::size_t part = 0; part < parts; ++part) {
    send_record({.id = last_id_,
                 .kind = RecordKind::reply,
                 .part = static_cast<std::uint8_t>(part),
                 .parts = static_cast<std::uint32_t>(parts)},
                text.substr(part * kPart, kPart));
  }
}

}  // namespace kernel::shell

namespace kernel {

namespace {

void send(std::string_view json) { shell::send_record({.kind = shell::RecordKind::event}, json); }

// Room for an event whose texts are all escapes. Not on the stack, which may be what is broken.
constinit std::array<char, 2560> event_text{};

class EventSink final : public memory::Sink {
 public:
  void write(std::string_view text) override { writer_.text(text); }
  memory::Writer& writer() { return writer_; }

 private:
  memory::Writer writer_{event_text.data(), event_text.size()};
};

}  // namespace

void send_ready_event() {
  memory::TextBuffer<120> text;
  text.text("{\"event\":\"ready\",\"kmain_tsc\":").number(boot_times.kmain_tsc);
  text.text(",\"prompt_tsc\":").number(boot_times.prompt_tsc).text("}");
  send(text.view());
}

void send_panic_event(std::string_view why, const char* file, int line) {
  EventSink sink;
  sink.writer().text("{\"event\":\"panic\",\"reason\":");
  memory::write_json_string(sink, why.substr(0, 320));
  if (file != nullptr) {
    sink.writer().text(",\"file\":");
    memory::write_json_string(sink, std::string_view(file).substr(0, 80));
    sink.writer().text(",\"line\":").number(line);
  }
  sink.writer().text("}");
  send(sink.writer().view());
}

void send_reboot_event() { send("{\"event\":\"reboot\"}"); }
void send_poweroff_event() { send("{\"event\":\"poweroff\"}"); }

}  // namespace kernel

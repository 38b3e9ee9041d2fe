// Link: the program's side of the shell, framed records on COM2.
// SPDX-License-Identifier: MIT
#pragma once
#include <array>
#include <cstdint>
#include <string_view>

#include "kernel/shell/record.hpp"
#include "kernel/shell/reply.hpp"

namespace kernel::shell {

// Sends one record whole. Any context.
void send_record(RecordHeader header, std::string_view payload);

class Link {
 public:
  constexpr Link() = default;
  Link(const Link&) = delete;

  // Takes in what has arrived and answers at most one record. True when there may be more to do at once.
  bool poll();

 private:
  void drop_stale_beginning();
  bool take_byte(std::uint8_t byte);
  void skip_to_magic();
  void serve(const RecordHeader& header, std::string_view payload);
  void run_lines(std::string_view lines);
  void refuse(std::string_view why);
  void send_reply() const;
  RecordHeader header() const;

  std::uint32_t last_id_ = 0;  // whose reply reply_ holds; 0: none
  Reply reply_;
  std::uint64_t last_byte_ns_ = 0;
  std::uint64_t junk_ = 0;  // bytes thrown away since the last record because no magic began there
  std::size_t used_ = 0;
  std::array<char, sizeof(RecordHeader) + RecordHeader::kMostPayload> bytes_{};
};

}  // namespace kernel::shell

// A guest that answers requests on COM2 and fails at it in the way -DFAULT names, the first -DTIMES times.
// SPDX-License-Identifier: MIT
#include "record.hpp"

namespace guest {

enum class Fault {
  none,
  wrong_crc,    // one byte of the reply changes
  lost_byte,    // one byte of the payload never arrives
  lost_header,  // one byte of the header never arrives
  silence,      // no reply
  refusal,      // "refused", as after a damaged request
  wrong_id,     // a reply to something else
  two_parts,    // a whole reply in two records
  lost_part,    // ... of which the second loses a byte
  not_json,     // a sound record that holds no JSON
  wrong_count,  // one outcome more than lines
  noise,        // stray bytes, half a magic among them, before the reply
  false_start,  // a whole magic that begins no record, before the reply
  dies,         // powers off instead of answering
};

constexpr const char* kReply = "[{\"status\":0,\"value\":42}]";

static void answer(Word id, Fault fault) {
  const Header whole{.id = id, .kind = reply};
  switch (fault) {
    case Fault::none: return send(whole, kReply);
    case Fault::wrong_crc: return send(whole, kReply, {.flip_byte = 30});
    case Fault::lost_byte: return send(whole, kReply, {.skip_byte = 25});
    case Fault::lost_header: return send(whole, kReply, {.skip_byte = 6});
    case Fault::silence: return;
    case Fault::refusal: return send({.kind = refused}, "bad CRC");
    case Fault::wrong_id: return send({.id = id ^ 1, .kind = reply}, "[{\"status\":0,\"value\":13}]");
    case Fault::two_parts:
    case Fault::lost_part:
      send({.id = id, .kind = reply, .part = 0, .parts = 2}, "[{\"status\":0,\"val");
      return send({.id = id, .kind = reply, .part = 1, .parts = 2}, "ue\":42}]",
                  {.skip_byte = fault == Fault::lost_part ? 22 : ~0u});
    case Fault::not_json: return send(whole, "[{\"status\":");
    case Fault::wrong_count: return send(whole, "[{\"status\":0},{\"status\":0}]");
    case Fault::noise: com2.write("\xff\x01 CRN CRC\xff"); return send(whole, kReply);
    case Fault::false_start: com2.write("\xff CRNL\xff"); return send(whole, kReply);
    case Fault::dies: return exit_with(0x10);
  }
}

static void serve() {
  com2.use_queue();
  send_event("{\"event\":\"ready\"}");
  for (Word served = 0;; ++served) {
    const Header header = receive();
    if (header.magic != kMagic || header.kind != request) exit_with(0x7f);
    answer(header.id, served < TIMES ? Fault::FAULT : Fault::none);
  }
}

}  // namespace guest

extern "C" void run() { guest::serve(); }

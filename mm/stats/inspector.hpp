// Inspector: a structure says its keys and values once; a table for people, JSON and callbacks are renderings
// of it.
// SPDX-License-Identifier: MIT
#pragma once
#include <cstdint>
#include <string_view>

namespace memory {

// How people see an object; programs see the same keys either way.
enum class Layout : std::uint8_t {
  // One "Key:   value unit" a line, as /proc/meminfo; inside a row: indented below it, as /proc/zoneinfo.
  lines,
  row,    // all on one line, as /proc/buddyinfo: "Node 0, zone   Normal    12     3     1"
  table,  // of an array: its objects are rows under one line of keys
};

enum class Unit : std::uint8_t { none, kib, frames, events, ns, instructions };

// Call sequence: one begin_object .. end_object at the top; inside it any of the calls below, nested. Names
// outlive the call. `name` is empty for the elements of an array. Nothing here fails; a full sink cuts and
// says so itself.
class Inspector {
 public:
  virtual void begin_object(std::string_view name, Layout layout) = 0;
  virtual void end_object() = 0;
  virtual void begin_array(std::string_view name, Layout layout) = 0;
  virtual void end_array() = 0;
  virtual void number(std::string_view name, std::int64_t value, Unit unit) = 0;
  virtual void hex(std::string_view name, std::uint64_t value) = 0;  // JSON: a string "0x..."
  virtual void text(std::string_view name, std::string_view value) = 0;

 protected:
  ~Inspector() = default;  // never owned through this interface
};

// Where renderings go. write() takes all of `text` or cuts it and remembers that it did.
class Sink {
 public:
  virtual void write(std::string_view text) = 0;

 protected:
  ~Sink() = default;
};

}  // namespace memory

// The wordings of boot/report.hpp, and how values are put into them.
// SPDX-License-Identifier: MIT
#include "boot/report.hpp"

#include <string_view>

namespace boot {

namespace {

constexpr std::string_view kFatals[] = {
#define FATAL(name, wording) wording,
    BOOT_FATALS(FATAL)
#undef FATAL
};

constexpr std::string_view kRemarks[] = {
#define REMARK(name, wording) wording,
    BOOT_REMARKS(REMARK)
#undef REMARK
};

// A wording that asks for more values than a note has would show a 0 that nobody gave.
consteval bool within_values(std::string_view text) {
  std::size_t wanted = 0;
  for (const char character : text)
    wanted += std::string_view("#@%$").find(character) != std::string_view::npos;
  return wanted <= NoteValues{}.size();
}
#define WITHIN(name, wording) static_assert(within_values(wording));
BOOT_FATALS(WITHIN)
BOOT_REMARKS(WITHIN)
#undef WITHIN

void fill_in(memory::Writer& out, std::string_view wording, const NoteValues& values) {
  const std::uint64_t* value = values.data();
  for (const char character : wording) {
    if (character == '#') {
      out.number(*value++);
    } else if (character == '@') {
      out.hex(*value++);
    } else if (character == '%') {
      out.size(*value++);
    } else if (character == '$') {
      std::array<char, 4> four{};
      __builtin_memcpy(four.data(), value++, four.size());
      out.quoted({four.data(), four.size()});
    } else {
      out.character(character);
    }
  }
}

}  // namespace

void BootReport::note(Remark remark, std::uint64_t a, std::uint64_t b, std::uint64_t c) {
  if (notes_ == kNotes) {
    ++notes_lost_;
    return;
  }
  note_[notes_++] = {remark, {a, b, c}};
}

memory::Error BootReport::fatal(Fatal reason, std::uint64_t a, std::uint64_t b, std::uint64_t c) {
  if (failure_ == Fatal::none) {
    failure_ = reason;
    failure_values_ = {a, b, c};
  }
  return memory::Error::invalid;
}

bool BootReport::has(Remark remark) const {
  for (std::size_t i = 0; i < notes_; ++i) {
    if (note_[i].remark == remark) return true;
  }
  return false;
}

void BootReport::describe_failure(memory::Writer& out) const {
  fill_in(out, kFatals[static_cast<unsigned>(failure_)], failure_values_);
}

void BootReport::describe(memory::Writer& out, const Note& note) {
  fill_in(out, kRemarks[static_cast<unsigned>(note.remark)], note.values);
}

}  // namespace boot

// From a checked table to lists of CPUs and controllers.
// SPDX-License-Identifier: MIT
//
//   | header, 36 bytes | local APIC u32 | flags u32 | entry | entry | ...      entry: | type u8 | length u8 | ... |
//
// An entry's length is the only way to the next one, so a table with one that cannot be is believed nowhere.
// ACPI Specification 6.5, sections 5.2.12.2 to 5.2.12.12.
#include "boot/madt.hpp"

#include <algorithm>
#include <memory>

namespace boot {

namespace {

constexpr std::uint64_t kHeaderBytes = 36;
constexpr std::uint32_t kOldControllers = 1;  // flags, bit 0: PCAT_COMPAT
constexpr std::uint32_t kEnabled = 1;         // flags of a CPU, bit 0; bit 1: it may be enabled later

struct [[gnu::packed]] Head {
  std::uint32_t local_apic;
  std::uint32_t flags;
};
struct [[gnu::packed]] EntryHead {
  std::uint8_t type;
  std::uint8_t bytes;
};
enum EntryType : std::uint8_t {
  kLocalApic = 0,
  kIoApic = 1,
  kOverride = 2,
  kLocalApicAddress = 5,
  kX2Apic = 9,
};
struct [[gnu::packed]] LocalApicEntry {
  EntryHead head;
  std::uint8_t processor;
  std::uint8_t apic;
  std::uint32_t flags;
};
struct [[gnu::packed]] IoApicEntry {
  EntryHead head;
  std::uint8_t id;
  std::uint8_t reserved;
  std::uint32_t address;
  std::uint32_t first_interrupt;
};
struct [[gnu::packed]] OverrideEntry {
  EntryHead head;
  std::uint8_t bus;
  std::uint8_t line;
  std::uint32_t interrupt;
  std::uint16_t flags;
};
struct [[gnu::packed]] AddressEntry {
  EntryHead head;
  std::uint16_t reserved;
  std::uint64_t local_apic;
};
struct [[gnu::packed]] X2ApicEntry {
  EntryHead head;
  std::uint16_t reserved;
  std::uint32_t apic;
  std::uint32_t flags;
  std::uint32_t processor;
};
static_assert(sizeof(LocalApicEntry) == 8 && sizeof(IoApicEntry) == 12 && sizeof(OverrideEntry) == 10 &&
              sizeof(AddressEntry) == 12 && sizeof(X2ApicEntry) == 16);

// What an entry of that type has at least.
std::size_t least_bytes(std::uint8_t type) {
  switch (type) {
    case kLocalApic: return sizeof(LocalApicEntry);
    case kIoApic: return sizeof(IoApicEntry);
    case kOverride: return sizeof(OverrideEntry);
    case kLocalApicAddress: return sizeof(AddressEntry);
    case kX2Apic: return sizeof(X2ApicEntry);
    default: return sizeof(EntryHead);
  }
}

}  // namespace

class MadtParser {
 public:
  MadtParser(const FirmwareView& memory, const AcpiTable& table, Madt& found, BootReport& report)
      : memory_(memory), table_(table), found_(found), report_(report) {}

  Result<void> run();

 private:
  void take(PhysAddr at, std::uint8_t type);
  void add_cpu(std::uint32_t apic, std::uint32_t flags);
  void add_io_apic(const IoApicEntry& entry);
  void add_override(const OverrideEntry& entry);
  void note_rest();

  const FirmwareView& memory_;
  const AcpiTable& table_;
  Madt& found_;
  BootReport& report_;
  std::size_t dropped_ = 0;  // I/O APICs and overrides
};

Result<void> MadtParser::run() {
  if (table_.bytes < kHeaderBytes + sizeof(Head)) {
    report_.note(Remark::madt_short, table_.address.value, table_.bytes);
    return Error::invalid;
  }
  const auto head = memory_.read<Head>(table_.address + kHeaderBytes);
  found_.local_apic_ = PhysAddr{head.local_apic};
  found_.has_old_controllers_ = (head.flags & kOldControllers) != 0;

  std::uint64_t offset = kHeaderBytes + sizeof(Head);
  std::size_t entries = 0;
  for (; offset < table_.bytes && entries < Madt::kMostEntries; ++entries) {
    const std::uint64_t left = table_.bytes - offset;
    if (left < sizeof(EntryHead)) {
      report_.note(Remark::madt_tail, table_.address.value, left);
      return Error::invalid;
    }
    const auto entry = memory_.read<EntryHead>(table_.address + offset);
    if (entry.bytes < least_bytes(entry.type) || entry.bytes > left) {
      report_.note(Remark::madt_entry, entry.type, offset, entry.bytes);
      return Error::invalid;
    }
    take(table_.address + offset, entry.type);
    offset += entry.bytes;
  }
  if (offset < table_.bytes) report_.note(Remark::madt_cut, table_.address.value, Madt::kMostEntries);
  note_rest();
  return {};
}

void MadtParser::take(PhysAddr at, std::uint8_t type) {
  switch (type) {
    case kLocalApic: {
      const auto entry = memory_.read<LocalApicEntry>(at);
      // 255 in the short form means: not this one, see the long form.
      if (entry.apic <= Madt::kMostApicId) add_cpu(entry.apic, entry.flags);
      break;
    }
    case kX2Apic: {
      const auto entry = memory_.read<X2ApicEntry>(at);
      add_cpu(entry.apic, entry.flags);
      break;
    }
    case kIoApic: return add_io_apic(memory_.read<IoApicEntry>(at));
    case kOverride: return add_override(memory_.read<OverrideEntry>(at));
    case kLocalApicAddress: found_.local_apic_ = PhysAddr{memory_.read<AddressEntry>(at).local_apic}; break;
    default: break;  // NMI sources and what later editions add
  }
}

void MadtParser::add_cpu(std::uint32_t apic, std::uint32_t flags) {
  if ((flags & kEnabled) == 0) {
    ++found_.cpus_disabled_;
  } else if (apic > Madt::kMostApicId) {
    ++found_.cpus_unreachable_;
  } else if (std::ranges::find(found_.cpus(), apic) != found_.cpus().end()) {
    report_.note(Remark::madt_cpu_repeated, apic);
  } else if (found_.cpu_count_ == Madt::kMostCpus) {
    ++found_.cpus_left_;
  } else {
    found_.cpus_[found_.cpu_count_++] = static_cast<std::uint8_t>(apic);
  }
}

void MadtParser::add_io_apic(const IoApicEntry& entry) {
  if (found_.io_apic_count_ == Madt::kMostIoApics) {
    ++dropped_;
  } else {
    found_.io_apics_[found_.io_apic_count_++] = {entry.address, entry.first_interrupt};
  }
}

void MadtParser::add_override(const OverrideEntry& entry) {
  if (entry.bus != 0) return;  // only ISA's lines exist
  if (found_.override_count_ == Madt::kMostOverrides) {
    ++dropped_;
  } else {
    found_.overrides_[found_.override_count_++] = {entry.line, entry.interrupt, entry.flags};
  }
}

void MadtParser::note_rest() {
  if (dropped_ > 0) report_.note(Remark::madt_dropped, dropped_);
  if (found_.cpus_left_ > 0) report_.note(Remark::madt_cpus_left, found_.cpus_left_, Madt::kMostCpus);
  if (found_.cpus_unreachable_ > 0) report_.note(Remark::madt_cpus_unreachable, found_.cpus_unreachable_);
}

Result<void> Madt::read(const FirmwareView& memory, const AcpiTable& table, BootReport& report) {
  std::construct_at(this);
  const auto done = MadtParser(memory, table, *this, report).run();
  if (!done.ok()) std::construct_at(this);
  return done;
}

InterruptOverride Madt::route(std::uint8_t line) const {
  for (const InterruptOverride& found : overrides()) {
    if (found.line == line) return found;
  }
  return {.line = line, .interrupt = line, .flags = 0};
}

std::uint16_t pm_timer_port(const FirmwareView& memory, const AcpiTable& table) {
  constexpr std::uint64_t kPort = 76;
  constexpr std::uint64_t kBytes = 91;  // of the timer's register
  if (table.bytes <= kBytes) return 0;
  const auto port = memory.read<std::uint32_t>(table.address + kPort);
  const auto bytes = memory.read<std::uint8_t>(table.address + kBytes);
  return bytes == 4 && port <= 0xfffc ? static_cast<std::uint16_t>(port) : std::uint16_t{0};
}

}  // namespace boot

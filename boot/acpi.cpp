// From the root pointer to a list of addresses to tables, none of whose lengths is believed.
// SPDX-License-Identifier: MIT
//
// Theory. Everything but the root pointer begins with one header (signature, length, a byte that makes the sum of
// all bytes zero), the list of tables too:
//
//   root pointer --> XSDT  | header | u64 u64 u64 ...            preferred: revision 2 and later
//                --> RSDT  | header | u32 u32 u32 ...
//                                      |
//                                      v
//                                   | header | ... |             APIC, FACP, HPET ...
//
// ACPI Specification 6.5, sections 5.2.5 "Root System Description Pointer (RSDP)" to 5.2.8 "XSDT".
#include "boot/acpi.hpp"

namespace boot {

namespace {

struct [[gnu::packed]] RootPointer {
  std::array<char, 8> signature;
  std::uint8_t checksum;
  std::array<char, 6> oem;
  std::uint8_t revision;
  std::uint32_t rsdt;
};

// What revision 2 adds behind it.
struct [[gnu::packed]] RootPointerMore {
  std::uint32_t length;
  std::uint64_t xsdt;
  std::uint8_t checksum;
  std::array<std::uint8_t, 3> reserved;
};

struct [[gnu::packed]] Header {
  std::array<char, 4> signature;
  std::uint32_t length;
  std::array<std::uint8_t, 28> rest;  // revision, checksum, who made it
};
static_assert(sizeof(RootPointer) == 20 && sizeof(RootPointerMore) == 16 && sizeof(Header) == 36);
constexpr std::uint32_t kRootBytes = sizeof(RootPointer) + sizeof(RootPointerMore);
constexpr std::uint32_t kMostRootBytes = 4096;

std::uint32_t number_of(const std::array<char, 4>& signature) {
  std::uint32_t number = 0;
  __builtin_memcpy(&number, signature.data(), sizeof number);
  return number;
}

bool printable(const std::array<char, 4>& signature) {
  for (const char character : signature) {
    if (character < ' ' || character > '~') return false;
  }
  return true;
}

}  // namespace

class AcpiParser {
 public:
  AcpiParser(const FirmwareView& memory, AcpiTables& tables, BootReport& report)
      : memory_(memory), tables_(tables), report_(report) {}

  void run(PhysAddr root);

 private:
  struct Roots {
    std::uint64_t xsdt = 0;
    std::uint64_t rsdt = 0;
  };

  Result<Roots> read_root(PhysAddr root);
  Result<AcpiTable> check_table(PhysAddr address);
  template <typename Entry>
  Result<void> read_list(std::uint64_t address, std::string_view signature);
  void add(PhysAddr address);

  const FirmwareView& memory_;
  AcpiTables& tables_;
  BootReport& report_;
};

void AcpiParser::run(PhysAddr root) {
  const Result<Roots> lists = read_root(root);
  if (!lists.ok()) return;
  if (!read_list<std::uint64_t>(lists.take().xsdt, "XSDT").ok() &&
      !read_list<std::uint32_t>(lists.take().rsdt, "RSDT").ok()) {
    report_.note(Remark::acpi_no_list, root.value);
  }
  if (tables_.dropped_ > 0) report_.note(Remark::acpi_tables_dropped, tables_.dropped_, AcpiTables::kMost);
}

// Section 5.2.5.3: the first checksum covers 20 bytes in every revision, the second one all of `length`.
Result<AcpiParser::Roots> AcpiParser::read_root(PhysAddr root) {
  const auto fail = [&](Remark why, std::uint64_t value = 0) {
    report_.note(why, root.value, value);
    return Error::invalid;
  };
  if (!memory_.contains_root(root, sizeof(RootPointer))) return fail(Remark::acpi_rsdp_unreadable);
  const auto pointer = memory_.read<RootPointer>(root);
  if (std::string_view(pointer.signature.data(), pointer.signature.size()) != "RSD PTR ") {
    return fail(Remark::rsdp_malformed);
  }
  if (memory_.sum(root, sizeof pointer) != 0) return fail(Remark::acpi_rsdp_checksum);
  if (pointer.revision < 2) return Roots{.rsdt = pointer.rsdt};

  if (!memory_.contains_root(root, kRootBytes)) return fail(Remark::acpi_rsdp_unreadable);
  const auto more = memory_.read<RootPointerMore>(root + sizeof pointer);
  if (more.length < kRootBytes || more.length > kMostRootBytes) {
    return fail(Remark::acpi_rsdp_length, more.length);
  }
  if (!memory_.contains_root(root, more.length)) return fail(Remark::acpi_rsdp_unreadable);
  if (memory_.sum(root, more.length) != 0) return fail(Remark::acpi_rsdp_checksum);
  return Roots{.xsdt = more.xsdt, .rsdt = pointer.rsdt};
}

Result<AcpiTable> AcpiParser::check_table(PhysAddr address) {
  const auto fail = [&](Remark why, std::uint64_t a, std::uint64_t b = 0, std::uint64_t c = 0) {
    report_.note(why, a, b, c);
    return Error::invalid;
  };
  if (!memory_.contains(address, sizeof(Header))) return fail(Remark::acpi_unreadable, address.value);
  const auto header = memory_.read<Header>(address);
  if (!printable(header.signature)) return fail(Remark::acpi_signature, address.value);
  const std::uint32_t name = number_of(header.signature);
  if (header.length < sizeof header || header.length > AcpiTables::kMostBytes ||
      !memory_.contains(address, header.length)) {
    return fail(Remark::acpi_length, name, address.value, header.length);
  }
  if (memory_.sum(address, header.length) != 0) return fail(Remark::acpi_checksum, name, address.value);
  return AcpiTable{.name = header.signature, .address = address, .bytes = header.length};
}

// The list is a table itself. Fails when there is none, or a bad one; which of the two is noted.
template <typename Entry>
Result<void> AcpiParser::read_list(std::uint64_t address, std::string_view signature) {
  if (address == 0) return Error::not_found;
  const PhysAddr at{address};
  const AcpiTable list = TRY(check_table(at));
  if (list.signature() != signature) {
    report_.note(Remark::acpi_not_a_list, address, number_of(list.name));
    return Error::invalid;
  }
  const std::uint64_t room = list.bytes - sizeof(Header);
  if (room % sizeof(Entry) != 0) report_.note(Remark::acpi_list_tail, address, room % sizeof(Entry));
  std::uint64_t entries = room / sizeof(Entry);
  if (entries > AcpiTables::kMostEntries) {
    report_.note(Remark::acpi_list_cut, address, entries, AcpiTables::kMostEntries);
    entries = AcpiTables::kMostEntries;
  }
  for (std::uint64_t i = 0; i < entries; ++i) {
    add(PhysAddr{memory_.read<Entry>(at + sizeof(Header) + i * sizeof(Entry))});
  }
  return {};
}

void AcpiParser::add(PhysAddr address) {
  const Result<AcpiTable> table = check_table(address);
  if (!table.ok()) return;
  if (tables_.count_ == AcpiTables::kMost) {
    ++tables_.dropped_;
  } else {
    tables_.tables_[tables_.count_++] = table.take();
  }
}

void AcpiTables::find(const FirmwareView& memory, PhysAddr root, BootReport& report) {
  count_ = 0;
  dropped_ = 0;
  AcpiParser(memory, *this, report).run(root);
}

const AcpiTable* AcpiTables::table(std::string_view signature) const {
  for (const AcpiTable& table : all()) {
    if (table.signature() == signature) return &table;
  }
  return nullptr;
}

}  // namespace boot

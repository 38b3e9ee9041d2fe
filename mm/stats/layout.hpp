// Layout tables: each floor's layout.def lists the types, fields and enumerators that outside readers may
// follow, and is expanded on that floor into rows; memory_manager joins the floors' rows. See docs/formats.md
// section 1.
//
//   TYPE(Name)                                   a standard-layout record; its fields follow
//   FIELD(Name, member)                          a whole field, or an array of them
//   BITS(Name, field, member, bit, bits, Type)   part of an unsigned member, as Type
//   ENUM_TYPE(Name)                              an enumeration; its enumerators follow
//   ENUM(Name, enumerator)
//
// A floor's layout.hpp is three lines: LAYOUT_DEF and LAYOUT_FLOOR defined, then mm/stats/layout_expand.inc
// included.
// SPDX-License-Identifier: MIT
#pragma once
#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <string_view>
#include <type_traits>

#include "mm/base/check.hpp"
#include "mm/base/list.hpp"
#include "mm/base/percpu.hpp"
#include "mm/base/sync.hpp"
#include "mm/stats/record.hpp"

namespace memory {
using BitField = std::uint8_t;     // a number in BITS
using BitField32 = std::uint32_t;  // one of more than 8 bits
}  // namespace memory

namespace memory::stats {

// The name of a type in the tables. Floors specialise it for their records and enumerations.
template <typename T>
inline constexpr std::string_view kTypeName;
template <>
inline constexpr std::string_view kTypeName<std::uint8_t> = "u8";
template <>
inline constexpr std::string_view kTypeName<bool> = "u8";
template <>
inline constexpr std::string_view kTypeName<std::byte> = "u8";
template <>
inline constexpr std::string_view kTypeName<std::uint16_t> = "u16";
template <>
inline constexpr std::string_view kTypeName<std::uint32_t> = "u32";
template <>
inline constexpr std::string_view kTypeName<std::uint64_t> = "u64";
template <>
inline constexpr std::string_view kTypeName<std::int64_t> = "i64";
template <>
inline constexpr std::string_view kTypeName<OwnerFlag> = "u32";
template <>
inline constexpr std::string_view kTypeName<char> = "char";
template <typename T>
inline constexpr std::string_view kTypeName<T*> = "pointer";
template <typename T>
inline constexpr std::string_view kTypeName<std::atomic<T>> = kTypeName<T>;
template <typename T, std::size_t link>
inline constexpr std::string_view kTypeName<List<T, link>> = "ListHead";

namespace detail {

template <typename T>
struct Element {
  using type = T;
  static constexpr std::uint32_t count = 1;
};
template <typename T, std::size_t n>
struct Element<T[n]> {
  using type = T;
  static constexpr std::uint32_t count = n;
};
template <typename T, std::size_t n>
struct Element<std::array<T, n>> {
  using type = T;
  static constexpr std::uint32_t count = n;
};

template <std::size_t n>
constexpr void copy(char (&to)[n], std::string_view text) {
  static_assert(n > 0);
  CHECK(text.size() < n);  // at compile time a name too long for its row does not compile
  for (std::size_t at = 0; at < text.size(); ++at) to[at] = text[at];
}

}  // namespace detail

template <typename T>
consteval TypeRow type_row(std::string_view name) {
  static_assert(std::is_standard_layout_v<T>, "exported types are standard-layout records");
  TypeRow row{};
  detail::copy(row.name, name);
  row.bytes = sizeof(T);
  return row;  // first_field and fields are filled by link_fields()
}

template <typename Member>
consteval FieldRow field_row(std::string_view name, std::size_t offset) {
  using Element = detail::Element<std::remove_cv_t<Member>>;
  using Plain = std::remove_cv_t<typename Element::type>;
  static_assert(!kTypeName<Plain>.empty(), "give the type a name: TYPE or ENUM_TYPE in layout.def");
  FieldRow row{};
  detail::copy(row.name, name);
  detail::copy(row.type, kTypeName<Plain>);
  row.offset = static_cast<std::uint32_t>(offset);
  row.bytes = sizeof(Plain);  // NOLINT(bugprone-sizeof-expression): a member may be a pointer
  row.count = Element::count;
  return row;
}

template <typename Member, typename As>
consteval FieldRow bits_row(std::string_view name, std::size_t offset, std::uint16_t bit,
                            std::uint16_t bits) {
  FieldRow row = field_row<Member>(name, offset);
  row.type[0] = row.type[1] = row.type[2] = '\0';
  detail::copy(row.type, kTypeName<As>);
  row.bit = bit;
  row.bits = bits;
  return row;
}

consteval EnumRow enum_row(std::string_view type, std::string_view name, std::uint64_t value) {
  EnumRow row{};
  detail::copy(row.type, type);
  detail::copy(row.name, name);
  row.value = value;
  return row;
}

// `owner[i]` is the index of the type that field row i belongs to; fields stand in the order of their types.
template <std::size_t types, std::size_t fields>
consteval std::array<TypeRow, types> link_fields(std::array<TypeRow, types> rows,
                                                 const std::array<std::string_view, fields>& owners) {
  for (std::size_t t = 0, f = 0; t < types; ++t) {
    rows[t].first_field = static_cast<std::uint32_t>(f);
    while (f < fields && owners[f] == rows[t].name) ++f;
    rows[t].fields = static_cast<std::uint32_t>(f) - rows[t].first_field;
    CHECK(rows[t].fields != 0);  // fields of a type follow each other in the order of the types
  }
  return rows;
}

template <typename Row, std::size_t... n>
consteval auto join(const std::array<Row, n>&... parts) {
  std::array<Row, (n + ...)> all{};
  std::size_t at = 0;
  const auto append = [&](const auto& part) {
    for (const Row& row : part) all[at++] = row;
  };
  (append(parts), ...);
  return all;
}

}  // namespace memory::stats

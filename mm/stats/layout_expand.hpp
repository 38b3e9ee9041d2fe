// Expands one floor's layout.def (LAYOUT_DEF) into the rows memory::layout::LAYOUT_FLOOR::{kTypes, kFields, kOwners,
// kEnums}. Included once by each floor's layout.hpp, on purpose without #pragma once. The words are in layout.hpp.
// SPDX-License-Identifier: MIT
#include "mm/stats/layout.hpp"

#define FIELD(type, member)
#define BITS(type, field, member, bit, bits, as)
#define ENUM(type, enumerator)
#define TYPE(name) \
  template <>      \
  inline constexpr std::string_view memory::stats::kTypeName<memory::name> = #name;
#define ENUM_TYPE(name) TYPE(name)
#include LAYOUT_DEF
#undef TYPE
#undef ENUM_TYPE

namespace memory::layout::LAYOUT_FLOOR {

#define ENUM_TYPE(name)
#define TYPE(name) memory::stats::type_row<memory::name>(#name),
inline constexpr std::array kTypes{
#include LAYOUT_DEF
};
#undef TYPE
#undef FIELD
#undef BITS

#define TYPE(name)
#define FIELD(type, member) \
  memory::stats::field_row<decltype(memory::type::member)>(#member, offsetof(memory::type, member)),
#define BITS(type, field, member, bit, bits, as)                       \
  memory::stats::bits_row<decltype(memory::type::member), memory::as>( \
      #field, offsetof(memory::type, member), bit, bits),
inline constexpr std::array kFields{
#include LAYOUT_DEF
};
#undef FIELD
#undef BITS

#define FIELD(type, member) std::string_view(#type),
#define BITS(type, field, member, bit, bits, as) std::string_view(#type),
inline constexpr std::array kOwners{
#include LAYOUT_DEF
};
#undef FIELD
#undef BITS
#undef ENUM

#define FIELD(type, member)
#define BITS(type, field, member, bit, bits, as)
#define ENUM(type, enumerator) +1
inline constexpr std::size_t kEnumCount = 0
#include LAYOUT_DEF
    ;
#undef ENUM
#define ENUM(type, enumerator) \
  memory::stats::enum_row(#type, #enumerator, static_cast<std::uint64_t>(memory::type::enumerator)),
inline constexpr std::array<memory::stats::EnumRow, kEnumCount> kEnums{
#include LAYOUT_DEF
};
#undef TYPE
#undef FIELD
#undef BITS
#undef ENUM
#undef ENUM_TYPE

}  // namespace memory::layout::LAYOUT_FLOOR

#undef LAYOUT_DEF
#undef LAYOUT_FLOOR

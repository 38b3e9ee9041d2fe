// Record: where every outside reader starts; the tables it points to describe themselves. See
// docs/formats.md.
// SPDX-License-Identifier: MIT
#pragma once
#include <array>
#include <cstdint>
#include <span>

#include "mm/base/config.hpp"
#include "mm/base/platform.hpp"

namespace memory::stats {

struct CounterRow {
  char name[32];
  char unit[8];
  char kind[8];
  char help[80];
};
static_assert(sizeof(CounterRow) == 128);

struct TypeRow {
  char name[32];
  std::uint64_t bytes;
  std::uint32_t first_field;  // row of `fields`
  std::uint32_t fields;
};
static_assert(sizeof(TypeRow) == 48);

struct FieldRow {
  char name[32];
  char type[32];
  std::uint32_t offset;
  std::uint32_t bytes;  // of one element
  std::uint16_t bit;
  std::uint16_t bits;  // 0: a whole field
  std::uint32_t count;
};
static_assert(sizeof(FieldRow) == 80);

struct OptionRow {
  char name[32];
  char type[16];
  std::uint64_t value;
  char help[80];
};
static_assert(sizeof(OptionRow) == 136);

struct EnumRow {
  char type[32];
  char name[32];
  std::uint64_t value;
};
static_assert(sizeof(EnumRow) == 72);

// `address` is virtual.
struct Table {
  std::uint64_t address;
  std::uint32_t rows;
  std::uint32_t row_bytes;
};

template <typename Row, std::size_t extent>
Table table_of(std::span<const Row, extent> rows) {
  // NOLINTNEXTLINE(bugprone-sizeof-expression): a row may be a pointer
  return {reinterpret_cast<std::uint64_t>(rows.data()), static_cast<std::uint32_t>(rows.size()), sizeof(Row)};
}

struct Record {
  char magic[8] = {'C', 'O', 'R', 'O', 'N', 'E', 'L', '\0'};
  std::uint32_t version = 1;
  std::uint32_t bytes = sizeof(Record);
  std::uint64_t slide = 0;
  std::uint64_t root = 0;
  std::uint64_t generation = 0;
  Table counters{};
  Table types{};
  Table fields{};
  Table options{};
  Table enums{};
  Table cpus{};
  std::uint64_t manager = 0;
};
static_assert(sizeof(Record) == 144);

// The rows of the tables that belong to no floor above this one.
std::span<const CounterRow> counter_rows();
std::span<const OptionRow> option_rows();

}  // namespace memory::stats

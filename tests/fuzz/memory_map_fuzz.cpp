// libFuzzer target: the memory map against a slow one that sorts all boundaries.
// SPDX-License-Identifier: MIT
#include "boot/memory_map.hpp"

#include <algorithm>

#include "tests/fuzz/boot_forge.hpp"

namespace {

using forge::Bytes;
using memory::kPageSize;
using memory::MemoryKind;
using memory::MemoryRange;
using memory::PhysAddr;
using memory::PhysRange;

constexpr PhysAddr kLimit{std::uint64_t{1} << 36};

struct Raw {
  std::uint64_t base;
  std::uint64_t length;
  MemoryKind kind;
};

struct Span {
  std::uint64_t first;
  std::uint64_t end;
  unsigned rank;  // 0: nothing, else 1 + kind
};

Span span_of(const Raw& raw) {
  const std::uint64_t base = std::min(raw.base, boot::kPhysicalEnd);
  const std::uint64_t end = base + std::min(raw.length, boot::kPhysicalEnd - base);
  const unsigned rank = 1 + static_cast<unsigned>(raw.kind);
  if (raw.kind == MemoryKind::available || base == end) return {base, end, rank};
  return {base / kPageSize * kPageSize, (end + kPageSize - 1) / kPageSize * kPageSize, rank};
}

// Between two neighbouring boundaries nothing changes, so the worst kind there is a maximum over all ranges.
std::vector<Span> pieces(const std::vector<Raw>& raw) {
  std::vector<Span> spans;
  std::vector<std::uint64_t> points;
  for (const Raw& range : raw) {
    const Span span = span_of(range);
    if (span.first == span.end) continue;
    spans.push_back(span);
    points.insert(points.end(), {span.first, span.end});
  }
  std::sort(points.begin(), points.end());
  points.erase(std::unique(points.begin(), points.end()), points.end());
  std::vector<Span> result;
  for (std::size_t i = 0; i + 1 < points.size(); ++i) {
    unsigned rank = 0;
    for (const Span& span : spans) {
      if (span.first <= points[i] && points[i + 1] <= span.end) rank = std::max(rank, span.rank);
    }
    if (rank != 0 && !result.empty() && result.back().end == points[i] && result.back().rank == rank) {
      result.back().end = points[i + 1];
    } else if (rank != 0) {
      result.push_back({points[i], points[i + 1], rank});
    }
  }
  return result;
}

std::vector<MemoryRange> expected(const std::vector<Raw>& raw) {
  std::vector<MemoryRange> result;
  for (Span piece : pieces(raw)) {
    if (piece.rank == 1) {
      piece.first = (piece.first + kPageSize - 1) / kPageSize * kPageSize;
      piece.end = piece.end / kPageSize * kPageSize;
    }
    piece.end = std::min(piece.end, kLimit.value);
    if (piece.first >= piece.end) continue;
    result.push_back({{PhysAddr{piece.first}, PhysAddr{piece.end}}, static_cast<MemoryKind>(piece.rank - 1)});
  }
  return result;
}

void fill(boot::MemoryMap& map, const std::vector<Raw>& raw) {
  map.clear();
  for (const Raw& range : raw) map.add(PhysAddr{range.base}, range.length, range.kind);
  map.finish(forge::info, kLimit);
  forge::check_memory();
}

// Reserving some of the ranges keeps the list in order, and a full list refuses without harm.
void check_reserving(const std::vector<Raw>& raw) {
  forge::info.reserved_ranges = 0;
  for (const Raw& range : std::span(raw).first(std::min<std::size_t>(raw.size(), 40))) {
    const Span span = span_of(range);
    const PhysRange wanted{PhysAddr{span.first},
                           PhysAddr{std::min(span.end, span.first + range.length % 0x9001)}};
    const bool done = boot::reserve(forge::info, wanted).ok();
    MUST(done || forge::info.reserved_ranges == forge::info.reserved.size());
    forge::check_reserved();
    MUST(boot::valid(forge::info));
  }
}

// Every available range of the result is available in the model.
void check_safe(const std::vector<MemoryRange>& model) {
  for (std::size_t i = 0; i < forge::info.memory_ranges; ++i) {
    const MemoryRange& here = forge::info.memory[i];
    if (here.kind != MemoryKind::available) continue;
    MUST(std::any_of(model.begin(), model.end(), [&](const MemoryRange& range) {
      return range.kind == MemoryKind::available && range.range.contains(here.range);
    }));
  }
}

void check_exact(const std::vector<MemoryRange>& model) {
  MUST(forge::info.memory_ranges + forge::info.memory_ranges_dropped == model.size());
  check_safe(model);
  if (forge::info.memory_ranges_dropped > 0) return;
  MUST(std::equal(model.begin(), model.end(), forge::info.memory.begin()));
}

std::vector<Raw> forge_ranges(Bytes& bytes) {
  std::vector<Raw> raw;
  const std::uint64_t stride = bytes.u8();
  const std::uint64_t regular = bytes.u8() * 2u % 300;
  for (std::uint64_t i = 0; i < regular; ++i) {
    raw.push_back({i * stride << 12, 0x1000, static_cast<MemoryKind>(i % 3 == 0 ? stride % 5 : 0)});
  }
  while (!bytes.empty() && raw.size() < 500) {
    const auto kind = static_cast<MemoryKind>(bytes.u8() % 10 < 5 ? 0 : bytes.u8() % 5);
    const std::uint64_t unit = bytes.u8() % 4 == 0 ? 1 : 512;
    raw.push_back({bytes.address() / unit * unit, bytes.address() / unit * unit, kind});
  }
  return raw;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static boot::MemoryMap small{10};
  Bytes bytes(data, size);
  std::vector<Raw> raw = forge_ranges(bytes);
  const std::vector<MemoryRange> model = expected(raw);

  fill(forge::map, raw);
  const bool exact = forge::map.pieces_given_up() == 0;
  if (exact) {
    check_exact(model);
  } else {
    check_safe(model);
  }
  check_reserving(raw);
  const std::vector<Raw> again(raw.begin(), raw.begin() + static_cast<std::ptrdiff_t>(raw.size() / 2));
  std::reverse(raw.begin(), raw.end());
  raw.insert(raw.end(), again.begin(), again.end());
  fill(forge::map, raw);
  if (exact && forge::map.pieces_given_up() == 0) check_exact(model);
  fill(small, raw);
  check_safe(model);
  return 0;
}

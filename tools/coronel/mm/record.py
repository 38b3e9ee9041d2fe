"""The record where every outside reader starts, and the tables behind it: docs/formats.md section 1.

Whatever the bytes are, what comes of them is `Tables` or a DecodeError that says which row of which table is
wrong.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from coronel.errors import DecodeError
from coronel.memory import Memory
from coronel.mm.layout import EnumType, Field, Struct, StructType

MAGIC = b"CORONEL\0"
VERSION = 1
SYMBOL = "coronel_record"  # the kernel's, by its ELF name
ROWS_LIMIT = 4096
CPUS_LIMIT = 4096
TYPE_BYTES_LIMIT = 1 << 20

_RECORD = struct.Struct("<8sII3Q" + "QII" * 6 + "Q")
_COUNTER = struct.Struct("<32s8s8s80s")
_TYPE = struct.Struct("<32sQII")
_FIELD = struct.Struct("<32s32sIIHHI")
_OPTION = struct.Struct("<32s16sQ80s")
_ENUM = struct.Struct("<32s32sQ")
_POINTER = struct.Struct("<Q")
_KINDS = ("gauge", "total", "peak")
_PLAIN = {"u8": 1, "u16": 2, "u32": 4, "u64": 8, "i64": 8, "char": 1, "pointer": 8}


@dataclass(frozen=True)
class Record:
    """The record itself, less its tables."""

    address: int
    slide: int  # added to every ELF address
    root: int  # physical address of the page-table root; 0 on the host
    generation: int  # odd in the middle of a change that a test command makes
    manager: int  # address of the ManagerRecord; 0 before there is one


@dataclass(frozen=True)
class CounterInfo:
    """One counter: what it counts. Its place in the table is its place in every PerCpu."""

    index: int
    name: str
    unit: str
    kind: str  # gauge and total sum over CPUs, peak takes the largest
    help: str


@dataclass(frozen=True)
class Option:
    """One build option as it was compiled in."""

    name: str
    type: str
    value: int
    help: str


class Tables:
    """Everything that the running code says about itself. Immutable; the memory behind it is not."""

    def __init__(
        self,
        memory: Memory,
        record: Record,
        counters: tuple[CounterInfo, ...],
        types: dict[str, StructType],
        enums: dict[str, EnumType],
        options: dict[str, Option],
        cpus: tuple[int, ...],
    ) -> None:
        self.memory = memory
        self.record = record
        self.counters = counters
        self.types = types
        self.enums = enums
        self.options = options
        self.cpus = cpus  # addresses of the PerCpu blocks of the CPUs that run

    @classmethod
    def load(cls, memory: Memory, record_address: int) -> Tables:
        """Reads and checks all tables. DecodeError names what was wrong."""
        return _Loader(memory, record_address).load()

    def type(self, name: str) -> StructType:
        """A record type; DecodeError when the kernel exports none of that name."""
        try:
            return self.types[name]
        except KeyError:
            raise DecodeError(f"the tables have no type {name!r}: this kernel does not export it") from None

    def enum(self, name: str) -> EnumType:
        """An enumeration; DecodeError when the kernel exports none of that name."""
        try:
            return self.enums[name]
        except KeyError:
            raise DecodeError(
                f"the tables have no enumeration {name!r}: this kernel does not export it"
            ) from None

    def option(self, name: str) -> int:
        """The value of a build option; DecodeError when the kernel has none of that name."""
        try:
            return self.options[name].value
        except KeyError:
            raise DecodeError(f"the tables have no option {name!r}") from None

    def read(self, kind: str | StructType, address: int) -> Struct:
        """The record of that type at `address`, as it is now."""
        wanted = self.type(kind) if isinstance(kind, str) else kind
        if address == 0:
            raise DecodeError(f"null pointer where a {wanted.name} should be")
        return Struct(wanted, self.memory.read(address, wanted.size), address)

    def manager(self) -> Struct:
        """The record above all floors; DecodeError before the memory manager is initialised."""
        if self.record.manager == 0:
            raise DecodeError("the memory manager is not initialised yet: its record says there is none")
        return self.read("ManagerRecord", self.record.manager)


@dataclass(frozen=True)
class _Table:
    name: str
    address: int
    rows: int
    row_bytes: int


class _Loader:
    """Reads the tables in the order in which they need each other."""

    def __init__(self, memory: Memory, address: int) -> None:
        self.memory = memory
        self.address = address

    def load(self) -> Tables:
        try:
            data = self.memory.read(self.address, _RECORD.size)
        except DecodeError as error:
            raise DecodeError(f"no record at {self.address:#x}: {error}") from None
        magic, version, size, *rest = _RECORD.unpack(data)
        self._check_head(magic, version, size)
        slide, root, generation = rest[:3]
        names = ("counters", "types", "fields", "options", "enums", "cpus")
        found = {name: _Table(name, *rest[3 + 3 * n : 6 + 3 * n]) for n, name in enumerate(names)}
        if found["counters"].address == 0:
            raise DecodeError(
                f"the record at {self.address:#x} is empty: the kernel has not filled its tables yet"
            )
        record = Record(self.address, slide, root, generation, rest[-1])

        enums = self._enums(found["enums"])
        types = self._types(found["types"], found["fields"], enums)
        return Tables(
            self.memory,
            record,
            self._counters(found["counters"]),
            types,
            enums,
            self._options(found["options"]),
            self._cpus(found["cpus"]),
        )

    def _check_head(self, magic: bytes, version: int, size: int) -> None:
        where = f"the record at {self.address:#x}"
        if magic != MAGIC:
            raise DecodeError(
                f"{where} begins with {magic!r} instead of {MAGIC!r}: this is no Coronel record"
            )
        if version != VERSION:
            raise DecodeError(f"{where} has version {version}: this reader knows {VERSION} only")
        if size != _RECORD.size:
            raise DecodeError(f"{where} says that it has {size} bytes: version {VERSION} has {_RECORD.size}")

    def _rows(self, table: _Table, row: struct.Struct, limit: int = ROWS_LIMIT) -> list[tuple[Any, ...]]:
        if table.row_bytes != row.size:
            raise DecodeError(f"table of {table.name}: rows of {table.row_bytes} bytes, wanted {row.size}")
        if not 0 < table.rows <= limit:
            raise DecodeError(f"table of {table.name}: {table.rows} rows make no sense (1 to {limit})")
        try:
            data = self.memory.read(table.address, table.rows * row.size)
        except DecodeError as error:
            raise DecodeError(f"table of {table.name} at {table.address:#x}: {error}") from None
        return list(row.iter_unpack(data))

    def _counters(self, table: _Table) -> tuple[CounterInfo, ...]:
        found = []
        for index, (name, unit, kind, text) in enumerate(self._rows(table, _COUNTER)):
            where = f"table of counters, row {index}"
            info = CounterInfo(index, *(_text(where, part) for part in (name, unit, kind, text)))
            if info.kind not in _KINDS:
                raise DecodeError(f"{where} ({info.name}): kind {info.kind!r} is unknown")
            found.append(info)
        _unique("counters", (info.name for info in found))
        return tuple(found)

    def _options(self, table: _Table) -> dict[str, Option]:
        found = []
        for index, (name, kind, value, text) in enumerate(self._rows(table, _OPTION)):
            where = f"table of options, row {index}"
            found.append(Option(_text(where, name), _text(where, kind), value, _text(where, text)))
        _unique("options", (option.name for option in found))
        return {option.name: option for option in found}

    def _enums(self, table: _Table) -> dict[str, EnumType]:
        found: dict[str, dict[str, int]] = {}
        for index, (kind, name, value) in enumerate(self._rows(table, _ENUM)):
            where = f"table of enums, row {index}"
            values = found.setdefault(_text(where, kind), {})
            if values.setdefault(_text(where, name), value) != value:
                raise DecodeError(f"{where}: {_text(where, name)} is there twice")
        return {name: EnumType(name, values) for name, values in found.items()}

    def _types(self, table: _Table, fields: _Table, enums: dict[str, EnumType]) -> dict[str, StructType]:
        rows = self._rows(table, _TYPE)
        field_rows = self._rows(fields, _FIELD)
        types: dict[str, StructType] = {}
        for index, (raw, size, _, _) in enumerate(rows):
            name = _text(f"table of types, row {index}", raw)
            if not 0 < size <= TYPE_BYTES_LIMIT:
                raise DecodeError(f"table of types, row {index} ({name}): {size} bytes make no sense")
            types[name] = StructType(name, size)
        _unique("types", (_text("types", row[0]) for row in rows))
        for (_, _, first, count), kind in zip(rows, types.values(), strict=True):
            if first + count > len(field_rows) or count == 0:
                raise DecodeError(
                    f"table of types, {kind.name}: fields {first} to {first + count} of {len(field_rows)}"
                )
            for index in range(first, first + count):
                field = self._field(index, field_rows[index], kind, types, enums)
                if kind.fields.setdefault(field.name, field) is not field:
                    raise DecodeError(
                        f"table of fields, row {index}: {kind.name}.{field.name} is there twice"
                    )
        return types

    def _field(
        self,
        index: int,
        row: tuple[Any, ...],
        owner: StructType,
        types: dict[str, StructType],
        enums: dict[str, EnumType],
    ) -> Field:
        where = f"table of fields, row {index}"
        name, kind = _text(where, row[0]), _text(where, row[1])
        offset, size, bit, bits, count = row[2:]
        where += f" ({owner.name}.{name})"
        target: StructType | EnumType | None = types.get(kind) or enums.get(kind)
        if target is None and kind not in _PLAIN:
            raise DecodeError(f"{where}: type {kind!r} is in no table")
        if count == 0 or offset + size * count > owner.size:
            raise DecodeError(
                f"{where}: {count} times {size} bytes at {offset} do not fit into {owner.size} bytes"
            )
        wanted = target.size if isinstance(target, StructType) else _PLAIN.get(kind, size)
        if not bits and (size != wanted or (not isinstance(target, StructType) and size not in (1, 2, 4, 8))):
            raise DecodeError(f"{where}: {size} bytes, but type {kind} has {wanted}")
        if bits and (
            size not in (1, 2, 4, 8) or bit + bits > 8 * size or count != 1 or isinstance(target, StructType)
        ):
            raise DecodeError(
                f"{where}: bits {bit} to {bit + bits} do not fit into {count} times {size} bytes"
            )
        if (
            isinstance(target, StructType) and target.size >= owner.size
        ):  # else types could hold each other for ever
            raise DecodeError(f"{where}: a {kind} of {size} bytes is no part of {owner.size} bytes")
        return Field(name, kind, offset, size, bit, bits, count, target)

    def _cpus(self, table: _Table) -> tuple[int, ...]:
        found = tuple(row[0] for row in self._rows(table, _POINTER, CPUS_LIMIT))
        for number, address in enumerate(found):
            if address == 0:
                raise DecodeError(f"table of cpus, row {number}: null pointer")
        return found


def _text(where: str, raw: bytes) -> str:
    """A NUL-padded text of a table; DecodeError unless it is plain printable text, not empty."""
    text, _, padding = raw.partition(b"\0")
    if not text or padding.strip(b"\0") or not all(0x20 <= byte < 0x7F for byte in text):
        raise DecodeError(f"{where}: {raw!r} is no text")
    return text.decode("ascii")


def _unique(table: str, names: Iterable[str]) -> None:
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise DecodeError(f"table of {table}: {name} is there twice")
        seen.add(name)

"""The tables of docs/formats.md section 1, made by hand: what is right is read, what is wrong is named."""

from __future__ import annotations

import struct
from collections.abc import Sequence

import pytest

from coronel.errors import DecodeError
from coronel.mm import stats
from coronel.mm.layout import StructType
from coronel.mm.record import Tables

RECORD, PLACE = 0x1000, 0x8000


class Fake:
    """A little memory."""

    def __init__(self) -> None:
        self.bytes: dict[int, int] = {}

    def write(self, address: int, data: bytes) -> None:
        self.bytes.update(enumerate(data, address))

    def read(self, address: int, size: int) -> bytes:
        try:
            return bytes(self.bytes[at] for at in range(address, address + size))
        except KeyError as error:
            raise DecodeError(f"nothing at {error.args[0]:#x}") from None


COUNTERS = [("pages", "frames", "gauge", "some"), ("peak", "events", "peak", "most")]
TYPES = [("Inner", 8, 0, 2), ("Outer", 64, 2, 7), ("PerCpu", 32, 9, 2)]
FIELDS = [
    ("low", "u32", 0, 4, 0, 0, 1),
    ("high", "u16", 4, 2, 0, 0, 2),
    ("word", "u64", 0, 8, 0, 0, 1),
    ("name", "char", 8, 1, 0, 0, 8),
    ("kind", "Kind", 16, 1, 0, 4, 1),
    ("order", "u8", 16, 1, 4, 4, 1),
    ("pair", "Inner", 24, 8, 0, 0, 2),
    ("link", "pointer", 40, 8, 0, 0, 1),
    ("delta", "i64", 48, 8, 0, 0, 1),
    ("number", "u32", 0, 4, 0, 0, 1),
    ("counters", "i64", 8, 8, 0, 0, 3),
]
OPTIONS = [("debug", "bool", 1, "checks"), ("max_order", "unsigned", 11, "largest")]
ENUMS = [("Kind", "none", 0), ("Kind", "some", 5)]


def build(**changes: object) -> Fake:
    """Memory with a record and its tables; `changes` replace tables or fields of the record."""
    memory = Fake()
    place = PLACE
    tables: list[bytes] = []
    rows_of: dict[str, tuple[str, list[tuple[object, ...]]]] = {
        "counters": ("32s8s8s80s", list(COUNTERS)),
        "types": ("32sQII", list(TYPES)),
        "fields": ("32s32sIIHHI", list(FIELDS)),
        "options": ("32s16sQ80s", list(OPTIONS)),
        "enums": ("32s32sQ", list(ENUMS)),
        "cpus": ("Q", [(0x100,), (0x200,)]),
    }
    for name, (form, rows) in rows_of.items():
        shape = struct.Struct("<" + form)
        given = changes.get(name, rows)
        assert isinstance(given, Sequence)
        data = b"".join(shape.pack(*(v.encode() if isinstance(v, str) else v for v in row)) for row in given)
        memory.write(place, data)
        tables.append(struct.pack("<QII", place, len(given), shape.size))
        place += len(data) + 64
    head = struct.pack(
        "<8sII3Q",
        changes.get("magic", b"CORONEL\0"),
        changes.get("version", 1),
        changes.get("bytes", 144),
        0,
        0x5000,
        0,
    )
    memory.write(RECORD, head + b"".join(tables) + struct.pack("<Q", 0))
    memory.write(0x100, struct.pack("<IIqqq", 0, 0, 5, 7, 0))
    memory.write(0x200, struct.pack("<IIqqq", 1, 0, -2, 4, 0))
    return memory


def test_reads_what_is_written() -> None:
    tables = Tables.load(build(), RECORD)
    assert (tables.record.root, tables.record.generation, tables.option("max_order")) == (0x5000, 0, 11)
    assert [counter.name for counter in tables.counters] == ["pages", "peak"]
    assert tables.enum("Kind")["some"] == 5


def test_a_record_is_a_mapping() -> None:
    memory = build()
    inner = struct.pack("<IHH", 1, 2, 3) + struct.pack("<IHH", 4, 5, 6)
    memory.write(0x300, struct.pack("<Q8sB7x", 9, b"Normal", 0x35) + inner + struct.pack("<Qq8x", 0xABC, -1))
    outer = Tables.load(memory, RECORD).read("Outer", 0x300)
    assert (outer["word"], outer["name"], outer["order"], outer["link"], outer["delta"]) == (
        9,
        "Normal",
        3,
        0xABC,
        -1,
    )
    assert (str(outer["kind"]), int(outer["kind"]), outer["kind"].known) == ("some", 5, True)
    assert [(one["low"], one["high"]) for one in outer["pair"]] == [(1, (2, 3)), (4, (5, 6))]
    assert outer["pair"][1].address == outer.address_of("pair", 1) == 0x300 + 32
    assert list(outer) == ["word", "name", "kind", "order", "pair", "link", "delta"]
    with pytest.raises(DecodeError, match="type Outer has no field 'gone'"):
        outer["gone"]


def test_numpy_sees_the_same() -> None:
    import numpy as np

    tables = Tables.load(build(), RECORD)
    kind: StructType = tables.type("Outer")
    data = struct.pack("<Q8sB7x", 9, b"Normal", 0x35) + bytes(40)
    array = np.frombuffer(data * 3, kind.dtype)
    assert array["word"].tolist() == [9, 9, 9]
    assert kind.column(array, "kind").tolist() == [5, 5, 5]
    assert kind.column(array, "order").tolist() == [3, 3, 3]


def test_an_unknown_enumerator_is_a_number() -> None:
    memory = build()
    memory.write(0x300, bytes(16) + b"\x0f" + bytes(47))
    kind = Tables.load(memory, RECORD).read("Outer", 0x300)["kind"]
    assert (int(kind), kind.known, str(kind)) == (15, False, "15 (no such enumerator)")


def test_gauges_sum_and_peaks_take_the_largest() -> None:
    tables = Tables.load(build(), RECORD)
    assert stats.counters(tables) == {"pages": 3, "peak": 7}
    assert stats.address_of(tables, tables.counters[1], 1) == 0x200 + 16


def changed(
    table: Sequence[tuple[object, ...]], row: int, place: int, value: object
) -> list[tuple[object, ...]]:
    """A table with one value replaced."""
    rows = [list(one) for one in table]
    rows[row][place] = value
    return [tuple(one) for one in rows]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"magic": b"CORONAL\0"}, "begins with b'CORONAL"),
        ({"version": 2}, "has version 2: this reader knows 1 only"),
        ({"bytes": 152}, "says that it has 152 bytes"),
        ({"counters": []}, "table of counters: 0 rows make no sense"),
        ({"counters": [("a", "b", "gauge", "c")] * 5000}, "5000 rows make no sense"),
        ({"counters": changed(COUNTERS, 0, 0, "")}, "row 0: b'.*' is no text"),
        ({"counters": changed(COUNTERS, 1, 0, b"pe\xffak")}, "row 1: .* is no text"),
        ({"counters": changed(COUNTERS, 1, 0, b"pe\0ak")}, "row 1: .* is no text"),
        ({"counters": changed(COUNTERS, 1, 2, "mean")}, "kind 'mean' is unknown"),
        ({"counters": changed(COUNTERS, 1, 0, "pages")}, "table of counters: pages is there twice"),
        ({"types": changed(TYPES, 1, 0, "Inner")}, "table of types: Inner is there twice"),
        ({"types": changed(TYPES, 1, 1, 0)}, "0 bytes make no sense"),
        ({"types": changed(TYPES, 1, 1, 1 << 40)}, "bytes make no sense"),
        ({"types": changed(TYPES, 1, 2, 0xFFFFFFFF)}, "Outer: fields"),
        ({"fields": changed(FIELDS, 2, 1, "u128")}, r"Outer.word\): type 'u128' is in no table"),
        ({"fields": changed(FIELDS, 2, 2, 60)}, "do not fit into 64 bytes"),
        ({"fields": changed(FIELDS, 2, 3, 4)}, "4 bytes, but type u64 has 8"),
        ({"fields": changed(FIELDS, 2, 6, 0)}, "0 times 8 bytes"),
        ({"fields": changed(FIELDS, 6, 6, 0xFFFFFFFF)}, "do not fit into 64 bytes"),
        ({"fields": changed(FIELDS, 4, 5, 12)}, "bits 0 to 12 do not fit"),
        ({"fields": changed(FIELDS, 3, 0, "word")}, "Outer.word is there twice"),
        ({"fields": changed(FIELDS, 6, 1, "Outer")}, "16 bytes|8 bytes, but type Outer has 64"),
        ({"options": changed(OPTIONS, 1, 0, "debug")}, "table of options: debug is there twice"),
        ({"enums": changed(ENUMS, 1, 1, "none")}, "none is there twice"),
        ({"cpus": [(0x100,), (0,)]}, "table of cpus, row 1: null pointer"),
    ],
)
def test_what_is_wrong_is_named(changes: dict[str, object], message: str) -> None:
    with pytest.raises(DecodeError, match=message):
        Tables.load(build(**changes), RECORD)


def test_a_record_that_is_not_there_or_not_filled() -> None:
    with pytest.raises(DecodeError, match="no record at 0x9999"):
        Tables.load(build(), 0x9999)
    memory = build()
    memory.write(RECORD + 40, bytes(96))
    with pytest.raises(DecodeError, match="is empty: the kernel has not filled its tables yet"):
        Tables.load(memory, RECORD)
    memory = build()
    memory.write(RECORD + 40, struct.pack("<Q", 0x7000000))
    with pytest.raises(DecodeError, match="table of counters at 0x7000000: nothing at"):
        Tables.load(memory, RECORD)
    with pytest.raises(DecodeError, match="not initialised yet"):
        Tables.load(build(), RECORD).manager()


def test_unknown_names_are_errors() -> None:
    tables = Tables.load(build(), RECORD)
    for call in (tables.type, tables.enum, tables.option):
        with pytest.raises(DecodeError, match="'Gone'"):
            call("Gone")
    with pytest.raises(DecodeError, match="null pointer where a Outer"):
        tables.read("Outer", 0)
    with pytest.raises(DecodeError, match="is of type u64, not of an enumeration"):
        tables.type("Outer").enumeration("word")

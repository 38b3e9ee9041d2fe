"""Types of the kernel as its own tables describe them: nothing about a C++ layout is known here."""

from __future__ import annotations

import builtins
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from coronel.errors import DecodeError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

# Tables call them so: (struct module's letter, numpy's kind).
_SCALARS = {"u8": "B", "u16": "H", "u32": "I", "u64": "Q", "i64": "q", "pointer": "Q"}
_UNSIGNED = {1: "B", 2: "H", 4: "I", 8: "Q"}


class Enumerator(int):
    """A value of an enumeration: a number that knows its name. A number without a name is no error here."""

    name: str
    known: bool

    def __new__(cls, value: int, name: str | None) -> Enumerator:
        """`name` is None for a number that is no enumerator."""
        made = super().__new__(cls, value)
        made.name = name if name is not None else f"{value} (no such enumerator)"
        made.known = name is not None
        return made

    def __str__(self) -> str:
        return self.name

    def __repr__(self) -> str:
        return f"<{self.name}: {int(self)}>"


@dataclass(frozen=True)
class EnumType:
    """An enumeration."""

    name: str
    values: Mapping[str, int]

    def __getitem__(self, name: str) -> int:
        """The value of an enumerator; DecodeError when the kernel has none of that name."""
        try:
            return self.values[name]
        except KeyError:
            raise DecodeError(
                f"enumeration {self.name} has no {name!r}, only {', '.join(self.values)}"
            ) from None

    def decode(self, value: int) -> Enumerator:
        """The number with its name."""
        return Enumerator(value, self._names.get(value))

    @cached_property
    def _names(self) -> dict[int, str]:
        return {value: name for name, value in self.values.items()}


@dataclass(frozen=True)
class Field:
    """One member, or an array of them; `bits` > 0 marks a part of an integer."""

    name: str
    type: str
    offset: int
    bytes: int  # of one element
    bit: int
    bits: int
    count: int
    target: StructType | EnumType | None  # what `type` names, when it is no plain type

    @property
    def size(self) -> int:
        """Of all elements, in bytes."""
        return self.bytes * self.count

    def decode(self, data: builtins.bytes, address: int) -> Any:
        """Its value in `data`, the bytes of the whole record, which lie at `address`."""
        if self.type == "char":
            return (
                data[self.offset : self.offset + self.size]
                .partition(b"\0")[0]
                .decode("ascii", "backslashreplace")
            )
        if isinstance(self.target, StructType):
            starts = range(self.offset, self.offset + self.size, self.bytes)
            kind = self.target
            found: list[Any] = [Struct(kind, data[at : at + self.bytes], address + at) for at in starts]
        else:
            values = self._packed.unpack_from(data, self.offset)
            plain = self.bits == 0 and self.target is None
            found = list(values if plain else map(self._shape, values))
        return found[0] if self.count == 1 else tuple(found)

    def _shape(self, value: int) -> int:
        if self.bits:
            value = value >> self.bit & ((1 << self.bits) - 1)
        return self.target.decode(value) if isinstance(self.target, EnumType) else value

    @cached_property
    def _packed(self) -> struct.Struct:
        letter = _UNSIGNED[self.bytes] if self.bits or self.target else _SCALARS[self.type]
        return struct.Struct(f"<{self.count}{letter}")

    @cached_property
    def format(self) -> tuple[str, int, int]:
        """numpy's name of one element, how many there are, and where the first lies. Not for records."""
        letter = "S1" if self.type == "char" else f"<{'i' if self.type == 'i64' else 'u'}{self.bytes}"
        return letter, self.count, self.offset


class StructType:
    """A record of the kernel: its size and fields."""

    def __init__(self, name: str, size: int) -> None:
        self.name = name
        self.size = size
        self.fields: dict[str, Field] = {}

    def __repr__(self) -> str:
        return f"<StructType {self.name}, {self.size} bytes>"

    def __getitem__(self, name: str) -> Field:
        """A field; DecodeError when the kernel's tables have none of that name."""
        try:
            return self.fields[name]
        except KeyError:
            raise DecodeError(
                f"type {self.name} has no field {name!r}, only {', '.join(self.fields)}"
            ) from None

    def enumeration(self, field: str) -> EnumType:
        """The enumeration that a field is of; DecodeError when it is of none."""
        target = self[field].target
        if not isinstance(target, EnumType):
            raise DecodeError(
                f"field {self.name}.{field} is of type {self[field].type}, not of an enumeration"
            )
        return target

    @cached_property
    def dtype(self) -> np.dtype[Any]:
        """For arrays of this record. A bit field is the integer that holds it; `column` takes it apart."""
        import numpy as np  # noqa: PLC0415  # GDB's interpreter may not have it

        names, formats, offsets = [], [], []
        for field in self.fields.values():
            if isinstance(field.target, StructType):
                kind: Any = field.target.dtype
            else:
                kind = field.format[0]
            names.append(field.name)
            formats.append(kind if field.count == 1 else (kind, (field.count,)))
            offsets.append(field.offset)
        return np.dtype({"names": names, "formats": formats, "offsets": offsets, "itemsize": self.size})

    def column(self, array: NDArray[Any], name: str) -> NDArray[Any]:
        """One field of every record of an array; a bit field as its own number."""
        field = self[name]
        values: NDArray[Any] = array[name]
        if field.bits:
            values = values >> field.bit & ((1 << field.bits) - 1)
        return values


class Struct(Mapping[str, Any]):
    """One record: its fields by name. Numbers, texts, enumerators, records and tuples of them; pointers are
    numbers.
    """

    def __init__(self, kind: StructType, data: bytes, address: int) -> None:
        self.type = kind
        self.data = data
        self.address = address

    def __getitem__(self, name: str) -> Any:
        """The value of a field; DecodeError when there is none of that name."""
        return self.type[name].decode(self.data, self.address)

    def __iter__(self) -> Iterator[str]:
        return iter(self.type.fields)

    def __len__(self) -> int:
        return len(self.type.fields)

    def __contains__(self, name: object) -> bool:
        return name in self.type.fields

    def address_of(self, name: str, index: int = 0) -> int:
        """Where a field, or one element of it, lies."""
        field = self.type[name]
        return self.address + field.offset + index * field.bytes

    def __repr__(self) -> str:
        values = ", ".join(f"{name}={value!r}" for name, value in self.items())
        return f"<{self.type.name} at {self.address:#x}: {values}>"

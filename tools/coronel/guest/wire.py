"""Records on the second serial port, as bytes: docs/formats.md section 2. Pure: no input, no output, no
clock.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass
from enum import IntEnum

MAGIC = 0x4C4E5243
_MAGIC_BYTES = MAGIC.to_bytes(4, "little")
_HEAD = struct.Struct("<IIHBBI")  # magic, id, bytes, kind, part, parts
_CRC = struct.Struct("<I")
HEADER_BYTES = _HEAD.size + _CRC.size
PAYLOAD_LIMIT = 4076
LINES_LIMIT = 64


class Kind(IntEnum):
    """Who says what."""

    request = 1
    reply = 2
    refused = 3
    event = 4


@dataclass(frozen=True)
class Record:
    """One record whose CRC was right."""

    id: int
    kind: int
    payload: bytes
    part: int = 0
    parts: int = 1


def encode(record: Record) -> bytes:
    """The bytes to send. Precondition: the payload is at most PAYLOAD_LIMIT bytes."""
    assert len(record.payload) <= PAYLOAD_LIMIT, "the caller splits"
    head = _HEAD.pack(MAGIC, record.id, len(record.payload), record.kind, record.part, record.parts)
    return head + _CRC.pack(zlib.crc32(head + record.payload)) + record.payload


class Decoder:
    """Finds records in a stream that may lose, change or add bytes.

    `damaged` counts the record beginnings whose rest was wrong; `skipped` the bytes that belonged to nothing.
    What follows a damaged record is found again at its magic, even when the damaged one claimed it as its
    payload.
    """

    def __init__(self) -> None:
        self._buffer = bytearray()
        self.damaged = 0
        self.skipped = 0

    @property
    def unfinished(self) -> bool:
        """Whether the stream stands inside a record."""
        return len(self._buffer) >= len(_MAGIC_BYTES)

    def feed(self, data: bytes) -> list[Record]:
        """The records that `data` completes, in order."""
        self._buffer += data
        records = []
        while self._align() and len(self._buffer) >= HEADER_BYTES:
            _, number, size, kind, part, parts = _HEAD.unpack_from(self._buffer)
            if size > PAYLOAD_LIMIT or kind not in list(Kind) or part >= parts:
                self._reject()
                continue
            end = HEADER_BYTES + size
            if len(self._buffer) < end:
                break
            payload = bytes(self._buffer[HEADER_BYTES:end])
            (crc,) = _CRC.unpack_from(self._buffer, _HEAD.size)
            if crc != zlib.crc32(bytes(self._buffer[: _HEAD.size]) + payload):
                self._reject()
                continue
            del self._buffer[:end]
            records.append(Record(number, kind, payload, part, parts))
        return records

    def give_up(self) -> list[Record]:
        """The rest of the record begun last will not come: looks for others in what did."""
        if not self.unfinished:
            return []
        self._reject()
        return self.feed(b"")

    def _reject(self) -> None:
        self.damaged += 1
        self.skipped += 1
        del self._buffer[:1]

    def _align(self) -> bool:
        """Drops what stands before the next magic; false when there is none yet."""
        start = self._buffer.find(_MAGIC_BYTES)
        if start < 0:  # keep what may be a magic's beginning
            keep = next((n for n in (3, 2, 1) if self._buffer.endswith(_MAGIC_BYTES[:n])), 0)
            start = len(self._buffer) - keep
            self.skipped += start
            del self._buffer[:start]
            return False
        self.skipped += start
        del self._buffer[:start]
        return True

"""Records as bytes: what a line does to them, the decoder survives and finds again."""

from __future__ import annotations

import itertools
import struct
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coronel.guest.wire import HEADER_BYTES, PAYLOAD_LIMIT, Decoder, Kind, Record, encode

RECORDS = st.builds(
    Record,
    id=st.integers(0, 2**32 - 1),
    kind=st.sampled_from(list(Kind)),
    payload=st.binary(max_size=200),
)


def in_pieces(data: bytes, cuts: list[int]) -> list[bytes]:
    places = sorted({0, len(data), *(cut % (len(data) + 1) for cut in cuts)})
    return [data[start:end] for start, end in itertools.pairwise(places)]


def test_the_layout_is_the_documented_one() -> None:
    data = encode(Record(0x11223344, Kind.reply, b"payload", part=2, parts=5))

    assert data[:20] == struct.pack(
        "<IIHBBII", 0x4C4E5243, 0x11223344, 7, 2, 2, 5, zlib.crc32(data[:16] + b"payload")
    )
    assert data[:4] == b"CRNL"
    assert data[20:] == b"payload"
    assert HEADER_BYTES + PAYLOAD_LIMIT == 4096


@given(st.lists(RECORDS, max_size=6), st.lists(st.integers(0, 10_000), max_size=8))
def test_however_the_stream_is_cut_the_records_are_the_same(records: list[Record], cuts: list[int]) -> None:
    decoder = Decoder()
    found = [
        record for piece in in_pieces(b"".join(map(encode, records)), cuts) for record in decoder.feed(piece)
    ]

    assert found == records
    assert (decoder.damaged, decoder.skipped, decoder.unfinished) == (0, 0, False)


@given(RECORDS, RECORDS, st.data())
def test_a_lost_byte_costs_one_record(broken: Record, whole: Record, data: st.DataObject) -> None:
    stream = encode(broken)
    lost = data.draw(st.integers(0, len(stream) - 1))
    decoder = Decoder()
    found = decoder.feed(stream[:lost] + stream[lost + 1 :] + encode(whole))
    while decoder.unfinished:
        found += decoder.give_up()

    assert found[-1:] == [whole]
    assert broken not in found[:-1]


@given(RECORDS, RECORDS, st.data())
def test_a_changed_bit_is_never_taken(broken: Record, whole: Record, data: st.DataObject) -> None:
    stream = bytearray(encode(broken))
    stream[data.draw(st.integers(0, len(stream) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    decoder = Decoder()
    found = decoder.feed(bytes(stream) + encode(whole))
    while decoder.unfinished:
        found += decoder.give_up()

    assert found == [whole]


@given(st.binary(max_size=500), RECORDS)
def test_noise_before_a_record_does_not_hide_it(noise: bytes, record: Record) -> None:
    decoder = Decoder()
    found = decoder.feed(noise + encode(record))
    while decoder.unfinished:
        found += decoder.give_up()

    assert record in found


def test_a_length_beyond_the_limit_is_not_waited_for() -> None:
    head = struct.pack("<IIHBBI", 0x4C4E5243, 1, 65535, Kind.reply, 0, 1)
    decoder = Decoder()

    assert decoder.feed(head + bytes(4) + encode(Record(2, Kind.event, b"x"))) == [
        Record(2, Kind.event, b"x")
    ]
    assert decoder.damaged == 1


@pytest.mark.parametrize("size", [0, PAYLOAD_LIMIT])
def test_the_sizes_at_the_edges(size: int) -> None:
    record = Record(7, Kind.request, b"x" * size)
    assert Decoder().feed(encode(record)) == [record]


def test_memory_stays_bounded_under_endless_noise() -> None:
    decoder = Decoder()
    for _ in range(100):
        decoder.feed(b"C" * 10_000)
    assert len(decoder._buffer) < 10

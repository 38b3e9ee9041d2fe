"""COM2 byte by byte: what is damaged is refused and recovered from, what is repeated is not run twice.

Records are made and read by hand here, because the package never sends such. docs/formats.md, section 2.
"""

from __future__ import annotations

import itertools
import json
import random
import struct
import time
import zlib
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from coronel.guest import Guest
from coronel.guest.wire import HEADER_BYTES, LINES_LIMIT, MAGIC, PAYLOAD_LIMIT, Decoder, Kind, Record, encode

pytestmark = pytest.mark.guest(memory="32M", timeout=20)

TOO_BIG, UNKNOWN, INVALID = 7, 38, 22
QUIET = 0.1  # seconds of silence that end a record


class Link:
    """COM2 of a guest, raw."""

    def __init__(self, guest: Guest) -> None:
        self.guest = guest
        self._ids = itertools.count(0x1000_0000)  # the package begins at random, lower numbers
        self._decoder = Decoder()
        self._read = 0
        self.records: deque[Record] = deque()  # come, and not yet looked at
        self.catch_up()
        self.records.clear()

    def next_id(self) -> int:
        return next(self._ids)

    def send(self, data: bytes) -> None:
        self.guest.channel._send(data)  # the package has no way to send nonsense

    def catch_up(self) -> None:
        """Takes in what the kernel has said. Whatever else than whole records it says is an error."""
        data = self.guest.channel.log.bytes()
        self.records.extend(self._decoder.feed(data[self._read :]))
        self._read = len(data)
        assert (self._decoder.damaged, self._decoder.skipped) == (0, 0)

    def expect(self, count: int = 1, timeout: float = 10) -> list[Record]:
        """The next `count` records."""

        def look() -> bool | None:
            self.catch_up()
            return True if len(self.records) >= count else None

        self.guest.wait(look, f"{count} records on COM2 (there are {list(self.records)})", timeout)
        return [self.records.popleft() for _ in range(count)]

    def ask(self, *lines: str, number: int | None = None) -> list[dict[str, Any]]:
        """A sound request and its whole reply."""
        return self.reply(self.request(*lines, number=number))

    def request(self, *lines: str, number: int | None = None) -> int:
        number = self.next_id() if number is None else number
        self.send(encode(Record(number, Kind.request, "\n".join(lines).encode())))
        return number

    def reply(self, number: int) -> list[dict[str, Any]]:
        (first,) = self.expect()
        parts = [first, *(self.expect(first.parts - 1) if first.parts > 1 else [])]
        assert [part.part for part in parts] == list(range(first.parts))
        assert {(part.id, part.kind) for part in parts} == {(number, Kind.reply)}
        values = json.loads(b"".join(part.payload for part in parts))
        assert isinstance(values, list)
        return values

    def refused(self) -> str:
        (record,) = self.expect()
        assert (record.kind, record.id) == (Kind.refused, 0)
        return record.payload.decode()


@pytest.fixture
def link(shared_guest: Guest) -> Iterator[Link]:
    """Raw access; afterwards the kernel takes a sound request at once, and the package is not confused."""
    shared_guest.wait_ready()
    raw = Link(shared_guest)
    yield raw
    assert raw.ask("held")[0]["status"] == 0
    assert not raw.records, "nothing was said that nobody asked for"
    assert shared_guest.channel.call("held") == {"count": 0, "blocks": []}
    assert shared_guest.channel.repeats == 0
    lost = {
        key: value for key, value in shared_guest.channel.call("uptime").items() if key.startswith("com2")
    }
    assert lost == {"com2_unsent": 0, "com2_overruns": 0}


def head(
    *, magic: int = MAGIC, number: int = 1, size: int = 0, kind: int = 1, part: int = 0, parts: int = 1
) -> bytes:
    return struct.pack("<IIHBBI", magic, number, size, kind, part, parts)


def sealed(header: bytes, payload: bytes) -> bytes:
    return header + struct.pack("<I", zlib.crc32(header + payload)) + payload


# ---- repeats


def test_a_repeated_request_is_answered_and_not_run_again(link: Link) -> None:
    number = link.request("alloc 0", "held")
    first = link.reply(number)
    for _ in range(3):
        link.request("alloc 0", "held", number=number)
        assert link.reply(number) == first
    (held,) = link.ask("held")
    assert held["value"]["count"] == 1, "the block was taken once"
    link.ask("free all")


def test_the_id_decides_and_not_the_text(link: Link) -> None:
    """So a program may not reuse a number: it would get another question's answer."""
    number = link.request("held")
    reply = link.reply(number)
    link.request("alloc 0", number=number)
    assert link.reply(number) == reply


def test_a_new_number_runs_the_same_text_again(link: Link) -> None:
    before = link.ask("stats")[0]["value"]["frame_allocations"]
    link.ask("alloc 0")
    link.ask("alloc 0")
    assert link.ask("stats")[0]["value"]["frame_allocations"] == before + 2
    link.ask("free all")


def test_only_the_last_reply_is_kept(link: Link) -> None:
    number = link.request("uptime")
    first = link.reply(number)
    link.ask("held")
    link.request("uptime", number=number)
    assert link.reply(number) != first


# ---- damage


def flipped(record: bytes, place: int) -> bytes:
    return record[:place] + bytes([record[place] ^ 0x10]) + record[place + 1 :]


@pytest.mark.parametrize("place", [4, 7, 10, 11, 12, 15, 16, 19, HEADER_BYTES, -1])
def test_one_wrong_bit_is_refused_and_the_repeat_is_taken(link: Link, place: int) -> None:
    number = link.next_id()
    good = encode(Record(number, Kind.request, b"alloc 0"))
    link.send(flipped(good, place % len(good)))
    assert link.refused() == "bad CRC"
    link.send(good)
    assert link.reply(number)[0]["status"] == 0
    assert link.ask("free all")[0]["value"] == {"freed": 1}, "the damaged one was not run"


def test_a_wrong_magic_is_no_record(link: Link) -> None:
    link.send(sealed(head(magic=MAGIC ^ 1, number=7, size=4), b"held"))
    assert link.refused() == "unfinished: 24 bytes that are no whole record"


@pytest.mark.parametrize("size", [PAYLOAD_LIMIT + 1, 0x8000, 0xFFFF])
def test_a_length_that_no_record_has_is_refused_at_once(link: Link, size: int) -> None:
    link.send(head(size=size) + b"\0\0\0\0")
    assert link.refused() == "bad length: a payload has at most 4076 bytes"


@pytest.mark.parametrize("kept", [1, 3, 4, 10, 19, 20, 23])
def test_half_a_record_and_silence_is_dropped(link: Link, kept: int) -> None:
    record = encode(Record(link.next_id(), Kind.request, b"alloc 0"))
    started = time.monotonic()
    link.send(record[:kept])
    assert link.refused() == f"unfinished: {kept} bytes that are no whole record"
    assert QUIET * 0.9 < time.monotonic() - started < 5


def test_the_other_half_is_no_record_either(link: Link) -> None:
    record = encode(Record(link.next_id(), Kind.request, b"alloc 0"))
    link.send(record[:12])
    assert link.refused().startswith("unfinished: 12 bytes")
    link.send(record[12:])
    assert link.refused() == f"unfinished: {len(record) - 12} bytes that are no whole record"
    assert link.ask("held")[0]["value"]["count"] == 0


def test_a_slow_sender_is_waited_for(link: Link) -> None:
    """The silence counts from the last byte, not from the first."""
    number = link.next_id()
    record = encode(Record(number, Kind.request, b"held"))
    for start in range(0, len(record), 4):
        link.send(record[start : start + 4])
        time.sleep(0.02)
    assert link.reply(number)[0]["status"] == 0


GARBAGE = {
    "letters": b"hello, kernel\r\n",
    "zeros": bytes(64),
    "all-ones": b"\xff" * 64,
    "most-of-a-magic": b"CRN",
    "magics-that-begin": b"CCRCRNCRN",
    "long": bytes(range(256)) * 40,
}


@pytest.mark.parametrize("garbage", GARBAGE.values(), ids=GARBAGE.keys())
def test_garbage_before_a_record_is_skipped(link: Link, garbage: bytes) -> None:
    number = link.next_id()
    link.send(garbage + encode(Record(number, Kind.request, b"held")))
    assert link.reply(number)[0]["status"] == 0


def test_random_bytes_never_stop_the_link(link: Link, coronel_seed: int) -> None:
    """Nor do they run anything: a command needs a right sum."""
    source = random.Random(coronel_seed)
    before = link.ask("stats")
    for _ in range(6):
        link.send(bytes(source.randrange(256) for _ in range(source.randrange(1, 3000))))
        if source.random() < 0.5:
            link.send(struct.pack("<I", MAGIC) + bytes(source.randrange(256) for _ in range(40)))
        settle(link)
        assert link.ask("stats") == before


def settle(link: Link) -> None:
    """Until the kernel answers a sound request. Nonsense may have announced more bytes than came: what
    follows is a part of it, until the kernel has heard nothing for a while. So it is asked again.
    """
    asked: set[int] = set()
    for _ in range(20):
        newest = link.request("held")
        asked.add(newest)
        end = time.monotonic() + 10 * QUIET
        while time.monotonic() < end:
            link.catch_up()
            while link.records:
                record = link.records.popleft()
                if record.kind == Kind.reply and record.id in asked:
                    if record.id == newest:
                        return
                else:
                    assert (record.kind, record.id) == (Kind.refused, 0), "random bytes are no request"
            time.sleep(QUIET / 10)
    raise AssertionError("a sound request is not answered any more")


# ---- requests that are none

BAD_REQUESTS: dict[str, tuple[Callable[[], bytes], str]] = {
    "id 0": (lambda: encode(Record(0, Kind.request, b"held")), "id 0 belongs to the kernel"),
    "a reply": (lambda: encode(Record(5, Kind.reply, b"[]")), "only requests (kind 1) are taken"),
    "an event": (lambda: encode(Record(5, Kind.event, b"{}")), "only requests (kind 1) are taken"),
    "no kind": (lambda: sealed(head(kind=0, size=4), b"held"), "only requests (kind 1) are taken"),
    "an unknown kind": (lambda: sealed(head(kind=255, size=4), b"held"), "only requests (kind 1) are taken"),
    "two parts": (lambda: sealed(head(parts=2, size=4), b"held"), "a request has one part"),
    "no parts": (lambda: sealed(head(parts=0, size=4), b"held"), "a request has one part"),
    "part 1": (lambda: sealed(head(part=1, size=4), b"held"), "a request has one part"),
    "65 lines": (
        lambda: encode(Record(5, Kind.request, b"\n".join([b"alloc 0"] * 65))),
        "a request has at most 64 lines",
    ),
}


@pytest.mark.parametrize("name", BAD_REQUESTS)
def test_a_sound_record_that_is_no_request_is_refused(link: Link, name: str) -> None:
    make, reason = BAD_REQUESTS[name]
    link.send(make())
    assert link.refused() == reason


def test_64_lines_are_one_request(link: Link) -> None:
    replies = link.ask(*["alloc 0"] * 40, *["meminfo"] * 23, "free all")
    assert len(replies) == LINES_LIMIT
    assert {reply["status"] for reply in replies} == {0}
    assert replies[63]["value"] == {"freed": 40}


def test_a_line_end_after_the_last_line_is_no_line(link: Link) -> None:
    number = link.next_id()
    link.send(encode(Record(number, Kind.request, b"held\n")))
    assert len(link.reply(number)) == 1
    number = link.next_id()
    link.send(encode(Record(number, Kind.request, b"\n".join([b"held"] * 64) + b"\n")))
    assert len(link.reply(number)) == LINES_LIMIT


@pytest.mark.parametrize(
    ("payload", "statuses"),
    [
        (b"", []),
        (b"\n", []),
        (b"\n\n", [INVALID, INVALID]),
        (b"held\n\nheld", [0, INVALID, 0]),
        (b"   ", [INVALID]),
        (b"held\r\nheld", [UNKNOWN, 0]),
        (b"\x00\x01\x1b[2J", [UNKNOWN]),
        (b"\xff\xfe\xc3", [UNKNOWN]),
        (b'"\\\t"', [UNKNOWN]),
        ("grün".encode(), [UNKNOWN]),
        (b"held --json", [0]),
        (b"x" * PAYLOAD_LIMIT, [UNKNOWN]),
        (b"held " * 815, [INVALID]),
    ],
)
def test_any_payload_gets_json_and_one_object_a_line(link: Link, payload: bytes, statuses: list[int]) -> None:
    number = link.next_id()
    link.send(encode(Record(number, Kind.request, payload)))
    replies = link.reply(number)
    assert [reply["status"] for reply in replies] == statuses
    assert all(("value" in reply) == (reply["status"] == 0) for reply in replies)
    assert all("\n" not in reply.get("error", "") for reply in replies)


# ---- replies of all sizes


def test_a_reply_of_several_parts_is_whole(link: Link) -> None:
    replies = link.ask(*["frames 0 35"] * 4)
    assert all(reply == replies[0] for reply in replies)
    assert len(json.dumps(replies)) > 2 * PAYLOAD_LIMIT


def test_a_repeat_of_a_long_reply_is_the_same_in_all_its_parts(link: Link) -> None:
    number = link.request("frames 0 100")
    first = link.reply(number)
    link.request("x", number=number)
    assert link.reply(number) == first


def test_a_reply_that_is_too_big_is_an_error_and_the_other_lines_are_answered(link: Link) -> None:
    replies = link.ask("held", "frames 0 4096", "held")
    assert [reply["status"] for reply in replies] == [0, TOO_BIG, 0]
    assert "ask for less" in replies[1]["error"]


def test_64_replies_share_the_room_there_is(link: Link) -> None:
    replies = link.ask(*["help"] * LINES_LIMIT)
    statuses = [reply["status"] for reply in replies]
    assert set(statuses) == {0, TOO_BIG}
    assert statuses[0] == 0
    assert len(replies) == LINES_LIMIT


def test_two_requests_in_one_packet_are_both_answered(link: Link) -> None:
    one, two = link.next_id(), link.next_id()
    link.send(encode(Record(one, Kind.request, b"alloc 0")) + encode(Record(two, Kind.request, b"free all")))
    first, second = link.expect(2)
    assert (first.id, second.id) == (one, two)
    assert json.loads(second.payload)[0]["value"] == {"freed": 1}


def test_the_greatest_records_at_full_speed(link: Link) -> None:
    """Fifty of 4096 bytes, each sent as soon as the last is answered: nothing is lost, nothing refused."""
    line = b"x" * PAYLOAD_LIMIT
    for _ in range(50):
        number = link.next_id()
        link.send(encode(Record(number, Kind.request, line)))
        assert link.reply(number)[0]["status"] == UNKNOWN


def test_a_long_command_does_not_lose_what_comes_meanwhile(link: Link) -> None:
    slow, quick = link.next_id(), link.next_id()
    link.send(encode(Record(slow, Kind.request, b"stress pages 60000")))
    link.send(encode(Record(quick, Kind.request, b"held")))
    first, second = link.expect(2, timeout=20)
    assert (first.id, second.id) == (slow, quick)
    assert json.loads(second.payload)[0]["status"] == 0


def test_typing_on_the_console_does_not_stop_a_programs_command(link: Link, shared_guest: Guest) -> None:
    """^C on COM1 stops what a program runs, too: one kernel, one command at a time. Text does not."""
    shared_guest.shell.wait_prompt()
    number = link.request("stress pages 60000")
    shared_guest.console.send(b"held")
    assert link.reply(number)[0]["status"] == 0
    shared_guest.console.send(b"\x15")

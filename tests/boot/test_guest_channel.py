"""Guests that answer wrongly on COM2: what can be repaired is repaired, the rest is an error."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest

from coronel.errors import BootTimeout, GuestError, ProtocolError, UsageError
from coronel.guest import Guest

TinyGuest = Callable[..., Path]


Server = Callable[[str, int], AbstractContextManager[Guest]]


@pytest.fixture
def server(tiny_guest: TinyGuest) -> Server:
    @contextmanager
    def start(fault: str, times: int) -> Iterator[Guest]:
        kernel = tiny_guest("record_server", FAULT=fault, TIMES=times)
        with Guest(kernel=kernel, memory="16M", timeout=4) as guest:
            yield guest

    return start


REPAIRED = ["wrong_crc", "lost_byte", "lost_header", "refusal", "silence", "wrong_id", "lost_part"]


@pytest.mark.parametrize("fault", ["none", "two_parts", "noise"])
def test_a_sound_reply_needs_no_repeat(server: Server, fault: str) -> None:
    with server(fault, 1) as guest:
        assert guest.channel.call("anything") == 42
        assert guest.channel.repeats == 0


@pytest.mark.parametrize("fault", REPAIRED)
def test_one_fault_is_repaired_by_a_repeat(server: Server, fault: str) -> None:
    with server(fault, 1) as guest:
        assert guest.channel.call("anything") == 42
        assert guest.channel.repeats == 1
        assert guest.channel.call("another") == 42, "the line is clean again"


def test_a_false_start_costs_a_repeat_at_most(server: Server) -> None:
    with server("false_start", 1) as guest:
        assert guest.channel.call("anything") == 42
        assert guest.channel.repeats <= 1


def test_three_repeats_and_no_more(server: Server) -> None:
    with server("wrong_crc", 3) as guest:
        assert guest.channel.call("anything") == 42
    with server("wrong_crc", 4) as guest, pytest.raises(ProtocolError, match=r"in 4 attempts: .*wrong CRC"):
        guest.channel.call("anything")


def test_a_refusal_that_stays_is_told_in_the_kernels_words(server: Server) -> None:
    with server("refusal", 9) as guest, pytest.raises(ProtocolError, match="refused the request: bad CRC"):
        guest.channel.call("anything")


def test_silence_is_a_timeout_that_names_the_command(server: Server) -> None:
    with server("silence", 9) as guest, pytest.raises(BootTimeout, match="the reply to 'alloc 3' within 1 s"):
        guest.channel.call("alloc", 3, timeout=1)


def test_a_stale_reply_is_no_reply(server: Server) -> None:
    with server("wrong_id", 9) as guest, pytest.raises(BootTimeout):
        guest.channel.call("anything", timeout=1)


@pytest.mark.parametrize(
    ("fault", "text"), [("not_json", "is no JSON"), ("wrong_count", "array of 1 objects")]
)
def test_a_sound_record_with_nonsense_is_not_repeated(server: Server, fault: str, text: str) -> None:
    with server(fault, 9) as guest, pytest.raises(ProtocolError, match=text):
        guest.channel.call("anything")
    assert guest.channel.repeats == 0


def test_a_guest_that_ends_instead_of_answering(server: Server) -> None:
    with (
        server("dies", 1) as guest,
        pytest.raises(GuestError, match="powered off, while waiting for the reply"),
    ):
        guest.channel.call("x")


def test_lines_that_fit_no_record_are_refused_at_once(server: Server) -> None:
    with server("none", 1) as guest:
        for line in ["", "  ", "two\nlines", "x" * 4077]:
            with pytest.raises(UsageError):
                guest.channel.call(line)
        assert guest.channel.call("x" * 4076) == 42


def test_nothing_can_be_sent_to_a_closed_guest(server: Server) -> None:
    with server("none", 1) as guest:
        guest.channel.call("x")
    with pytest.raises(GuestError, match="COM2 is not connected"):
        guest.channel.call("x")

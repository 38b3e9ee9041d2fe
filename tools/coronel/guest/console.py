"""COM1, the console for people: everything it said, bounded, and pexpect over it."""

from __future__ import annotations

import collections
import re
from collections.abc import Callable
from typing import Any

import pexpect
from pexpect.spawnbase import SpawnBase

from coronel.guest.watch import Watch

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")


def printable(data: bytes) -> str:
    """Text for a report: line ends as LF, invalid UTF-8 and control characters escaped, nothing lost."""
    text = data.decode("utf-8", "backslashreplace").replace("\r\n", "\n")
    return _CONTROL.sub(lambda match: f"\\x{ord(match[0]):02x}", text)


class SerialLog:
    """What a port said: its beginning and end kept, the middle counted: a flood costs no memory."""

    HEAD_LIMIT = 64 << 10
    TAIL_LIMIT = 1 << 20
    REPORT_LINES = 200  # a report of a panic is shorter

    def __init__(self) -> None:
        self._head = bytearray()
        self._tail: collections.deque[bytes] = collections.deque()
        self._tail_bytes = 0
        self.dropped = 0
        self.total = 0

    def add(self, data: bytes) -> None:
        """Appends what the port said."""
        self.total += len(data)
        room = self.HEAD_LIMIT - len(self._head)
        self._head += data[:room]
        rest = data[room:] if room < len(data) else b""
        if rest:
            self._tail.append(rest)
            self._tail_bytes += len(rest)
        while self._tail_bytes > self.TAIL_LIMIT:
            gone = self._tail.popleft()
            self._tail_bytes -= len(gone)
            self.dropped += len(gone)

    def bytes(self) -> bytes:
        """All that was kept, with a line in place of what was not."""
        gap = f"\n[... {self.dropped} bytes dropped ...]\n".encode() if self.dropped else b""
        return bytes(self._head) + gap + b"".join(self._tail)

    def tail(self, lines: int = 40, width: int = 400) -> str:
        """The last `lines` lines, or more, so that a report of a panic is whole; printable. A line of more
        than `width` characters keeps its end.
        """
        found = printable(self.bytes()[-(64 << 10) :]).rstrip("\n").split("\n")
        recent = found[-self.REPORT_LINES :]
        reports = [len(recent) - n for n, line in enumerate(recent) if line.startswith("panic: ")]
        lines = max(lines, reports[0] if reports else 0)
        return "\n".join(line if len(line) <= width else "[...]" + line[-width:] for line in found[-lines:])


class Console(SpawnBase):  # type: ignore[type-arg]  # generic in its stubs only
    r"""pexpect's interface (expect, expect_exact, before, match, sendline) over COM1 of one guest.

    Waits end with a GuestError as soon as the guest fails, and with BootTimeout, never pexpect.TIMEOUT, at
    the deadline, unless the pattern list itself names TIMEOUT. Text is UTF-8; invalid bytes read as \\xNN.
    """

    BACKLOG_LIMIT = (
        4 << 20
    )  # bytes that wait for an expect; of more, the oldest are dropped (the log still counts)
    CHUNK = 4096

    def __init__(self, watch: Watch, send: Callable[[bytes], None], timeout: float) -> None:
        super().__init__(
            timeout=timeout,
            maxread=self.CHUNK,
            searchwindowsize=4 * self.CHUNK,  # more than a chunk, or matches at its beginning are missed
            encoding="utf-8",
            codec_errors="backslashreplace",
        )
        self.delayafterread = None
        self.log = SerialLog()
        # Called in the loop's thread with all that comes. What it raises goes to whoever waits for the guest.
        self.tap: Callable[[bytes], None] | None = None
        self._watch = watch
        self._send = send
        self._backlog = bytearray()
        self._awaited = "text on the console"

    def receive(self, data: bytes) -> None:
        """COM1 said this. Called from the loop's thread."""
        with self._watch.lock:
            self.log.add(data)
            self._backlog += data
            if len(self._backlog) > self.BACKLOG_LIMIT:
                del self._backlog[: -self.BACKLOG_LIMIT // 2]
            self._watch.changed()
        try:
            if self.tap is not None:
                self.tap(data)
        except Exception as error:  # whose it is waits in another thread
            self.tap = None
            self._watch.interrupt(error)

    def read_nonblocking(self, size: int = 1, timeout: float | None = -1) -> str:
        """pexpect's way to more text; see `expect`."""

        def take() -> bytes | None:
            data = bytes(self._backlog[:size])
            del self._backlog[:size]
            return data or None

        seconds = self.timeout if timeout == -1 else timeout
        data = self._watch.poll(take, self._awaited, float("inf") if seconds is None else seconds)
        if data is None:
            raise pexpect.TIMEOUT("no text")
        base: Any = self  # the types of pexpect leave out what its subclasses need
        if (
            base._before.tell() > self.BACKLOG_LIMIT
        ):  # nothing matched in megabytes: pexpect would keep them all
            kept = base._before.getvalue()[-base.searchwindowsize :]
            base._before = base.buffer_type()
            base._before.write(kept)
        text: str = base._decoder.decode(data, final=False)
        base._log(text, "read")
        return text

    def expect_list(self, pattern_list: Any, *arguments: Any, **named: Any) -> Any:
        """pexpect's: what expect() ends in."""
        return self._bounded(super().expect_list, pattern_list, *arguments, **named)

    def expect_exact(self, pattern_list: Any, *arguments: Any, **named: Any) -> Any:
        """pexpect's: strings, no patterns."""
        return self._bounded(super().expect_exact, pattern_list, *arguments, **named)

    def _bounded(
        self,
        expect: Callable[..., Any],
        patterns: Any,
        timeout: float | None = -1,
        searchwindowsize: int | None = -1,
        async_: bool = False,
    ) -> Any:
        """One of pexpect's waits, with our exceptions."""
        assert not async_, "the guest has a loop of its own"
        seconds = self.timeout if timeout == -1 else timeout
        wanted = patterns if isinstance(patterns, list) else [patterns]
        names = " or ".join(repr(getattr(pattern, "pattern", pattern)) for pattern in wanted)
        self._awaited = f"{names} on the console"
        try:
            return expect(patterns, seconds, searchwindowsize)
        except pexpect.TIMEOUT:
            expired = self._watch.expire(self._awaited, seconds or 0)
        raise expired

    def send(self, text: str | bytes) -> int:
        """Hands bytes to the guest; the guest takes them as it can."""
        data = text.encode() if isinstance(text, str) else text
        self._send(data)
        return len(data)

    def sendline(self, text: str | bytes = "") -> int:
        """Text and Enter."""
        return self.send((text.encode() if isinstance(text, str) else text) + b"\n")

"""COM2, the channel for programs: commands in, JSON out, every byte checked. docs/formats.md section 2."""

from __future__ import annotations

import collections
import itertools
import json
import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from coronel.errors import GuestReport, MMError, ProtocolError, UsageError
from coronel.guest.console import SerialLog
from coronel.guest.watch import Watch
from coronel.guest.wire import LINES_LIMIT, PAYLOAD_LIMIT, Decoder, Kind, Record, encode

REPEATS = 3


@dataclass(frozen=True)
class Outcome:
    """What one command line came to. `status` 0 is success, else Linux's errno, and `error` says why."""

    line: str
    status: int
    error: str
    value: Any

    def take(self) -> Any:
        """The value, or MMError with the kernel's own text."""
        if self.status:
            raise MMError(f"{self.line}: {self.error or 'refused without a reason'}", self.status)
        return self.value


class Channel:
    """Commands to the kernel and what it says unasked.

    One request at a time. A request that gets `refused`, a damaged reply or silence is sent again, three
    times at most; the kernel answers repeats from its memory and runs nothing twice. Request numbers start at
    random, so nothing a guest prints by itself can pass for a reply.
    """

    def __init__(
        self, watch: Watch, send: Callable[[bytes], None], report: Callable[[], GuestReport], timeout: float
    ) -> None:
        self.events: collections.deque[dict[str, Any]] = collections.deque(maxlen=1000)  # oldest first
        self.timeout = timeout
        self.repeats = 0  # requests that had to be sent again, since the start
        self.log = SerialLog()
        self.decoder = Decoder()
        self._watch = watch
        self._send = send
        self._report = report
        self._ids = itertools.count(random.randrange(1, 1 << 30))
        self._parts: dict[int, Record] = {}
        self._awaited = 0
        self._damaged_before = 0
        self._refusal: str | None = None

    def call(self, command: str, *arguments: object, timeout: float | None = None, **named: object) -> Any:
        """Runs `command arguments... name=value...` and returns its value; MMError if it refuses."""
        words = [command, *map(str, arguments), *(f"{name}={value}" for name, value in named.items())]
        return self.batch([" ".join(words)], timeout=timeout)[0].take()

    def batch(self, lines: Iterable[str], timeout: float | None = None) -> list[Outcome]:
        """One outcome for each line, in order, in as few records as fit. `timeout` is for each record."""
        if self.event("ready") is None:
            self.wait_event("ready", timeout)
        outcomes: list[Outcome] = []
        for group in _records(list(lines)):
            replies = self._exchange(group, self.timeout if timeout is None else timeout)
            outcomes += [_outcome(line, reply) for line, reply in zip(group, replies, strict=True)]
        return outcomes

    def event(self, name: str) -> dict[str, Any] | None:
        """The latest event of that name, or None."""
        with self._watch.lock:
            return next((event for event in reversed(self.events) if event.get("event") == name), None)

    def wait_event(self, name: str, timeout: float | None = None) -> dict[str, Any]:
        """Waits until the kernel has said so; a past event counts."""
        seconds = self.timeout if timeout is None else timeout
        return self._watch.wait(lambda: self.event(name), f"the event {name!r} on COM2", seconds)

    def receive(self, data: bytes) -> None:
        """COM2 said this. Called from the loop's thread."""
        with self._watch.lock:
            self.log.add(data)
            self._sort(self.decoder.feed(data))

    def stalled(self) -> None:
        """COM2 has been silent inside a record: its rest was lost. Called from the loop's thread."""
        with self._watch.lock:
            self._sort(self.decoder.give_up())

    def _sort(self, records: list[Record]) -> None:
        for record in records:
            if record.kind == Kind.reply and record.id == self._awaited:
                self._parts[record.part] = record
            elif record.kind == Kind.refused:
                self._refusal = record.payload.decode("utf-8", "backslashreplace")
            elif record.kind == Kind.event and record.id == 0:
                self._event(record.payload)
        self._watch.changed()

    def _event(self, payload: bytes) -> None:
        try:
            event = json.loads(payload)
        except ValueError:
            event = None
        if not isinstance(event, dict):
            event = {"event": "malformed", "payload": payload.decode("utf-8", "backslashreplace")}
        self.events.append(event)

    def _exchange(self, lines: Sequence[str], timeout: float) -> list[dict[str, Any]]:
        what = f"the reply to {lines[0]!r}" + (f" and {len(lines) - 1} more" if len(lines) > 1 else "")
        with self._watch.lock:
            self._awaited = next(self._ids)
            self._parts.clear()
        request = encode(Record(self._awaited, Kind.request, "\n".join(lines).encode()))
        trouble: str | None = None
        for attempt in range(1 + REPEATS):
            self.repeats += attempt > 0
            with self._watch.lock:
                self._damaged_before, self._refusal = self.decoder.damaged, None
            self._send(request)
            answer = self._watch.poll(self._look, what, timeout / (1 + REPEATS))
            if answer is not None:
                reply, trouble = answer
                if trouble is None:
                    return self._parse(reply, len(lines), what)
        if trouble is None:
            raise self._watch.expire(what, timeout)
        raise ProtocolError(
            f"{what} did not arrive intact in {1 + REPEATS} attempts: {trouble}", self._report()
        )

    def _look(self) -> tuple[bytes, str | None] | None:
        """The whole reply, or the trouble for which the request must be repeated; None: nothing yet."""
        if self._parts:
            parts = next(iter(self._parts.values())).parts
            if all(number in self._parts for number in range(parts)):
                return b"".join(self._parts[number].payload for number in range(parts)), None
        if self._refusal is not None:
            return b"", f"the kernel refused the request: {self._refusal}"
        if self.decoder.damaged > self._damaged_before:
            return b"", "a record from the kernel had a wrong CRC, a wrong length or lost bytes"
        return None

    def _parse(self, reply: bytes, lines: int, what: str) -> list[dict[str, Any]]:
        try:
            values = json.loads(reply)
        except ValueError as error:
            raise ProtocolError(f"{what} is no JSON: {error}: {reply[:200]!r}", self._report()) from None
        good = isinstance(values, list) and len(values) == lines
        if not good or not all(isinstance(v, dict) and isinstance(v.get("status"), int) for v in values):
            raise ProtocolError(
                f"{what} is not an array of {lines} objects with a status: {reply[:200]!r}", self._report()
            )
        return list(values)


def _outcome(line: str, reply: dict[str, Any]) -> Outcome:
    return Outcome(line, reply["status"], str(reply.get("error", "")), reply.get("value"))


def _records(lines: list[str]) -> list[list[str]]:
    """Lines grouped so that each group fits one record."""
    groups: list[list[str]] = []
    used = 0
    for line in lines:
        size = len(line.encode())
        if "\n" in line or not line.strip():
            raise UsageError(f"{line!r} is not one command line")
        if size > PAYLOAD_LIMIT:
            raise UsageError(
                f"a command line of {size} bytes does not fit a record ({PAYLOAD_LIMIT} at most)"
            )
        if not groups or len(groups[-1]) == LINES_LIMIT or used + 1 + size > PAYLOAD_LIMIT:
            groups.append([])
            used = -1
        groups[-1].append(line)
        used += 1 + size
    return groups

"""`GuestKernelMM`: KernelMM over a running guest. Its kernel is asked over COM2, its memory is read from
outside.
"""

from __future__ import annotations

import errno
import functools
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from coronel.artifact import Artifact
from coronel.errors import MMError
from coronel.memory import PAGE_SHIFT
from coronel.mm.body import Body
from coronel.mm.host import StressReport
from coronel.mm.kernel import KernelState
from coronel.mm.leaks import LeakCount
from coronel.mm.misuse import Break, Broken
from coronel.mm.objects import RETURN_ADDRESSES, ObjectOperation, ObjectResult
from coronel.mm.pages import PageOperation, PageResult, Verb, unsigned
from coronel.mm.tables import TableOperation, TableResult
from coronel.mm.zones import Physical

if TYPE_CHECKING:
    from coronel.guest import Guest
    from coronel.mm.kernel_mm import KernelMM

MOST_OPERATIONS = 512  # in one line: kMostOperations of commands_pages.cpp
MOST_BYTES = 4000  # of one line: a record has 4076
STRESS_TIMEOUT = 600.0


class GuestKernelMM(Body):
    """The memory manager of the kernel in `guest`; its first prompt is waited for. `kernel` is its file, by
    default the one that it started from.
    """

    def __init__(self, guest: Guest, kernel: Artifact | None = None) -> None:
        self.guest = guest
        guest.wait_ready()
        self.state = KernelState(guest, kernel)

    @property
    def _state(self) -> KernelState:
        return self.state

    def _perform(self, operations: list[PageOperation]) -> list[PageResult]:
        results: list[PageResult] = []
        for line in _lines(operations):
            reply = self.guest.channel.call("pages", line)
            texts, errors = reply["texts"], iter(reply["errors"])
            results += [PageResult(n, texts[next(errors)] if n < 0 else "") for n in reply["results"]]
        return results

    def _perform_objects(self, operations: list[ObjectOperation]) -> list[ObjectResult]:
        base = self._direct_map
        results: list[ObjectResult] = []
        for chunk in _object_lines(operations):
            line = " ".join(f"{letter}{first}/{second}" for letter, first, second in chunk)
            reply = self.guest.channel.call("objects", line)
            texts, errors = reply["texts"], iter(reply["errors"])
            for (letter, _, _), value in zip(chunk, reply["results"], strict=True):
                if value < 0:
                    results.append(ObjectResult(value, texts[next(errors)]))
                else:
                    results.append(ObjectResult(value + base if letter in RETURN_ADDRESSES else value, ""))
        return results

    def _perform_tables(self, operations: list[TableOperation]) -> list[TableResult]:
        results: list[TableResult] = []
        words = [letter + "/".join(map(str, numbers)) for letter, numbers in operations]
        for line in _filled(words):
            reply = self.guest.channel.call("tables", line)
            failures = iter([reply["texts"][name] for name in reply["errors"]])
            results += [TableResult(n, next(failures) if n < 0 else "") for n in reply["results"]]
        return results

    @functools.cached_property
    def _direct_map(self) -> int:
        with self.state.still() as tables:
            return int(Physical.of(tables).map["direct_map"])

    @property
    def _code(self) -> tuple[Artifact, int]:
        return self.state.artifact, self.state.tables.record.slide

    def break_heap(self, wanted: Break) -> Broken:
        """As KernelMM's."""
        done = self._call(f"break heap {wanted}", f"break {wanted}")
        return Broken(int(done["object"], 16), int(done["address"], 16), str(done["answer"]))

    def find_leaks(self, held: Iterable[int] = ()) -> LeakCount:
        """As KernelMM's."""
        words = " ".join(["kmemleak scan", *(f"{unsigned('held', address, 64):#x}" for address in held)])
        said = self._call(words, "find_leaks", STRESS_TIMEOUT)
        return LeakCount(*(int(said[name]) for name in LeakCount.__dataclass_fields__))

    def clear_leaks(self) -> int:
        """As KernelMM's."""
        return int(self._call("kmemleak clear", "clear_leaks")["known"])

    def create_cache(self, name: str, size: int, align: int = 8, *, dma: bool = False) -> int:
        """As KernelMM's."""
        what = f"cache {name!r}, size {size}, align {align}"
        if not name or not all(" " < letter <= "~" for letter in name):
            raise MMError(f"invalid argument: {what}", errno.EINVAL)
        line = f"newcache {name} {unsigned('size', size, 64)} {unsigned('align', align, 64)}"
        return int(self._call(line + (" dma" if dma else ""), what)["cache"])

    def destroy_cache(self, cache: int) -> None:
        """As KernelMM's."""
        self._call(f"delcache {unsigned('cache', cache)}", f"cache {cache}")

    def shrink(self) -> None:
        """As KernelMM's."""
        self._call("shrink", "shrink")

    def read_memory(self, address: int, size: int) -> bytes:
        """As KernelMM's."""
        return self.guest.ram.read(address - self._direct_map, size)

    def write_memory(self, address: int, data: bytes) -> None:
        """As KernelMM's."""
        self.guest.ram.write(address - self._direct_map, data)

    def _stress(self, operations: int, seed: int) -> StressReport:
        unsigned("operations", operations, 64)
        unsigned("seed", seed, 64)
        what = f"stress, {operations} operations from seed {seed}"
        line = f"stress pages {operations} seed={seed}"
        said = self._call(line, what, STRESS_TIMEOUT)
        return StressReport(*(int(said[name]) for name in StressReport.__dataclass_fields__))

    def add_memory_range(self, first: int, end: int) -> None:
        """As KernelMM's."""
        low = unsigned("first", first << PAGE_SHIFT, 64)
        high = unsigned("end", end << PAGE_SHIFT, 64)
        self._call(f"addmem {low} {high}", f"frames [{first:#x}, {end:#x})")

    def quiesce(self) -> None:
        """As KernelMM's."""
        self._call("quiesce", "quiesce")

    def fail_nth(self, n: int) -> None:
        """As KernelMM's."""
        self._call(f"failnth {unsigned('n', n, 64)}", f"fail_nth {n}")

    def fail_pending(self) -> bool:
        """As KernelMM's."""
        return bool(self._call("failnth", "fail_pending")["pending"] == "yes")

    def fail_site(self) -> str | None:
        """As KernelMM's."""
        refused = str(self._call("failnth", "fail_site")["refused"])
        return None if refused == "-" else refused

    def valid(self) -> bool:
        """As KernelMM's."""
        found = self.walk()
        return found.complete and not found.problems

    def _call(self, line: str, what: str, timeout: float | None = None) -> Any:
        (outcome,) = self.guest.channel.batch([line], timeout)
        if outcome.status:
            raise MMError(f"{outcome.error}: {what}", outcome.status)
        return outcome.value


def _object_lines(operations: list[ObjectOperation]) -> list[list[ObjectOperation]]:
    """What `objects` is told, in as many lines as it needs."""
    lines: list[list[ObjectOperation]] = []
    used = MOST_BYTES
    for one in operations:
        size = 3 + len(str(one.first)) + len(str(one.second))
        used += size
        if used > MOST_BYTES or len(lines[-1]) == MOST_OPERATIONS:
            lines.append([])
            used = size
        lines[-1].append(one)
    return lines


def _lines(operations: list[PageOperation]) -> list[str]:
    """What `pages` is told, in as many lines as it needs."""
    return _filled(
        f"a{order}/{flags}" if verb == Verb.alloc else f"f{pfn}/{order}"
        for verb, order, flags, pfn in operations
    )


def _filled(all_words: Iterable[str]) -> list[str]:
    """Words in as few lines as take them."""
    lines: list[list[str]] = []
    used = MOST_BYTES
    for word in all_words:
        used += 1 + len(word)
        if used > MOST_BYTES or len(lines[-1]) == MOST_OPERATIONS:
            lines.append([])
            used = len(word)
        lines[-1].append(word)
    return [" ".join(words) for words in lines]


if TYPE_CHECKING:

    def _is_a_body(body: GuestKernelMM) -> KernelMM:
        return body

"""Fixtures of the tests that run on both bodies of KernelMM: the host library and a kernel in QEMU."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass

import pytest
from hypothesis import HealthCheck, seed, settings
from hypothesis.stateful import RuleBasedStateMachine, run_state_machine_as_test

from coronel.guest import Guest
from coronel.mm.guest_mm import GuestKernelMM
from coronel.mm.host import HostLibrary, HostMachine
from coronel.mm.host_mm import HostKernelMM
from coronel.mm.kernel_mm import KernelMM
from coronel.pytest_plugin import Build

MIB = 256  # frames
MEMORY, DIRECT = 64 * MIB, 48 * MIB  # frames; those from DIRECT on are HIGHMEM
PROFILES = ("debug", "release", "guarded")
ROOM = (32 * MIB, 40 * MIB)  # frames that are added later


@dataclass(frozen=True)
class Body:
    """A memory manager with zones DMA, DMA32 and HighMem, and frames that can still be added to it."""

    name: str
    mm: KernelMM
    room: tuple[int, int]


@contextmanager
def _host(build: Build) -> Iterator[Body]:
    ranges = [(0, ROOM[0]), (ROOM[1], MEMORY)]
    reserved = [(0, 1), (160, 300)]
    with HostMachine(
        ranges,
        reserved,
        cpus=2,  # of which calls run on the first, until somebody says otherwise
        direct_end=DIRECT << 12,
        room_end=MEMORY << 12,
        library=HostLibrary.at(build.elf.parent),
    ) as machine:
        yield Body("host", HostKernelMM(machine), ROOM)


@contextmanager
def _guest(build: Build) -> Iterator[Body]:
    words = (
        f"on_misuse=refuse directmap={DIRECT // MIB}M hold={ROOM[0] // MIB}M+{(ROOM[1] - ROOM[0]) // MIB}M"
    )
    with Guest(kernel=build.elf, memory=f"{MEMORY // MIB}M", cmdline=words, timeout=60.0) as guest:
        yield Body("guest", GuestKernelMM(guest, build.artifact), ROOM)


OpenBody = Callable[[str], AbstractContextManager[Body]]


@pytest.fixture
def open_body(artifact: Build) -> OpenBody:
    """`with open_body("guest") as body:` a body where a misuse is refused."""
    return lambda name: (_host if name == "host" else _guest)(artifact)


class Place:
    """A body on which one run follows another, opened anew after a failure."""

    def __init__(self, name: str, opener: Callable[[], AbstractContextManager[Body]]) -> None:
        self.name = name  # host or guest
        self._opener = opener
        self._stack = ExitStack()
        self._body: Body | None = None

    def enter(self, least_room: int = 0) -> Body:
        """The body, on which nothing is allocated. Who does not call `leave` has spoilt it."""
        body, self._body = self._body, None
        if body is None or body.room[1] - body.room[0] < least_room:
            self._stack.close()
            body = self._stack.enter_context(self._opener())
        self.entered = body
        return body

    def leave(self, room: tuple[int, int]) -> None:
        """The body may be used again; the rest of its room is not added yet."""
        self._body = Body(self.entered.name, self.entered.mm, room)

    def close(self) -> None:
        """Closes what is open."""
        self._stack.close()


@pytest.fixture(params=["host", "guest"])
def place(request: pytest.FixtureRequest, open_body: OpenBody) -> Iterator[Place]:
    """Where the runs take place."""
    made = Place(request.param, lambda: open_body(request.param))
    yield made
    made.close()


class RunRules:
    """Lets Hypothesis drive a state machine at a place, as the session's seed says."""

    def __init__(self, place: Place, session_seed: int) -> None:
        self._place = place
        self._seed = session_seed

    def __call__(
        self, machine: type[RuleBasedStateMachine], host: tuple[int, int], guest: tuple[int, int]
    ) -> None:
        """`machine(place)` is made for each run; runs, and steps of each, on a host and on a guest."""
        examples, steps = host if self._place.name == "host" else guest
        run_state_machine_as_test(
            seed(self._seed)(lambda: machine(self._place)),  # type: ignore[arg-type,call-arg]  # it calls it
            settings=settings(
                max_examples=examples,
                stateful_step_count=steps,
                deadline=None,
                database=None,
                suppress_health_check=list(HealthCheck),
            ),
        )


@pytest.fixture
def run_rules(place: Place, coronel_seed: int) -> RunRules:
    """`run_rules(Machine, host=(20, 30), guest=(5, 20))`."""
    return RunRules(place, coronel_seed)


@pytest.fixture(params=["host", "guest"])
def body(request: pytest.FixtureRequest, open_body: OpenBody) -> Iterator[Body]:
    """One body of the test's own."""
    with open_body(request.param) as made:
        yield made


@pytest.fixture
def mm(body: Body) -> KernelMM:
    """Its memory manager."""
    return body.mm


@pytest.fixture(scope="module", params=["host", "guest"])
def release_mm(request: pytest.FixtureRequest, artifact: Build) -> Iterator[KernelMM]:
    """The memory manager of a body of the release profile, one for the module."""
    with (_host if request.param == "host" else _guest)(artifact.sibling("release")) as made:
        yield made.mm


@pytest.fixture(scope="module", params=["host", "guest"])
def guarded_mm(request: pytest.FixtureRequest, artifact: Build) -> Iterator[KernelMM]:
    """The same of the guarded profile."""
    with (_host if request.param == "host" else _guest)(artifact.sibling("guarded")) as made:
        yield made.mm


@pytest.fixture(params=[f"{where}-{profile}" for where in ("host", "guest") for profile in PROFILES])
def every_mm(request: pytest.FixtureRequest, artifact: Build) -> Iterator[KernelMM]:
    """The memory manager of one body of the test's own, of each profile."""
    where, profile = request.param.split("-")
    with (_host if where == "host" else _guest)(artifact.sibling(profile)) as made:
        yield made.mm


@pytest.fixture
def bodies(artifact: Build) -> Iterator[tuple[KernelMM, KernelMM]]:
    """A guest and its twin: a host machine with the guest's memory map."""
    with _guest(artifact) as guest:
        walk = guest.mm.walk()
        with HostMachine.like(
            walk, room_end=MEMORY << 12, library=HostLibrary.at(artifact.elf.parent)
        ) as twin:
            yield guest.mm, HostKernelMM(twin)

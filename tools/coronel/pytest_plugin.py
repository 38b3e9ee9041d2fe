"""Coronel's pytest plugin: a booted kernel as a fixture, and everything it left when a test fails.

    @pytest.mark.guest(memory="64M", cpus=2)
    def test_allocates(channel: Channel) -> None:
        assert channel.call("alloc", 0)["frame"] > 0

Fixtures: `artifact` (the built kernel, once a session) -> `guest` (a machine of the test's own) or
`shared_guest` (one for the module, described by the module's `pytestmark`) -> `shell`, `channel`,
`kernel_mm`. `machine` is a machine of the same build's host library: the same memory manager in this process.
`coronel_seed` is the session's number for everything random; every guest gets it as `seed=N` on its command
line.

Markers: `guest(memory=, cpus=, machine=, cpu=, boot="pvh"|"iso", firmware="bios"|"uefi", cmdline=, icount=,
modules=, timeout=, extra=)`, `machine(memory=, reserved=, cpus=, on_misuse=, direct_end=, room_end=)`, as
HostMachine takes them, and `needs(option, ...)`, which skips unless the *built* kernel has these options
of config.def on.
"""

from __future__ import annotations

import functools
import random
import subprocess
from collections.abc import Generator, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from coronel.artifact import Artifact
from coronel.checkout import find_unpacked_tools
from coronel.errors import ArtifactError, CoronelError, DecodeError, GuestError, GuestReport, UsageError
from coronel.guest import Channel, Guest, Shell
from coronel.guest.features import Options, options_of
from coronel.memory import KernelMemory
from coronel.mm import Tables, counters
from coronel.mm.guest_mm import GuestKernelMM
from coronel.mm.host import HostLibrary, HostMachine
from coronel.mm.record import SYMBOL
from coronel.task.report import by_block, threads_report
from coronel.task.tasks import CpuRegisters

_RECORD_ROOT = 24  # docs/formats.md section 1
_MARKER_FIELDS = {
    "memory", "cpus", "machine", "cpu", "boot", "firmware", "cmdline", "icount", "modules", "timeout",
    "extra", "accel",
}  # fmt: skip


@dataclass(frozen=True)
class Build:
    """The kernel under test: `elf` for direct starts, `iso` for GRUB's, `options` as compiled into it."""

    artifact: Artifact
    iso: Path
    profile: str

    @property
    def elf(self) -> Path:
        """The kernel's ELF file."""
        return self.artifact.path

    @functools.cached_property
    def options(self) -> Options:
        """The values of config.def in this kernel, by name."""
        return options_of(self.artifact)

    def sibling(self, profile: str) -> Build:
        """Another profile's build beside this one."""
        folder = self.elf.parent.parent / profile
        return Build(Artifact.open(folder / self.elf.name), folder / self.iso.name, profile)


_GUESTS = pytest.StashKey[list[tuple[Guest, Build]]]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Adds the options of this plugin."""
    group = parser.getgroup("coronel", "Coronel: the kernel under test")
    group.addoption(
        "--coronel-profile", default="debug", metavar="NAME", help="which build (default: %(default)s)"
    )
    group.addoption(
        "--coronel-build", default=None, metavar="DIR", help="where builds are (default: ROOTDIR/build)"
    )
    group.addoption(
        "--coronel-qemu", default=None, metavar="PROGRAM", help="default: $QEMU or qemu-system-x86_64"
    )
    group.addoption(
        "--coronel-seed",
        type=int,
        default=None,
        metavar="N",
        help="for everything random (default: another each time)",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Registers the markers and draws the seed: the controller of pytest-xdist for all of its workers."""
    find_unpacked_tools()
    config.addinivalue_line("markers", "guest(**machine): the machine that the fixture `guest` starts")
    config.addinivalue_line("markers", "machine(**fields): the host machine of the fixture `machine`")
    config.addinivalue_line("markers", "needs(*options): skip unless the built kernel has these options on")
    if config.option.coronel_seed is None:
        given = getattr(config, "workerinput", {})
        config.option.coronel_seed = given.get("coronel_seed") or random.SystemRandom().randrange(1, 1 << 32)


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """pytest-xdist's: what a worker is told."""
    node.workerinput["coronel_seed"] = node.config.option.coronel_seed


def pytest_report_header(config: pytest.Config) -> str:
    """What is needed to repeat the session."""
    seed, profile = config.option.coronel_seed, config.option.coronel_profile
    return f"coronel: seed {seed}, profile {profile}, {_qemu_line(config)}"


def _qemu_line(config: pytest.Config) -> str:
    from coronel.guest import process  # noqa: PLC0415

    try:
        program = process.find(config.option.coronel_qemu or process.default_qemu())
        answer = subprocess.run(
            [program, "--version"], capture_output=True, text=True, timeout=10, check=True
        )
    except (CoronelError, OSError, subprocess.SubprocessError) as error:
        return f"no QEMU ({error})"
    return answer.stdout.partition("\n")[0]


@pytest.fixture(scope="session")
def coronel_seed(pytestconfig: pytest.Config) -> int:
    """The session's number for everything random. Printed in the header; `--coronel-seed` repeats it."""
    return int(pytestconfig.option.coronel_seed)


@pytest.fixture(scope="session")
def artifact(pytestconfig: pytest.Config) -> Build:
    """The built kernel. Fails, with the command that builds it, where there is none."""
    return _build(pytestconfig)


def _build(config: pytest.Config) -> Build:
    root = Path(config.option.coronel_build or config.rootpath / "build")
    profile = config.option.coronel_profile
    folder = root / profile
    try:
        return Build(Artifact.open(folder / "coronel.elf"), folder / "coronel.iso", profile)
    except ArtifactError as error:
        pytest.fail(f"{error} (`make {profile}` builds it)", pytrace=False)


@pytest.fixture
def guest(request: pytest.FixtureRequest, artifact: Build) -> Iterator[Guest]:
    """A machine of the test's own, started. It must not fail unseen: a panic nobody expected is the test's
    failure.
    """
    yield from _run_guest(request, artifact)


@pytest.fixture(scope="module")
def shared_guest(request: pytest.FixtureRequest, artifact: Build) -> Iterator[Guest]:
    """One machine for all tests of a module that ask for it."""
    yield from _run_guest(request, artifact)


@pytest.fixture
def shell(guest: Guest) -> Shell:
    """The console of `guest`, for commands as a person types them."""
    return guest.shell


@pytest.fixture
def channel(guest: Guest) -> Channel:
    """The command channel of `guest`, for programs."""
    return guest.channel


@pytest.fixture
def kernel_mm(guest: Guest, artifact: Build) -> GuestKernelMM:
    """The memory manager of `guest`. A misuse stops its kernel, unless the marker `guest` has
    cmdline="on_misuse=refuse".
    """
    return GuestKernelMM(guest, artifact.artifact)


@pytest.fixture
def machine(request: pytest.FixtureRequest, artifact: Build) -> Iterator[HostMachine]:
    """A machine of the host library, 64 MiB unless the marker `machine` says otherwise. `HostKernelMM` makes
    a KernelMM of it.
    """
    marker = request.node.get_closest_marker("machine")
    fields = dict(marker.kwargs) if marker else {}
    with HostMachine(library=HostLibrary.at(artifact.elf.parent), **fields) as made:
        yield made


def machine_fields(marker: pytest.Mark | None, build: Build, config: pytest.Config) -> dict[str, Any]:
    """What Guest() is called with for a `guest` marker. UsageError for what it does not know."""
    fields = dict(marker.kwargs) if marker else {}
    unknown = set(fields) - _MARKER_FIELDS
    if unknown or (marker and marker.args):
        raise UsageError(
            f"the marker guest takes {', '.join(sorted(_MARKER_FIELDS))} by name, not {unknown or marker}"
        )
    boot = fields.pop("boot", "pvh")
    if boot not in ("pvh", "iso"):
        raise UsageError(f"the marker guest has boot={boot!r}: there are pvh and iso")
    if config.option.coronel_qemu:
        fields["qemu"] = config.option.coronel_qemu
    if boot == "iso":
        return {**fields, "iso": build.iso}
    seed = f"seed={config.option.coronel_seed}"
    cmdline = fields.pop("cmdline", "")
    words = cmdline if "seed=" in cmdline else f"{cmdline} {seed}".strip()
    return {**fields, "kernel": build.elf, "cmdline": words}


def _run_guest(request: pytest.FixtureRequest, build: Build) -> Generator[Guest, None, None]:
    marker = request.node.get_closest_marker("guest")
    with Guest(**machine_fields(marker, build, request.config)) as machine:
        request.node.stash.setdefault(_GUESTS, []).append((machine, build))
        yield machine
        unseen = None if machine.failure_seen else machine.failure("the end of the test")
        if isinstance(unseen, GuestError):  # its RAM is about to go
            unseen.report = with_memory(unseen.report, machine, build.artifact)
    if unseen is not None:
        raise unseen


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skips what the built kernel cannot do."""
    wanted = [option for marker in item.iter_markers("needs") for option in marker.args]
    if not wanted:
        return
    build = _build(item.config)
    for option in wanted:
        if option not in build.options:
            pytest.fail(f"needs({option!r}): config.def has no such option", pytrace=False)
        if not build.options[option]:
            pytest.skip(f"the {build.profile} kernel was built with {option} off")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Adds what the guest left to a failure."""
    report = yield
    if not report.failed:
        return report
    error = call.excinfo.value if call.excinfo else None
    for machine, build in _guests_of(item):
        # A guest's own error carries its report as it was then; what is left now is less.
        found = error.report if isinstance(error, GuestError) and error.report.command else machine.report()
        found = with_memory(found, machine, build.artifact)
        report.sections += [(f"guest: {title}", text) for title, text in found.sections()]
    return report


def _guests_of(item: pytest.Item) -> list[tuple[Guest, Build]]:
    return [pair for node in item.listchain() for pair in node.stash.get(_GUESTS, [])]


def with_memory(report: GuestReport, machine: Guest, artifact: Artifact) -> GuestReport:
    """The report with what the kernel's memory says, as far as it does not say that yet."""
    tables = tables_of(machine, artifact)
    if tables is None:
        return report
    with suppress(DecodeError):
        report = replace(report, counters=report.counters or counters_text(tables))
    registers: CpuRegisters = {}
    with suppress(CoronelError):  # QEMU may be gone
        registers = by_block(machine.registers())
    with suppress(DecodeError):
        report = replace(report, threads=report.threads or threads_report(tables, artifact, registers))
    return report


def tables_of(machine: Guest, artifact: Artifact) -> Tables | None:
    """The kernel's tables as its RAM holds them, also when it hangs or is gone. None before there are any.

    Nobody is asked: the record lies where the ELF file says, and names the root of the kernel's page tables.
    """
    with suppress(CoronelError):
        record = artifact.symbol(SYMBOL).address
        loaded = (segment for segment in artifact.segments if segment.type == "PT_LOAD")
        segment = next(s for s in loaded if 0 <= record - s.address < s.memory_bytes)
        at = segment.physical + record - segment.address
        root = int.from_bytes(machine.ram.read(at + _RECORD_ROOT, 8), "little")
        for levels in (4, 5):
            with suppress(DecodeError):
                return Tables.load(KernelMemory(machine.ram, root, levels), record)
    return None


def counters_text(tables: Tables) -> str:
    """The kernel's counters."""
    return "\n".join(f"{name:32}{value:>16}" for name, value in counters(tables).items())

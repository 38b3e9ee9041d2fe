"""`coronel map`: physical memory as a picture: what every frame is, along a Hilbert curve; with --virtual the
kernel's half of the address space: what is mapped, with which rights, and who has which kernel addresses;
with --slabs the object caches, a cell for each object of each slab; with --heap the kernel heap, block by
block; with --sites live bytes by the call that allocated them, which the guarded profile knows.

It shows the memory of a kernel that is booted for it, or of the host library: in the terminal, with --output
in a file, with --live again and again while the machine runs; then --command runs meanwhile. Ctrl-C ends
that, with exit status 0.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from rich.console import Console

    from coronel.artifact import Artifact
    from coronel.picture.cells import Survey
    from coronel.picture.space import Space

RATE = 15.0
RATE_LIMIT = 60.0
LINES = 32  # a map that stays may be higher than a small terminal
SUFFIXES = (".svg", ".png")


def register(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds the command."""
    parser = subparsers.add_parser("map", help="physical memory as a picture", description=__doc__)
    from coronel.mm.source import add_arguments  # noqa: PLC0415

    add_arguments(parser)
    parser.add_argument("--output", type=Path, metavar="FILE", help="write FILE.svg or FILE.png instead")
    which = parser.add_mutually_exclusive_group()
    which.add_argument(
        "--virtual", action="store_true", help="the kernel's half of the address space instead"
    )
    which.add_argument(
        "--slabs", nargs="?", const="", metavar="CACHE", help="the object caches, or that one, slab by slab"
    )
    which.add_argument("--heap", action="store_true", help="the kernel heap, block by block")
    which.add_argument("--sites", action="store_true", help="live bytes by call site (--profile guarded)")
    parser.add_argument("--live", action="store_true", help="go on drawing while the guest runs")
    parser.add_argument(
        "--rate", type=float, default=RATE, metavar="N", help="pictures a second (default: %(default)g)"
    )
    parser.set_defaults(run=run)


def run(given: argparse.Namespace) -> int:
    """Draws it; 0."""
    _check(given)
    from rich.console import Console  # noqa: PLC0415

    console = Console()
    if given.virtual:
        return _virtual(given, console)
    if given.live:
        return _live(given, console)
    from coronel.picture.objects import wanted  # noqa: PLC0415

    if wanted(given):
        return _objects(given, console)
    from coronel.mm.source import described, opened  # noqa: PLC0415
    from coronel.picture.cells import survey  # noqa: PLC0415

    with opened(given) as source, source.still() as tables:
        memory = survey(tables)
    machine = described(given)
    if given.output:
        _write(given.output, memory, machine)
    if given.json:
        import json  # noqa: PLC0415

        print(json.dumps(as_json(memory, machine), indent=2))
    elif given.output:
        print(given.output)
    else:
        from coronel.picture.terminal import MapView  # noqa: PLC0415

        console.print(MapView(memory, machine, max(console.height - 1, LINES)))
    return 0


def _virtual(given: argparse.Namespace, console: Console) -> int:
    from coronel.mappings import mappings  # noqa: PLC0415
    from coronel.mm.kernel import KernelState  # noqa: PLC0415
    from coronel.mm.ranges import read_ranges  # noqa: PLC0415
    from coronel.mm.source import described, opened  # noqa: PLC0415
    from coronel.picture.space import as_json as space_json  # noqa: PLC0415
    from coronel.picture.space import space  # noqa: PLC0415

    machine = described(given)
    with opened(given) as source:
        assert isinstance(source, KernelState)

        with source.still() as tables:
            memory = source.memory
            ranges = read_ranges(tables)
            found = space(
                tables, mappings(memory.physical, memory.root, memory.levels), ranges, memory.levels
            )
        name_caller = _callers(source.artifact, found)
        if given.output:
            from coronel.picture import png, svg  # noqa: PLC0415
            from coronel.picture.space_sheet import space_sheet  # noqa: PLC0415

            page = space_sheet(found, machine, name_caller)
            _save(
                given.output, png.render(page) if given.output.suffix == ".png" else svg.render(page).encode()
            )
        if given.json:
            import json  # noqa: PLC0415

            print(json.dumps(space_json(found, machine, name_caller), indent=2))
        elif given.output:
            print(given.output)
        else:
            from coronel.picture.space_terminal import SpaceView  # noqa: PLC0415

            console.print(SpaceView(found, machine, name_caller))
    return 0


def _objects(given: argparse.Namespace, console: Console) -> int:
    from coronel.mm.source import described, opened  # noqa: PLC0415
    from coronel.picture import png, svg  # noqa: PLC0415
    from coronel.picture.objects import picture_of  # noqa: PLC0415

    with opened(given) as source:
        found = picture_of(source, given, described(given))
    if given.output:
        is_png = given.output.suffix == ".png"
        _save(given.output, png.render(found.sheet) if is_png else svg.render(found.sheet).encode())
    if given.json:
        import json  # noqa: PLC0415

        print(json.dumps(found.json, indent=2))
    elif given.output:
        print(given.output)
    else:
        console.print(found.view)
    return 0


def _callers(artifact: Artifact, found: Space) -> Callable[[int], str]:
    """Where ranges were asked for, in words."""
    from coronel.build.symbols import demangle  # noqa: PLC0415

    functions = {}
    for address in {int(one.record["caller"]) for one in found.taken}:
        function = artifact.function_at(address)
        if function is not None:
            functions[address] = function
    names = dict(zip(functions, demangle([one.name for one in functions.values()]), strict=True))

    def name(address: int) -> str:
        if address not in functions:
            return f"{address:#x}"
        short = names[address].replace("(anonymous namespace)::", "")
        return f"{short}+{address - functions[address].address:#x}"

    return name


def _check(given: argparse.Namespace) -> None:
    """UsageError, before anything is started."""
    from coronel.errors import UsageError  # noqa: PLC0415
    from coronel.mm.source import check_arguments  # noqa: PLC0415

    check_arguments(given)
    if given.output and given.output.suffix not in SUFFIXES:
        raise UsageError(f"output '{given.output}' is neither an SVG nor a PNG file: end it in .svg or .png")
    if not 0 < given.rate <= RATE_LIMIT:
        raise UsageError(f"rate {given.rate:g} is out of range: pictures a second, up to {RATE_LIMIT:g}")
    if given.virtual and (given.host or given.live):
        raise UsageError("--virtual reads the page tables of a guest once: not with --host or --live")
    if given.live and (given.slabs is not None or given.heap or given.sites):
        raise UsageError("--live draws physical memory: not --slabs, --heap or --sites")
    if given.live and (given.host or given.output or given.json):
        raise UsageError("--live is for a guest and for a terminal: not with --host, --output or --json")


def _live(given: argparse.Namespace, console: Console) -> int:
    from coronel.mm.kernel import KernelState  # noqa: PLC0415
    from coronel.mm.source import described, opened  # noqa: PLC0415
    from coronel.picture.cells import survey  # noqa: PLC0415
    from coronel.picture.live import watch  # noqa: PLC0415
    from coronel.picture.terminal import MapView  # noqa: PLC0415

    lines, given.commands = given.commands, []
    machine = described(given)
    with opened(given) as source:
        assert isinstance(source, KernelState)
        tables = source.tables

        def draw() -> MapView:
            return MapView(survey(tables), machine, console.height)

        watch(source.guest, lines, 1 / given.rate, draw, console)
    return 0


def _write(path: Path, memory: Survey, machine: str) -> None:
    from coronel.picture import png, svg  # noqa: PLC0415
    from coronel.picture.grid import Grid  # noqa: PLC0415
    from coronel.picture.sheet import CELLS, sheet  # noqa: PLC0415

    page = sheet(Grid.fit(memory, *CELLS), machine)
    _save(path, png.render(page) if path.suffix == ".png" else svg.render(page).encode())


def _save(path: Path, data: bytes) -> None:
    from coronel.errors import SetupError  # noqa: PLC0415

    try:
        path.write_bytes(data)
    except OSError as error:
        raise SetupError(f"the picture cannot be written to {path}: {error.strerror}") from None


def as_json(memory: Survey, machine: str) -> dict[str, Any]:
    """The numbers of the legend, for programs."""
    from coronel.picture.cells import HUGE_ORDER, largest_block, unusable_index  # noqa: PLC0415
    from coronel.picture.palette import SHADES  # noqa: PLC0415

    return {
        "machine": machine,
        "frames": {"present": memory.present, "free": memory.free},
        "classes": {shade.key: memory.counts[shade.index] for shade in SHADES},
        "free_blocks": list(memory.free_blocks),
        "largest_free_order": largest_block(memory.free_blocks),
        "unusable_free_index": {"order": HUGE_ORDER, "index": unusable_index(memory.free_blocks)},
        "zones": [
            {
                "name": zone.name,
                "first": zone.first,
                "end": zone.end,
                "present": zone.present,
                "managed": zone.managed,
                "free": zone.free,
                "free_blocks": list(zone.free_blocks),
            }
            for zone in memory.zones
        ],
        "left_out": [{"first": first, "end": end} for first, end in memory.gaps()],
    }

"""`coronel image`: makes an ISO with a command line and modules of one's own, or checks the kernel."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from coronel.checkout import add_build_arguments


def register(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds the command."""
    parser = subparsers.add_parser(
        "image", help="make a GRUB image, or check the kernel file", description=__doc__
    )
    add_build_arguments(parser)
    parser.add_argument("--elf", type=Path, help="the kernel (default: build/PROFILE/coronel.elf)")
    parser.add_argument("--output", type=Path, help="the image (default: build/PROFILE/coronel.iso)")
    parser.add_argument("--cmdline", default="", metavar="TEXT", help="the kernel's command line")
    parser.add_argument(
        "--module", action="append", default=[], metavar="FILE[=NAME]", help="a boot module; may be repeated"
    )
    parser.add_argument("--check", action="store_true", help="check the kernel file and write nothing")
    parser.set_defaults(run=run)


def run(given: argparse.Namespace) -> int:
    """0 when the image was made, or the kernel is sound; 1 when it breaks a promise, each on a line."""
    from coronel.build.image import Module, build_image  # noqa: PLC0415  # --help need not pay for it

    folder = given.build / given.profile
    elf = given.elf or folder / "coronel.elf"
    if given.check:
        return _check(elf, given.profile)
    output = given.output or folder / "coronel.iso"
    build_image(elf, output, arguments=given.cmdline, modules=[Module.parse(text) for text in given.module])
    print(f"{output}: {output.stat().st_size} bytes")
    return 0


def _check(elf: Path, profile: str) -> int:
    from coronel.artifact import Artifact, Profile, check  # noqa: PLC0415
    from coronel.build.symbols import verify  # noqa: PLC0415

    artifact = Artifact.open(elf)
    findings = check(artifact, Profile(profile))
    for finding in findings:
        print(f"{elf}: {finding}", file=sys.stderr)
    if findings:
        return 1
    verify(artifact)
    print(f"{elf}: sound ({profile}, build id {artifact.build_id})")
    return 0

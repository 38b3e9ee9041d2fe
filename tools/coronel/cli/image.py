"""`coronel image`: makes a bootable ISO with a command line and modules of one's own, or checks the kernel's ELF."""

import argparse
from pathlib import Path

from coronel.artifact import Artifact, Profile, require
from coronel.build.image import ROOT, Module, build_image
from coronel.build.symbols import verify


def register(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command to the command line."""
    parser = subparsers.add_parser("image", help="make a GRUB image, or check the kernel file", description=__doc__)
    parser.add_argument("--profile", type=Profile, choices=list(Profile), default=Profile.release)
    parser.add_argument("--elf", type=Path, help="the kernel (default: build/PROFILE/coronel.elf)")
    parser.add_argument("--output", type=Path, help="the image (default: build/PROFILE/coronel.iso)")
    parser.add_argument("--append", default="", metavar="TEXT", help="the kernel's command line")
    parser.add_argument(
        "--module", action="append", default=[], type=Module.parse, metavar="FILE[=NAME]", help="may be repeated"
    )
    parser.add_argument("--check", action="store_true", help="check the kernel file and write nothing")
    parser.set_defaults(run=run)


def run(given: argparse.Namespace) -> int:
    """Do it; errors are raised as ArtifactError."""
    folder = ROOT / "build" / given.profile.value
    elf = given.elf or folder / "coronel.elf"
    if given.check:
        artifact = Artifact.open(elf)
        require(artifact, given.profile)
        verify(artifact)
        print(f"{elf}: sound ({given.profile.value}, build id {artifact.build_id})")
        return 0
    output = given.output or folder / "coronel.iso"
    build_image(elf, output, arguments=given.append, modules=given.module)
    print(f"{output}: {output.stat().st_size} bytes")
    return 0

"""Makes the ISO image that GRUB boots, under BIOS and, where GRUB for UEFI is installed, under UEFI too: the
stripped kernel, boot/grub.cfg, and its modules.

The same inputs give the same bytes: every date in the image is SOURCE_DATE_EPOCH, or a fixed one.
"""

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from coronel.build import efi
from coronel.checkout import ROOT, system_path
from coronel.errors import ArtifactError

GRUB_CFG = ROOT / "boot" / "grub.cfg"
GRUB_PLATFORM = system_path("/usr/lib/grub/i386-pc")
# What grub.cfg uses; grub-mkrescue adds what these need.
GRUB_MODULES = "normal multiboot2 boot serial terminal echo test true configfile iorw halt biosdisk iso9660"
WORD_LIMIT = 4000  # bytes: GRUB stops for good at a word of more than 8191 (grub-core/script/yylex.l, YYLMAX)
FIXED_DATE = 1_577_836_800  # 2020-01-01


@dataclass(frozen=True)
class Module:
    """A file handed to the kernel, and the name (the whole command line) it is handed over by."""

    path: Path
    name: str

    @classmethod
    def parse(cls, text: str) -> "Module":
        """Make one of `FILE` or `FILE=NAME`."""
        path, _, name = text.partition("=")
        return cls(Path(path), name or Path(path).name)


def quoted(text: str, what: str) -> str:
    """Return `text` as one word of GRUB's script language. Raises ArtifactError when it cannot be one."""
    if "'" in text or "\n" in text:
        raise ArtifactError(f"{what} may hold neither a single quote nor a line break: {text!r}")
    return f"'{text}'"


def configuration(arguments: str, modules: Sequence[Module]) -> str:
    """Return boot/coronel.cfg, which boot/grub.cfg reads: the command line and the modules."""
    loads = [
        f"  module2 /boot/modules/{number} {quoted(module.name, 'the name of a module')}"
        for number, module in enumerate(modules)
    ]
    pieces = [arguments[start : start + WORD_LIMIT] for start in range(0, len(arguments), WORD_LIMIT)]
    lines = [f'set arguments="$arguments"{quoted(piece, "the command line")}' for piece in pieces]
    if loads:
        lines += ["function load_modules {", *loads, "}"]
    return "\n".join(lines) + "\n"


def build_image(
    elf: Path, output: Path, *, arguments: str = "", modules: Sequence[Module] = (), grub_cfg: Path = GRUB_CFG
) -> None:
    """Write the image of the kernel `elf` to `output`, whole or not at all.

    The kernel goes in without symbols and debug information: GRUB would load them into the guest's memory,
    and the kernel has its own symbol table. Raises ArtifactError: a file or program is missing, or one
    failed.
    """
    for path in (elf, grub_cfg, *(module.path for module in modules)):
        if not path.is_file():
            raise ArtifactError(f"{path}: there is no such file")
    output.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="coronel-image-") as name:
        work = Path(name)
        tree = work / "tree"
        (tree / "boot" / "grub").mkdir(parents=True)
        _run(["objcopy", "--strip-all", str(elf), str(tree / "boot" / "coronel.elf")])
        (tree / "boot" / "grub" / "grub.cfg").write_bytes(grub_cfg.read_bytes())
        if arguments or modules:
            text = configuration(arguments, modules)
            (tree / "boot" / "coronel.cfg").write_text(text, encoding="utf-8")
        for number, module in enumerate(modules):
            (tree / "boot" / "modules").mkdir(exist_ok=True)
            (tree / "boot" / "modules" / str(number)).write_bytes(module.path.read_bytes())
        _make_iso(tree, work)
        staged = output.with_name(output.name + ".new")
        try:
            staged.write_bytes((work / "image.iso").read_bytes())
            staged.replace(output)
        except OSError as error:
            staged.unlink(missing_ok=True)
            raise ArtifactError(f"{output}: cannot be written: {error.strerror}") from None


def _make_iso(tree: Path, work: Path) -> None:
    """Write work/image.iso."""
    if not (GRUB_PLATFORM / "modinfo.sh").exists():
        raise ArtifactError(f"GRUB for BIOS is not installed ({GRUB_PLATFORM}, package grub-pc-bin)")
    epoch = int(os.environ.get("SOURCE_DATE_EPOCH", FIXED_DATE))
    date = datetime.fromtimestamp(epoch, UTC).strftime("%Y%m%d%H%M%S00")
    command = ["grub-mkrescue", "-d", str(GRUB_PLATFORM), f"--install-modules={GRUB_MODULES}"]
    output = work / "image.iso"
    command += ["--fonts=", "--themes=", "--locales=", "-o", str(output), str(tree)]
    environment = {"SOURCE_DATE_EPOCH": str(epoch)}
    if efi.available():
        # A second entry in the catalogue of El Torito. grub-mkrescue would put 350 modules beside it.
        efi.make_file_system(work, tree / "boot" / "efi.img", _run, environment)
        command += ["--efi-boot", "boot/efi.img"]
    command += [
        "--",
        "-volid",
        "CORONEL",
        "-volume_date",
        "uuid",
        date,
        "-volume_date",
        "all_file_dates",
        date,
    ]
    _run(command, environment)
    # grub-mkrescue has been seen to succeed without a result when xorriso or mtools fail.
    if not output.is_file() or not output.stat().st_size:
        raise ArtifactError("grub-mkrescue made no image; are xorriso and mtools installed? (`make doctor`)")


def _run(command: Sequence[str], environment: dict[str, str] | None = None) -> None:
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, check=False, env=os.environ | (environment or {})
        )
    except FileNotFoundError:
        raise ArtifactError(f"{command[0]} is not installed; `make doctor` says what is missing") from None
    if done.returncode:
        tail = " / ".join((done.stderr or done.stdout).strip().splitlines()[-3:])
        raise ArtifactError(f"{command[0]} failed with {done.returncode}: {tail}")


def main(arguments: Sequence[str]) -> int:
    """Entry point for make; `coronel image` is the one for people."""
    parser = argparse.ArgumentParser(prog="image.py", description=__doc__)
    parser.add_argument("elf", type=Path)
    parser.add_argument("--output", type=Path, required=True)
    given = parser.parse_args(arguments)
    try:
        build_image(given.elf, given.output)
    except ArtifactError as error:
        print(f"image: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

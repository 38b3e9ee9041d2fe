"""`coronel doctor`: what is present and what is missing for each make target; changes nothing."""

from __future__ import annotations

import argparse
import subprocess
from pathlib import Path

from coronel.errors import SetupError

SCRIPT = Path(__file__).resolve().parents[2] / "doctor.sh"


def register(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds the command."""
    parser = subparsers.add_parser(
        "doctor", help="say what is present and what is missing", description=__doc__
    )
    parser.set_defaults(run=run)


def run(_given: argparse.Namespace) -> int:
    """Runs tools/doctor.sh, which works before Python does: 0 when `make run` and `make test` are ready."""
    if not SCRIPT.is_file():
        raise SetupError(f"{SCRIPT} is not there: this package is installed without Coronel's checkout")
    return subprocess.run(["sh", str(SCRIPT)], check=False).returncode

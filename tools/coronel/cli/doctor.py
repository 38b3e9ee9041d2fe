"""`coronel doctor`: what is present and what is missing for each make target; changes nothing."""

import argparse
import subprocess

from coronel.build.image import ROOT


def register(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command to the command line."""
    parser = subparsers.add_parser("doctor", help="say what is present and what is missing", description=__doc__)
    parser.set_defaults(run=run)


def run(_given: argparse.Namespace) -> int:
    """Run tools/doctor.sh, which works before Python does; return its exit code."""
    return subprocess.run(["sh", str(ROOT / "tools" / "doctor.sh")], check=False).returncode

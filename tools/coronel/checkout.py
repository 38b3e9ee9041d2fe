"""Where the checkout is that this package was installed from, and what has been built in it."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PROFILES = ("release", "debug")


def built(name: str, profile: str | None = None) -> Path | None:
    """The file of that name in the build of `profile` (by default of the first that has it), or None."""
    for folder in (profile,) if profile else PROFILES:
        path = ROOT / "build" / folder / name
        if path.is_file():
            return path
    return None

"""README.md's console session and its pictures: what they show comes from a machine.

`python -m coronel.build.readme` draws docs/pictures/console.svg and map.svg from machines that run now.
"""

from __future__ import annotations

import re
import subprocess
import sys
from io import StringIO
from pathlib import Path

from rich.console import Console
from rich.text import Text

from coronel.checkout import ROOT

PROMPT = "coronel> "
PICTURE = ROOT / "docs/pictures/console.svg"
MAP = ROOT / "docs/pictures/map.svg"
MAP_COMMAND = ["map", "--command", "stress pages 100000 seed=42 hold"]


def blocks(language: str) -> list[str]:
    """The fenced blocks of README.md in that language."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def commands(session: str) -> list[str]:
    """What a person types in a session."""
    return [line.removeprefix(PROMPT) for line in session.splitlines() if line.startswith(PROMPT)]


def say(typed: list[str], profile: str) -> str:
    """The whole console of a machine that these lines are typed into; the last one switches it off."""
    return _coronel("run", "--profile", profile, typed="".join(f"{line}\n" for line in typed))


def draw_map(profile: str, path: Path) -> None:
    """Writes the map of a machine's memory after the session's random operations, what is live held."""
    _coronel(*MAP_COMMAND, "--profile", profile, "--output", str(path))


def _coronel(*words: str, typed: str = "") -> str:
    run = subprocess.run(
        [sys.executable, "-m", "coronel", *words],
        input=typed,
        capture_output=True,
        text=True,
        timeout=60,
        cwd=ROOT,
        check=False,
    )
    if run.returncode != 0:
        raise RuntimeError(f"coronel {words[0]} ended with {run.returncode}\n{run.stdout}{run.stderr}")
    return run.stdout


def draw(said: str) -> str:
    """An SVG of the console: what was typed stands out."""
    console = Console(record=True, width=112, file=StringIO())
    console.print(Text("$ make run", style="bold bright_green"))
    for line in said[said.index("Coronel\n") :].splitlines():
        prompt, mark, typed = line.partition(PROMPT)
        if mark and not prompt:
            console.print(Text.assemble((PROMPT, "cyan"), (typed, "bold bright_white")))
        else:
            console.print(Text(line))
    return console.export_svg(title="Coronel", unique_id="coronel")


def main() -> None:
    """Draws the pictures of the release build."""
    (session,) = blocks("console")
    PICTURE.write_text(draw(say(commands(session), "release")), encoding="utf-8")
    draw_map("release", MAP)
    for path in (PICTURE, MAP):
        print(path.relative_to(ROOT))


if __name__ == "__main__":
    main()

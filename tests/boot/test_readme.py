"""What README.md shows is what happens: its console session line by line, its Python as it stands there."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

from coronel.build import readme
from coronel.checkout import ROOT
from coronel.pytest_plugin import Build


def shape(text: str) -> list[str]:
    """Lines with every number and every run of blanks made the same: only what may differ is gone."""
    plain = (re.sub(r"(0x[0-9a-f]+|\d+)", "N", line) for line in text.splitlines())
    return [re.sub(r"(N )+N$", "N N", re.sub(r" +", " ", line).strip()) for line in plain]


def test_the_console_session_is_what_the_console_says(artifact: Build) -> None:
    (session,) = readme.blocks("console")
    typed = readme.commands(session)
    assert typed[-1] == "poweroff"
    said = readme.say(typed, artifact.profile)
    assert shape(said[said.index(readme.PROMPT) :]) == shape(session)


def test_the_session_covers_what_the_readme_lists() -> None:
    assert len(readme.blocks("console")) == 1
    assert len(readme.blocks("python")) == 3


def words_of(picture: Path) -> list[str]:
    """The texts of an SVG file, numbers and units made the same."""
    texts = ElementTree.parse(picture).getroot().iter("{http://www.w3.org/2000/svg}text")
    plain = (re.sub(r"(0x[0-9a-f]+|<?\d+(\.\d+)?)( [KMGT]iB)?", "N", text.text or "") for text in texts)
    return list(plain)


def test_the_map_is_what_a_machine_draws_now(artifact: Build, tmp_path: Path) -> None:
    assert f"]({readme.MAP.relative_to(ROOT).as_posix()})" in (ROOT / "README.md").read_text(encoding="utf-8")
    readme.draw_map(artifact.profile, tmp_path / "map.svg")
    shown = words_of(readme.MAP)
    assert shown == words_of(tmp_path / "map.svg"), "draw it again: python -m coronel.build.readme"
    assert {"Physical memory", "reserved", "Normal"} <= set(shown)


def test_the_map_shows_what_the_readme_says_to_run() -> None:
    line = shlex.join(readme.MAP_COMMAND).replace("'", '"')
    assert f".venv/bin/coronel {line} " in "".join(readme.blocks("sh"))


@pytest.mark.parametrize("number", range(3))
def test_python_runs_as_it_stands_there(number: int, tmp_path: Path) -> None:
    code = readme.blocks("python")[number]
    is_test = "def test_" in code
    file = tmp_path / ("test_example.py" if is_test else "example.py")
    file.write_text(code)
    plugin = ["-m", "pytest", "-q", "-p", "no:cacheprovider", f"--coronel-build={ROOT / 'build'}"]
    run = subprocess.run(
        [sys.executable, *(plugin if is_test else []), str(file)],
        capture_output=True,
        text=True,
        timeout=60,
        cwd=tmp_path,
        check=False,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    if is_test:
        assert "2 passed" in run.stdout

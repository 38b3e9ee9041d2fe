"""`coronel frames` over the host library: the zones that have memory, and no others."""

from __future__ import annotations

import json
import re

import pytest

from coronel.cli import main


def test_people_see_the_zones_that_have_memory(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["frames", "--host", "--profile", "release", "--memory", "64M"]) == 0
    shown = capsys.readouterr().out
    assert re.search(r"^DMA +0 +4096 +4096 +16 +20 +24$", shown, re.MULTILINE)
    assert re.search(r"^DMA32( +0){11} +6$", shown, re.MULTILINE)
    assert "Normal" not in shown
    assert "HighMem" not in shown


def test_programs_see_the_same_and_the_magazines(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["frames", "--host", "--profile", "release", "--memory", "64M", "--stress", "500", "--json"]
    assert main(arguments) == 0
    found = json.loads(capsys.readouterr().out)
    assert [zone["zone"] for zone in found["zones"]] == ["DMA", "DMA32"]
    assert sum(zone["free"] for zone in found["zones"]) == found["frames"]["free"]
    assert all(
        zone["free"] == sum(count << order for order, count in enumerate(zone["free_blocks"]))
        for zone in found["zones"]
    )
    held = sum(len(one["blocks"]) << one["order"] for one in found["magazines"])
    assert held == found["frames"]["cached"] > 0
    assert found["problems"] == found["notes"] == []

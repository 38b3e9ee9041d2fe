"""The C++ unit tests on the host, under each sanitizer. `make unit UNIT=suite.name` repeats one of them."""

import os
import platform
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
# GCC 12's ThreadSanitizer dies before main where addresses are randomised by more than 28 bits.
WRAPPER = {"asan": [], "tsan": ["setarch", platform.machine(), "-R"]}


@pytest.mark.timeout(600)
@pytest.mark.parametrize("sanitizer", WRAPPER)
def test_unit(sanitizer: str) -> None:
    program = ROOT / "build" / sanitizer / "unit"
    assert program.exists(), f"build it with `make build/{sanitizer}/unit`"
    done = subprocess.run(
        [*WRAPPER[sanitizer], program],
        cwd=ROOT,
        env=os.environ | {"UBSAN_OPTIONS": "print_stacktrace=1"},
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
    )
    lines = [line for line in done.stdout.splitlines() if not line.startswith("ok ")]
    failure = "\n".join(lines[-60:]) + "\n" + done.stderr[-6000:]
    assert done.returncode == 0, f"exit {done.returncode}; `make unit` repeats it\n{failure}"
    assert "0 failed" in lines[-1]

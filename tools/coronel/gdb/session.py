"""`debug`: a paused machine and GDB on it, in one terminal; when GDB ends, everything ends.

What the kernel says on its console is printed as it comes; `coronel type LINE` in GDB answers it.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from coronel.errors import CoronelError, SetupError
from coronel.gdb import CONSOLE_VARIABLE
from coronel.guest import Guest, GuestOptions

_MARK = "-- the next answer --"
KILL_AFTER = 2.0  # seconds between asking GDB to end and making it


def gdb_command(
    program: str, kernel: Path, socket: Path, commands: Sequence[str], *, batch: bool
) -> list[str]:
    """GDB's command line: no init files, symbols, Coronel's Python, the machine, then `commands`."""
    first = [
        "set confirm off",
        "set auto-load no",
        f"python import sys; sys.path[:0] = {search_path()!r}; import coronel.gdb.inside",
        f"target remote {socket}",
    ]
    mode = ["-batch"] if batch else []
    steps = [argument for command in (*first, *commands) for argument in ("-ex", command)]
    return [program, "-nx", "-q", *mode, str(kernel), *steps]


def gdb_answers(kernel: Path, socket: Path, commands: Sequence[str], *, timeout: float = 90.0) -> list[str]:
    """What GDB prints for each of the commands, on the machine behind the socket, which stands still or is
    stopped by it. CoronelError, with what GDB complained about, when it did not come to the end of them.
    """
    steps = [step for command in commands for step in (command, f"echo {_MARK}\\n")]
    command = gdb_command("gdb", kernel, socket, [f"echo {_MARK}\\n", *steps], batch=True)
    done = subprocess.run(command, capture_output=True, text=True, timeout=timeout, check=False)
    _, *answers, rest = done.stdout.split(f"{_MARK}\n")
    if len(answers) != len(commands):
        raise CoronelError(f"GDB: {done.stderr.strip() or rest.strip()}")
    return [answer.rstrip("\n") for answer in answers]


def search_path() -> list[str]:
    """Where GDB's Python finds this package and, for `coronel walk`, numpy: if it is of another version,
    numpy says so itself.
    """
    packages = [path for path in sys.path if path.endswith("site-packages")]
    return [str(Path(__file__).resolve().parents[2]), *packages]


def debug(
    options: GuestOptions,
    commands: Sequence[str] = (),
    *,
    batch: bool = False,
    program: str = "gdb",
    timeout: float | None = None,
    write: Callable[[bytes], None] | None = None,
    **streams: Any,
) -> int:
    """Runs GDB over a machine that stands before its first instruction; returns GDB's exit status.

    `write` gets what the kernel says. `streams` (stdin, stdout, stderr) are subprocess.Popen's. SetupError
    when GDB is missing or has no Python; CoronelError when `timeout` seconds did not suffice.
    """
    path = _find(program)
    assert options.kernel is not None
    with tempfile.TemporaryDirectory(prefix="coronel-gdb-") as folder:
        socket = Path(folder) / "gdb"
        guest = Guest(replace(options, gdb=socket))
        guest.console.tap = write
        try:
            guest.start(paused=True)
            command = gdb_command(path, Path(options.kernel), socket, commands, batch=batch)
            return _run(command, guest, timeout, streams)
        finally:
            guest.close()


def _find(program: str) -> str:
    path = shutil.which(program)
    if path is None:
        raise SetupError(f"{program} is not there: `make doctor` lists what is missing")
    has_python = subprocess.run(
        [path, "-nx", "-batch", "-ex", "python import typing"], capture_output=True, timeout=30, check=False
    )
    if has_python.returncode or b"not supported" in has_python.stderr:
        raise SetupError(f"{path} was built without Python: install Debian's gdb (not gdb-minimal)")
    return path


def _run(command: list[str], guest: Guest, timeout: float | None, streams: dict[str, Any]) -> int:
    read_end, write_end = os.pipe()
    typist = threading.Thread(target=_type_lines, args=(read_end, guest), daemon=True)
    # Ctrl-C is for GDB. A handler, unlike SIG_IGN, is not inherited by it.
    former = _on_interrupt(lambda *_: None)
    try:
        with subprocess.Popen(
            command, env={**os.environ, CONSOLE_VARIABLE: str(write_end)}, pass_fds=[write_end], **streams
        ) as child:
            os.close(write_end)
            typist.start()
            try:
                return child.wait(timeout)
            except subprocess.TimeoutExpired:
                child.terminate()
                with suppress(subprocess.TimeoutExpired):
                    child.wait(KILL_AFTER)
                raise CoronelError(f"GDB did not end within {timeout:g} s") from None
            finally:
                child.kill()
    finally:
        _on_interrupt(former)


def _on_interrupt(handler: Any) -> Any:
    """Sets the handler of Ctrl-C where that is possible, in the main thread; returns the former."""
    if threading.current_thread() is threading.main_thread() and handler is not None:
        return signal.signal(signal.SIGINT, handler)
    return None


def _type_lines(descriptor: int, guest: Guest) -> None:
    with open(descriptor, encoding="utf-8", errors="replace") as lines:
        for line in lines:
            with suppress(CoronelError):
                guest.console.sendline(line.rstrip("\n"))

"""QEMU as a child process that cannot outlive its parent and leaves no file behind."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import shutil
import signal
import subprocess
from collections.abc import Callable, Sequence

from coronel.checkout import find_unpacked_tools
from coronel.errors import SetupError
from coronel.guest.loop import loop_thread

PIPE_BYTES = 1 << 20  # what an unprivileged process may ask for (fs.pipe-max-size)
_STDERR_LIMIT = 64 << 10

# The kernel kills QEMU when the thread that started it ends (prctl(2), PR_SET_PDEATHSIG; kept across execve).
# `sh` closes the gap between fork and prctl: a parent that died in it is no longer ours.
_GUARD = 'test "$PPID" = "$1" && shift && exec "$@"'


def find(program: str) -> str:
    """The program's path, or SetupError."""
    find_unpacked_tools()
    path = shutil.which(program)
    if path is None:
        advice = "`make doctor` lists what is missing" if os.sep not in program else "no such program"
        raise SetupError(f"{program} is not there or not executable: {advice}")
    return path


def default_qemu() -> str:
    """$QEMU, or the usual name."""
    return os.environ.get("QEMU") or "qemu-system-x86_64"


class Pipe:
    """A pipe with one end for QEMU. Preferred to a socket: a megabyte of single bytes fits, and none is ever
    lost.
    """

    def __init__(self) -> None:
        self.read_end, self.write_end = os.pipe()
        with contextlib.suppress(OSError):  # a host with a lower limit: its default is 64 KiB
            fcntl.fcntl(self.write_end, fcntl.F_SETPIPE_SZ, PIPE_BYTES)


class Process:
    """A running QEMU. `ended` is called in the loop's thread, after the last byte of every reader has been
    delivered.
    """

    def __init__(self) -> None:
        self.pid = 0
        self.stderr = bytearray()
        self._child: subprocess.Popen[bytes] | None = None
        self._pidfd = -1
        self._readers: dict[int, Callable[[bytes], None]] = {}
        self._ended: Callable[[], object] = lambda: None

    def start(
        self,
        command: Sequence[str],
        *,
        inherit: Sequence[int],
        readers: dict[int, Callable[[bytes], None]],
        ended: Callable[[], object],
        foreground: bool = False,
    ) -> None:
        """Starts `command` with the descriptors of `inherit`; bytes that arrive on `readers` go to their
        functions.

        The descriptors of `readers` belong to this object from now on. In the foreground the child keeps the
        terminal and the standard streams; otherwise it has a session of its own, so a Ctrl-C does not reach
        it.
        """
        guard = [find("setpriv"), "--pdeathsig", "KILL", "/bin/sh", "-c", _GUARD, "sh", str(os.getpid())]
        errors = Pipe()
        self._readers = {**readers, errors.read_end: self._complain}
        self._ended = ended
        stream = None if foreground else subprocess.DEVNULL

        def spawn() -> None:
            self._child = subprocess.Popen(
                [*guard, *command],
                stdin=stream,
                stdout=stream,
                stderr=errors.write_end,
                pass_fds=inherit,
                start_new_session=not foreground,
            )
            self.pid = self._child.pid
            self._pidfd = os.pidfd_open(self.pid)
            loop = asyncio.get_running_loop()
            for fd in self._readers:
                os.set_blocking(fd, False)
                loop.add_reader(fd, self._readable, fd)
            loop.add_reader(self._pidfd, self._reap)

        try:
            loop_thread().call(spawn)
        except OSError as error:
            for fd in self._readers:
                os.close(fd)
            raise SetupError(f"{command[0]} cannot be started: {error.strerror}") from None
        finally:
            os.close(errors.write_end)

    @property
    def status(self) -> int | None:
        """The exit status, negative for a signal; None while it runs or was never started."""
        return self._child.returncode if self._child is not None else None

    def kill(self) -> None:
        """Ends it at once. Does not wait."""
        if self._child is not None and self.status is None:
            with contextlib.suppress(ProcessLookupError):
                if os.getpgid(self.pid) == self.pid:
                    os.killpg(self.pid, signal.SIGKILL)
                else:
                    os.kill(self.pid, signal.SIGKILL)

    def _complain(self, data: bytes) -> None:
        self.stderr += data[: _STDERR_LIMIT - len(self.stderr)]

    def _readable(self, fd: int) -> bool:
        """Delivers what one descriptor holds. False when nothing more can come."""
        try:
            data = os.read(fd, 65536)
        except BlockingIOError:
            return False
        if not data:
            asyncio.get_running_loop().remove_reader(fd)
            return False
        self._readers[fd](data)
        return True

    def _reap(self) -> None:
        assert self._child is not None
        loop = asyncio.get_running_loop()
        loop.remove_reader(self._pidfd)
        os.close(self._pidfd)
        for fd in self._readers:
            while self._readable(fd):
                pass
            loop.remove_reader(fd)
            os.close(fd)
        self._child.wait()
        self._ended()

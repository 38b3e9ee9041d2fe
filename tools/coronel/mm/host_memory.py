"""`HostMemory`: the memory of this process, as far as a machine of the host library uses it."""

from __future__ import annotations

import os
from pathlib import Path

from coronel.errors import DecodeError


class HostMemory:
    """This process's memory, as far as a machine and its library use it; anywhere else is a DecodeError.

    Bytes are read through /proc/self/mem: a wild address is an error there, and no crash.
    """

    READ_LIMIT = 1 << 32

    def __init__(self, storage: int, library: Path) -> None:
        self._fd = os.open("/proc/self/mem", os.O_RDWR | os.O_CLOEXEC)
        self._pid = os.getpid()  # a forked child would read its parent
        self._extents = _extents(storage, library)

    def read(self, address: int, size: int) -> bytes:
        """Exactly `size` bytes at `address`, or DecodeError."""
        self._check(address, size)
        try:
            data = os.pread(self._fd, size, address)
        except OSError as error:
            raise DecodeError(f"host memory [{address:#x}, {address + size:#x}): {error.strerror}") from None
        if len(data) != size:
            raise DecodeError(f"host memory [{address:#x}, {address + size:#x}) ends after {len(data)} bytes")
        return data

    def write(self, address: int, data: bytes) -> None:
        """Changes memory behind the manager's back."""
        self._check(address, len(data))
        os.pwrite(self._fd, data, address)

    def close(self) -> None:
        """No reads after this."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _check(self, address: int, size: int) -> None:
        if self._fd < 0:
            raise DecodeError("the host machine has been closed")
        if self._pid != os.getpid():
            raise DecodeError("the host machine belongs to the process that this one was forked from")
        if not 0 <= size <= self.READ_LIMIT:
            raise DecodeError(f"a read of {size} bytes makes no sense")
        if not any(first <= address and address + size <= end for first, end in self._extents):
            raise DecodeError(f"host memory [{address:#x}, {address + size:#x}) is not of this machine")


def _extents(storage: int, library: Path) -> list[tuple[int, int]]:
    """The mappings of the library and the one that holds `storage`, touching ones joined: proc(5), maps."""
    found: list[tuple[int, int]] = []
    wanted = os.path.realpath(library)
    with open("/proc/self/maps", encoding="utf-8", errors="surrogateescape") as maps:
        for line in maps:
            words = line.split(maxsplit=5)
            first, end = (int(part, 16) for part in words[0].split("-"))
            if words[1][0] != "r" or not (
                first <= storage < end or (len(words) > 5 and words[5].strip() == wanted)
            ):
                continue
            if found and found[-1][1] == first:
                first = found.pop()[0]
            found.append((first, end))
    return found


def base_of(library: Path) -> int:
    """Where this process has loaded the library: its lowest mapping. DecodeError where it has not."""
    wanted = os.path.realpath(library)
    with open("/proc/self/maps", encoding="utf-8", errors="surrogateescape") as maps:
        for line in maps:
            words = line.split(maxsplit=5)
            if len(words) > 5 and words[5].strip() == wanted:
                return int(words[0].split("-")[0], 16)
    raise DecodeError(f"{library} is not loaded here")

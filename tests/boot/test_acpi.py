"""The ACPI tables that the kernel lists, against a walk of the same structures in raw RAM."""

from __future__ import annotations

import struct
from typing import Any

import pytest

from coronel.guest import Guest
from coronel.memory import PhysicalMemory
from coronel.pytest_plugin import Build

HEADER_BYTES = 36

# The large ones have their tables beyond the first GiB, which is all that the boot page tables show; only
# UEFI has an XSDT.
MACHINES: dict[str, dict[str, Any]] = {
    "pvh": {"memory": "64M"},
    "grub": {"memory": "64M", "boot": "iso"},
    "q35": {"memory": "64M", "machine": "q35", "cpu": "qemu64"},
    "large": {"memory": "5G", "machine": "q35", "boot": "iso"},
    "large-uefi": {"memory": "5G", "machine": "q35", "boot": "iso", "firmware": "uefi", "timeout": 60},
}


def walk(ram: PhysicalMemory, root: int) -> list[tuple[str, int, int]]:
    """(signature, address, bytes) of each table, as ACPI 6.5, section 5.2.5 and following, say."""
    pointer = ram.read(root, HEADER_BYTES)
    assert pointer[:8] == b"RSD PTR "
    revision = pointer[15]
    (rsdt,) = struct.unpack_from("<I", pointer, 16)
    (xsdt,) = struct.unpack_from("<Q", pointer, 24)
    form, address = ("<Q", xsdt) if revision >= 2 and xsdt else ("<I", rsdt)
    (length,) = struct.unpack_from("<I", ram.read(address, HEADER_BYTES), 4)
    tables = []
    for (entry,) in struct.iter_unpack(form, ram.read(address + HEADER_BYTES, length - HEADER_BYTES)):
        signature, size = struct.unpack("<4sI", ram.read(entry, 8))
        assert sum(ram.read(entry, size)) % 256 == 0
        tables.append((signature.decode(), entry, size))
    return tables


def check_tables(guest: Guest) -> None:
    """The command's list is what raw RAM holds."""
    value = guest.channel.call("acpi")
    listed = [(row["signature"], int(row["address"], 16), row["bytes"]) for row in value["tables"]]
    assert {"FACP", "APIC"} <= {signature for signature, _, _ in listed}
    assert value["dropped"] == 0
    with guest.paused():
        assert listed == walk(guest.ram, int(value["root"], 16))
    shown = guest.shell.run("acpi")
    for signature, address, size in listed:
        assert f"{signature} {address:#x} {size}" in " ".join(shown.split())


@pytest.mark.parametrize("name", MACHINES)
def test_every_table_is_listed(artifact: Build, name: str) -> None:
    fields = dict(MACHINES[name])
    start = {"iso": artifact.iso} if fields.pop("boot", "") == "iso" else {"kernel": artifact.elf}
    with Guest(**{"timeout": 20, **start, **fields}) as guest:
        guest.wait_ready()
        said = guest.shell.wait_prompt()
        assert "ACPI" not in said[said.index("Coronel") :], "nothing was odd"
        check_tables(guest)
        tables = guest.channel.call("acpi")["tables"]
        assert (int(tables[0]["address"], 16) >= 1 << 30) == name.startswith("large")


def test_tables_of_ones_own_are_listed_too(artifact: Build) -> None:
    """More than fit are counted; QEMU adds what it is told to."""
    extra = []
    for number in range(70):
        extra += ["-acpitable", f"sig=T{number:03},data=/dev/null"]
    with Guest(kernel=artifact.elf, memory="64M", extra=extra) as guest:
        guest.wait_ready()
        assert "ACPI tables did not fit in the table of 64; not used" in guest.shell.wait_prompt()
        value = guest.channel.call("acpi")
        assert len(value["tables"]) == 64
        assert value["dropped"] == len(walk(guest.ram, int(value["root"], 16))) - 64
        assert "T001" in {row["signature"] for row in value["tables"]}

"""The memory manager's state, read from outside: one decoder for a live guest, the host library, GDB or a
core file.

    tables = Tables.load(memory, record)    # record.py: the self-describing tables of docs/formats.md
    tables.read("Frame", address)           # layout.py: any exported type as a mapping
    counters(tables)                        # stats.py
    walk(tables)                            # walker.py: all frames, and what is wrong with them

`record`, `layout`, `stats` and `zones` need nothing but Python itself, because GDB's interpreter may have
nothing else; `walker` and `compare` need numpy, `host` needs cffi.
"""

from coronel.mm.layout import Enumerator, Struct, StructType
from coronel.mm.record import Tables
from coronel.mm.stats import counters

__all__ = ["Enumerator", "Struct", "StructType", "Tables", "counters"]

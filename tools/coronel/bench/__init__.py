"""What Coronel costs: rows with targets, where their figures come from, and how they are shown.

    rows.py     every row, declared once: name, unit, how it is measured, target, peers
    guest.py    rows of a guest under -icount; boot.py  rows of a boot; host.py  rows of the host library
    held.py     rows of what is held when nothing is live, on both bodies
    result.py   the result: one JSON file that says everything a reader must know
    render.py   tables of a result, for a terminal and for bench/README.md
    profile.py  where the instructions of one case go

A new row is one entry in `ROWS`, and a case in the table of the floor's benchmark (mm/benchmark.hpp).
"""

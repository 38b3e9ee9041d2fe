"""GDB with Coronel's eyes: printers for its types, and commands that read its tables with the same decoders.

`coronel.gdb.session` starts GDB on a machine of its own (`coronel debug`). The other modules run inside GDB's
own Python, which knows nothing of the virtual environment: they need nothing but Python, except `coronel
walk`, which needs numpy and says so where it is missing.
"""

CONSOLE_VARIABLE = "CORONEL_CONSOLE_FD"  # the descriptor where `coronel type` sends its lines

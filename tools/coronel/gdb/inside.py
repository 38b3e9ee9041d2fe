"""What GDB loads: registers printers and commands. `import coronel.gdb.inside` in GDB's Python, once."""

from coronel.gdb import commands, printers

printers.register()
commands.register()

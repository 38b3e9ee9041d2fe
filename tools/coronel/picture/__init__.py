"""Pictures of physical memory: every frame of a machine as a coloured cell, and what the colours add up to.

    memory = survey(tables)                  # cells.py: each frame in one class
    grid = Grid.fit(memory, 256, 256)        # grid.py: cells of 2^n frames along a Hilbert curve (hilbert.py)
    svg.render(sheet(memory, grid, title))   # sheet.py: the page; svg.py and png.py draw it
    MapView(memory, title)                   # terminal.py: the same in a terminal

All of it is decoded by the tables that the kernel exports, from raw memory, and vectorised: a live view draws
it many times a second. Colours and the meaning of the classes are in palette.py and nowhere else.
"""

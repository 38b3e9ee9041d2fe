"""CPUs, threads and locks of a kernel, read from its memory: what kernel/task and kernel/arch keep.

    tasks = read_tasks(tables)                 # tasks.py: CPUs, threads, queues as they are
    walk = check_tasks(tasks, registers)       # check.py: and what is wrong with them
    print(cpus_text(tasks))                    # views.py: as the console's `cpus`

Needs nothing but Python: GDB's commands use it too.
"""

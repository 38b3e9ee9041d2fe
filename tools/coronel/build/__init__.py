"""What make runs beside compilers: the configuration header, the symbol table, the image, fuzzing."""

"""`python -m coronel`."""

import sys

from coronel.cli import main

sys.exit(main())

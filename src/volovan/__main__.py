"""`python -m volovan` is the command `volovan`."""

import sys

from volovan.cli import main

sys.exit(main())

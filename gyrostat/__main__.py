"""`python -m gyrostat` is the command `gyrostat`."""

import sys

from gyrostat.commands import main

if __name__ == "__main__":
    sys.exit(main())

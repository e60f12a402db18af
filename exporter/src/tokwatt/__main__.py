"""`python -m tokwatt` and the console script."""

import sys

from tokwatt.app.cli import main

if __name__ == "__main__":
    sys.exit(main())

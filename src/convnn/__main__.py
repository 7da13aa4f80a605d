"""`python -m convnn`."""

import sys

from convnn.cli import main

if __name__ == "__main__":
    sys.exit(main())

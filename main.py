"""The published entry point: `python main.py FLAGS` is `convnn train FLAGS`."""

import sys

from convnn.__main__ import main_train

if __name__ == "__main__":
    sys.exit(main_train())

"""`convnn train` that ends, as on SIGTERM, when the process that began it is gone."""

import os
import signal
import sys
import threading

from convnn.signals import answer_signals


def main() -> int:
    """Train with the flags of this process."""
    answer_signals()
    threading.Thread(target=_end_with_parent, daemon=True).start()
    from convnn.cli import main as run

    return run(["train", *sys.argv[1:]])


def _end_with_parent() -> None:
    while os.read(0, 1024):  # nothing is ever written; the end of the pipe is the end of the parent
        pass
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    sys.exit(main())

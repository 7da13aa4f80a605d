"""What papers claim, in the smallest experiment that can show it: `python -m claims NAME...`, all without names."""

import argparse
import sys
from pathlib import Path
from typing import Any

import torch

from claims._experiment import ROOT, keep, names, read, run
from convnn.errors import ConvnnError


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m claims", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"one of {', '.join(names())}; all when there is none")
    parser.add_argument("--quick", action="store_true", help="one seed and a few steps; keeps nothing")
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "claims", help="folder of the figures")
    options = parser.parse_args(argv)
    torch.set_num_threads(1)  # the same sums in the same order on any machine
    try:
        for name in options.names:
            read(name)  # all of them before the first begins
        for name in options.names or names():
            result = run(name, quick=options.quick)
            print(report(result))
            if not options.quick:
                keep(result, options.out)
    except ConvnnError as error:
        print(f"claims: {error}", file=sys.stderr)
        return 2
    return 0


def report(result: dict[str, Any]) -> str:
    """A claim as it is printed: what was measured, what held, and the verdict."""
    figures = result["figures"]
    widths = [max(map(len, column)) for column in zip(*figures, strict=True)]
    table = ("  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip() for row in figures)
    checks = (f"{'yes' if held else 'no':>3}  {sentence}" for sentence, held in result["checks"].items())
    return "\n".join([f"{result['system']}. {result['claim']}", *table, *checks, f"-> {result['verdict']}", ""])


if __name__ == "__main__":
    raise SystemExit(main())

"""Claims of papers, each in the smallest experiment that can show it: `python -m claims [NAME...]`."""

import argparse
import sys
from pathlib import Path
from typing import Any

import torch

from claims._experiment import ROOT, names, read, run, save
from convnn.errors import ConvnnError


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m claims", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"one of {', '.join(names())}; all by default")
    parser.add_argument("--quick", action="store_true", help="run one seed and a few steps, and save nothing")
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "claims", help="folder of the figures")
    options = parser.parse_args(argv)
    torch.set_num_threads(1)  # the same sums in the same order on any machine
    try:
        for name in options.names:
            read(name)  # check all names before the first claim runs
        for name in options.names or names():
            result = run(name, quick=options.quick)
            print(report(result))
            if not options.quick:
                save(result, options.out)
    except ConvnnError as error:
        print(f"claims: {error}", file=sys.stderr)
        return 2
    return 0


def report(result: dict[str, Any]) -> str:
    """Return the printed report of a claim: figures, checks and verdict."""
    figures = result["figures"]
    widths = [max(map(len, column)) for column in zip(*figures, strict=True)]
    table = ("  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip() for row in figures)
    checks = (f"{'yes' if held else 'no':>3}  {sentence}" for sentence, held in result["checks"].items())
    return "\n".join([f"{result['system']}. {result['claim']}", *table, *checks, f"-> {result['verdict']}", ""])


if __name__ == "__main__":
    raise SystemExit(main())

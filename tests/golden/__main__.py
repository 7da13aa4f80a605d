"""Compare published numbers with ours: `PYTHONPATH=tests python -m golden FOLDER...` prints a line per file.

Single `.safetensors` files are accepted too. The exit status is 0 unless something differs.
"""

import sys
from collections import Counter
from pathlib import Path

import torch
from safetensors import SafetensorError

from golden.case import find_files, read_case
from golden.check import STATUSES, Verdict, check


def main(arguments: list[str]) -> int:
    if not arguments or {"-h", "--help"} & set(arguments):
        print(__doc__)
        return 0 if arguments else 2
    paths = [Path(argument) for argument in arguments]
    if missing := [str(path) for path in paths if not path.exists()]:
        print(f"{', '.join(missing)}: no such file or folder", file=sys.stderr)
        return 2
    torch.set_num_threads(1)  # the tensors are too small for more
    counts: Counter[str] = Counter()
    for path in find_files(paths):
        layer, verdict = _verdict(path)
        counts[verdict.status] += 1
        print(f"{path.parent.name}/{path.stem} ({layer}) {verdict}", flush=True)
    print(", ".join(f"{counts[status]} {status}" for status in STATUSES))
    return 1 if counts["differs"] else 0


def _verdict(path: Path) -> tuple[str, Verdict]:
    """Return the published name of the layer and its verdict."""
    try:
        case = read_case(path)
    except (OSError, SafetensorError) as error:
        return "?", Verdict("differs", f"the file cannot be read: {error}")
    return case.metadata.get("layer", "?"), check(case)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

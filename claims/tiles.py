"""ThunderKittens: a few words for tiles suffice for products, attention and linear attention."""

import ast
import json
import os
import subprocess
import sys
from pathlib import Path

import convnn
from claims._experiment import ROOT, Outcome

SYSTEM = "ThunderKittens: tiles"
CLAIM = "A few abstractions of tiles suffice to write gathered products, attention and linear attention in few lines."
EXPERIMENT = (
    "All kernels of the Triton backend: lines without signature and docstring, and which words of `_tiles` each is"
    " written in; and the largest error of gathered products, attention and linear attention, forward and all"
    " gradients, in Triton's interpreter in float64, as a share of the largest number. Their speed is not measured."
)
SEEDS = (0,)
WORDS = ("_tiles", "_scores")
NAMED = ("_convolve_block", "_weight_kernel", "_attend_kernel", "_gradient_of_keys_kernel", "_linear_kernel")
PARITY = "import json; from benchmarks import tiles; rows = tiles.parity('cpu'); print(json.dumps(rows))"


def measure(seeds: list[int], quick: bool) -> Outcome:
    functions = jitted()
    words = {name for file, name, _ in functions if file in WORDS}
    kernels = [one for one in functions if one[0] not in WORDS and one[1].endswith(("_kernel", "_block"))]
    rows, shared, lengths = [["kernel", "lines", "words"]], [], []
    for file, name, function in kernels:
        used = sorted(words & {node.id for node in ast.walk(function) if isinstance(node, ast.Name)})
        lengths.append(lines_of(function))
        rows.append([f"{file}.{name}", str(lengths[-1]), ", ".join(used)])
        if name in NAMED and file in ("_dense", "blocks", "linear"):
            shared.append(set(used))
    common = set.intersection(*shared)
    errors = {} if quick else parity()
    rows += [[f"error of {name}", f"{error:.0e}", ""] for name, error in errors.items()]
    return Outcome(
        rows,
        {
            "each of the kernels has at most 40 lines": max(lengths) <= 40,
            "products, attention forward and backward, and linear attention share at least four words": len(common)
            >= 4,
            "each kernel is written in at least one": all(used for *_, used in rows[1 : len(kernels) + 1]),
            "all results are right to 1e-12 of the largest number": max(errors.values(), default=0.0) < 1e-12,
        },
    )


def jitted() -> list[tuple[str, str, ast.FunctionDef]]:
    """Return file, name and code of all functions that Triton compiles."""
    found = []
    for path in sorted((Path(convnn.__file__).parent / "backends" / "triton").glob("*.py")):
        functions = (one for one in ast.parse(path.read_text()).body if isinstance(one, ast.FunctionDef))
        found += [
            (path.stem, one.name, one) for one in functions if "triton.jit" in map(ast.unparse, one.decorator_list)
        ]
    return found


def lines_of(function: ast.FunctionDef) -> int:
    body = function.body[1:] if ast.get_docstring(function) else function.body
    return (function.end_lineno or 0) - body[0].lineno + 1


def parity() -> dict[str, float]:
    """Return the largest error in each file of published numbers, from a process whose kernels are interpreted."""
    environment = {**os.environ, "TRITON_INTERPRET": "1"}
    command = [sys.executable, "-W", "ignore", "-c", PARITY]
    run = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, check=True)
    rows = json.loads(run.stdout.splitlines()[-1])
    return {row["file"].split("-", 2)[2]: max(row["errors"].values()) for row in rows if row["dtype"] == "float64"}

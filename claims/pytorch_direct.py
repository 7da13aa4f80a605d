"""PyTorch-Direct: fewer requests where warps begin at lines, less traffic without staging, gathering in advance."""

import statistics
import time

import torch

from claims._experiment import Outcome, spread
from convnn.graphs.fetch import HostFeatures, Prefetcher, gather_plan, lines_of_rows

SYSTEM = "PyTorch-Direct"
CLAIM = "A GPU that reads rows from the host itself, from where lines of memory begin, needs no copies by the CPU."
EXPERIMENT = (
    "What shows without a GPU, whose 65 to 92 % are not measured. Requests of warps for 400 random rows of 5000, in"
    " units of the lines that the rows occupy, float32, the table at a line and half a line off. Traffic in units of"
    " the rows' bytes: 3 with a copy into a buffer that is then read, the lines without. And the time of 12 batches of"
    " 60000 rows of 128 numbers, each in use for 30 ms, gathered in between and in the background."
)
SEEDS = (0, 1, 2)
COLUMNS, ROWS = (100, 128, 129, 602), 5000


def measure(seeds: list[int], quick: bool) -> Outcome:
    rows = [["", "threads in order", "shifted", "from the line", "shifted, half a line off", "traffic"]]
    found: dict[int, list[list[float]]] = {}
    for columns in COLUMNS:
        found[columns] = [requests(columns, seed) for seed in seeds]
        rows.append([f"{columns} numbers", *(spread(each, ".2f") for each in zip(*found[columns], strict=True))])
    times = [seconds(seed, 2 if quick else 12) for seed in seeds]
    waiting, ahead = zip(*times, strict=True)
    for name, each in (("in between", waiting), ("in the background", ahead)):
        rows.append([f"12 batches gathered {name}, s", spread(each, ".2f"), *[""] * 4])
    broken = [one for columns in (100, 129, 602) for one in found[columns]]
    return Outcome(
        rows,
        {
            "threads in order need half as many requests again": all(one[0] > 1.5 for one in broken),
            "from the line as many as there are lines": all(one[2] == 1 for each in found.values() for one in each),
            "the shift is in vain where the table begins within a line": all(one[3] > 1.25 for one in broken),
            "half of the traffic, or less": all(one[4] <= 1.5 for each in found.values() for one in each),
            "in the background less time": statistics.mean(ahead) < statistics.mean(waiting),
        },
    )


def requests(columns: int, seed: int) -> list[float]:
    """Return requests of each way per line, and the bytes of the lines per byte of the rows."""
    index = torch.randint(ROWS, (400,), generator=torch.Generator().manual_seed(seed))
    size = 4 * columns

    def per_line(base: int, form: str, aligned: bool | None) -> float:
        plan = gather_plan(index, size, 4, base, form, num_rows=ROWS, aligned=aligned)
        return int(plan.requests.sum()) / lines_of_rows(index, size, base, num_rows=ROWS)

    ways = [(0, "rows", False), (0, "shift", None), (0, "rows", True), (64, "shift", None)]
    traffic = 128 * lines_of_rows(index, size, num_rows=ROWS) / (size * len(index))
    return [*(per_line(*way) for way in ways), traffic]


def seconds(seed: int, count: int) -> tuple[float, float]:
    """Return the time with gathering between the batches, and in the background."""
    generator = torch.Generator().manual_seed(seed)
    features = HostFeatures(torch.randn(100_000, 128, generator=generator))
    batches = list(torch.randint(100_000, (count, 60_000), generator=generator))
    both = []
    for source in (((batch, features.gather(batch)) for batch in batches), Prefetcher(batches, features.gather)):
        start = time.perf_counter()
        for _ in source:
            time.sleep(0.03)
        both.append(time.perf_counter() - start)
    return both[0], both[1]

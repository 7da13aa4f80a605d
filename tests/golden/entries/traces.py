"""ConCuR (arXiv 2510.07356): which reasoning traces are kept, and what all of them show."""

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from convnn.bench.traces import COLUMNS, curate, selection_statistics, speedups, trace_statistics
from golden.case import Case
from golden.entry import Entry


def _curate(case: Case):
    def curated(*columns: Tensor) -> Mapping[str, Tensor]:
        table = {name: column.detach().numpy() for name, column in zip(COLUMNS, columns, strict=True)}
        names = ("min_speedup", "max_length", "per_task", "per_type")
        selected = curate(table, **{name: case.config[name] for name in names if name in case.config.data})
        found = trace_statistics(table, bins=case.config["bins"]) | selection_statistics(table, selected)
        found |= {"selected": selected, "speedup": speedups(table)}
        return {name: torch.from_numpy(np.asarray(value)) for name, value in found.items()}

    return curated


ENTRIES = {"curate": Entry(_curate, COLUMNS, ())}

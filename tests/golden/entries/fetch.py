"""Features fetched from the host: PyTorch-Direct."""

from collections.abc import Mapping

import torch
from torch import Tensor

from convnn.graphs.fetch import HostFeatures, gather_plan, lines_of_rows, thread_block
from golden.case import Case
from golden.entry import Entry


def _gather(case: Case) -> Mapping[str, Tensor]:
    config, index, table = case.config, case.tensors["index"], case.tensors["table"]
    size, itemsize, base = config["row_bytes"], config["itemsize"], config["base_offset"]
    assert (config["warp"], config["line"]) == (32, 128)

    def plan(form: str, aligned: bool | None):
        return gather_plan(index, size, itemsize, base, form, num_rows=table.shape[0], aligned=aligned)

    shifted = plan("shift", None)
    assert torch.equal(shifted.source_byte, plan("shift", config["shift"]).source_byte)
    by_rows = {name: plan("rows", aligned).requests.sum() for name, aligned in (("plain", False), ("aligned", True))}
    stored = table.to(torch.float32 if itemsize == 4 else torch.float64)
    return {
        "output": HostFeatures(stored).gather(index).double(),
        "source_byte": shifted.source_byte,
        "output_byte": shifted.output_byte,
        "requests_plain": plan("shift", False).requests,
        "requests_shifted": shifted.requests,
        "dgl_requests_plain": by_rows["plain"],
        "dgl_requests_aligned": by_rows["aligned"],
        "dgl_block": torch.tensor(thread_block(size // itemsize)),
        "row_lines": torch.tensor(lines_of_rows(index, size, base, num_rows=table.shape[0])),
    }


ENTRIES = {"feature gather, address plan": Entry(lambda case: lambda: _gather(case), ())}

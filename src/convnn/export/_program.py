"""Export to torch.export programs."""

import io
from pathlib import Path

import torch
from torch import Tensor, nn

from convnn.export._agreement import check_agreement
from convnn.export._trace import trace
from convnn.files import write_atomically


def export_torch(network: nn.Module, path: str | Path, example: Tensor, *, dynamic_batch: bool = True) -> float:
    """Write a network as a program of torch.export, which `torch.export.load(path).module()` runs without convnn.

    Args:
        network: a network or layer with one input and one output; it is not changed.
        path: the file, by convention with the suffix `.pt2`.
        example: a batch (B, ...) of inputs, on the device of the weights.
        dynamic_batch: leave the size of the batch dynamic; otherwise it is that of the example.

    Returns:
        The largest difference between file and network on random inputs, in units of the largest output or of 1,
        whichever is larger.

    Raises:
        InputError: the example is not a batch of inputs of the network.
        UnsupportedError: torch.export cannot trace the network, or file and network disagree; nothing is written.
        OutputError: the file cannot be written.
    """
    file = io.BytesIO()
    torch.export.save(trace(network, example, dynamic_batch=dynamic_batch), file)
    file.seek(0)
    program = torch.export.load(file).module()
    worst = check_agreement(network, program, example, dynamic_batch=dynamic_batch, name=str(path))
    write_atomically(Path(path), file.getvalue())
    return worst

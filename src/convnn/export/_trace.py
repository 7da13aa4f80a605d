"""A network as a graph of PyTorch's own operators."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram
from torch.overrides import TorchFunctionMode

import convnn.ops  # noqa: F401 (it registers the operators)
from convnn.backends import reference
from convnn.errors import ConvnnError, InputError, UnsupportedError, is_out_of_memory
from convnn.nn._modes import evaluating

OUT_OF_MEMORY = (MemoryError, torch.OutOfMemoryError)
"""Errors that say nothing of a network."""

_DEFINITIONS: dict[Any, Callable[..., Tensor]] = {
    torch.ops.convnn.nearest.default: reference.nearest,
    torch.ops.convnn.one_of_each.default: reference.one_of_each,
    torch.ops.convnn.similarity.default: reference.similarity,
    torch.ops.convnn.convolve.default: reference.convolve,
    torch.ops.convnn.largest.default: reference.largest,
}


class _Definitions(TorchFunctionMode):
    """Every operator of this package is computed by its definition in plain PyTorch, whichever backend is asked for."""

    def __torch_function__(
        self, func: Any, types: Sequence[type], args: Sequence[Any] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if func in _DEFINITIONS:
            *arguments, _backend = args
            return _DEFINITIONS[func](*arguments)
        return func(*args, **(kwargs or {}))


def trace(network: nn.Module, example: Tensor, *, dynamic_batch: bool = True) -> ExportedProgram:
    """The graph of a network in evaluation mode, in operators of PyTorch alone; sizes other than the batch are fixed.

    Neighbours are chosen as `convnn.ops.select.nearest` says: by float64 scores rounded to float32, equal ones by
    lowest index. K is a constant of the graph, and so are the candidates of random sampling, whose draw is fixed.

    Args:
        network: a network or layer with one input and one output; it is left as it was.
        example: a batch (B, ...) of any size of what it reads, on the device of its weights.
        dynamic_batch: leave the size of the batch open; otherwise it is that of the example.

    Returns:
        The program of `torch.export.export`.

    Raises:
        InputError: the example is not a batch of what the network reads.
        UnsupportedError: torch.export cannot trace it.
    """
    if example.dim() < 2 or not example.shape[0]:
        raise InputError(f"example of shape {tuple(example.shape)} must be a batch (B, ...) of at least one input")
    with torch.no_grad(), evaluating(network), _Definitions():
        network(example)  # what it refuses is said of the example, and not of a trace
    shapes = None
    if dynamic_batch:
        example = torch.cat([example, example])[:2]  # torch.export takes a batch of 1 for a constant
        shapes = ({0: Dim("batch")},)
    with torch.no_grad(), evaluating(network), _Definitions():
        try:
            program = torch.export.export(network, (example,), dynamic_shapes=shapes)
        except (ConvnnError, *OUT_OF_MEMORY):
            raise
        except Exception as error:  # of dynamo, of the symbolic shapes, of the network itself
            if is_out_of_memory(error):
                raise
            raise unsupported("torch.export cannot trace this network", error) from error
    for node in program.graph.nodes:
        node.meta.pop("stack_trace", None)  # lines of Python, with the folders of this machine
    return program


def unsupported(what: str, error: Exception) -> UnsupportedError:
    """One sentence from an error of somebody else's, which may be a page."""
    reason = str(error).strip().splitlines() or [type(error).__name__]
    return UnsupportedError(f"{what}: {reason[0]:.300}")

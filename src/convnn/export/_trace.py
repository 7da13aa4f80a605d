"""Tracing of a network into a graph of PyTorch's own operators."""

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
"""Errors that are not the fault of a network."""

_DEFINITIONS: dict[Any, Callable[..., Any]] = {
    torch.ops.convnn.nearest.default: reference.nearest,
    torch.ops.convnn.one_of_each.default: reference.one_of_each,
    torch.ops.convnn.similarity.default: reference.similarity,
    torch.ops.convnn.convolve.default: reference.convolve,
    torch.ops.convnn.largest.default: reference.largest,
    torch.ops.convnn.attend_to_blocks.default: reference.attend_to_blocks,
    torch.ops.convnn.depthwise.default: reference.depthwise,
    torch.ops.convnn.bi_wkv.default: reference.bi_wkv,
    torch.ops.convnn.delta_rule.default: reference.delta_rule,
    torch.ops.convnn.sliding.default: reference.sliding,
}


def _refuse_clusters(*_: Any) -> Tensor:
    raise UnsupportedError(
        "search='clustered' cannot be exported, because its loops depend on the image; build the layers with"
        " search='exact', which has the same weights"
    )


_DEFINITIONS[torch.ops.convnn.nearest_in_clusters.default] = _refuse_clusters


class _Definitions(TorchFunctionMode):
    """Computes every operator of this package by its definition in plain PyTorch, whichever backend is named."""

    def __torch_function__(
        self, func: Any, types: Sequence[type], args: Sequence[Any] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if func in _DEFINITIONS:
            *arguments, _backend = args
            return _DEFINITIONS[func](*arguments)
        return func(*args, **(kwargs or {}))


def trace(network: nn.Module, example: Tensor, *, dynamic_batch: bool = True) -> ExportedProgram:
    """Trace a network in evaluation mode into a graph of PyTorch operators; sizes other than the batch are fixed.

    Neighbours are chosen as in `convnn.ops.select.nearest`: by float64 scores rounded to float32, equal ones by lowest
    index. K is a constant of the graph, and so are the candidates of random sampling, which are drawn once.

    Args:
        network: a network or layer with one input and one output; it is not changed.
        example: a batch (B, ...) of inputs of any size, on the device of the weights.
        dynamic_batch: leave the size of the batch dynamic; otherwise it is that of the example.

    Returns:
        The program of `torch.export.export`.

    Raises:
        InputError: the example is not a batch of inputs of the network.
        UnsupportedError: torch.export cannot trace the network, or it searches in clusters.
    """
    if example.dim() < 2 or not example.shape[0]:
        raise InputError(f"example of shape {tuple(example.shape)} must be a batch (B, ...) of at least one input")
    with torch.no_grad(), evaluating(network), _Definitions():
        network(example)  # so that its errors name the example instead of the trace
    shapes = None
    if dynamic_batch:
        example = torch.cat([example, example])[:2]  # torch.export treats a batch of 1 as a constant
        shapes = ({0: Dim("batch")},)
    with torch.no_grad(), evaluating(network), _Definitions():
        try:
            program = torch.export.export(network, (example,), dynamic_shapes=shapes)
        except (ConvnnError, *OUT_OF_MEMORY):
            raise
        except Exception as error:  # from dynamo, symbolic shapes or the network itself
            if is_out_of_memory(error):
                raise
            raise unsupported("torch.export cannot trace this network", error) from error
    for node in program.graph.nodes:
        node.meta.pop("stack_trace", None)  # Python source lines with local paths
    return program


def unsupported(what: str, error: Exception) -> UnsupportedError:
    """Return an error whose message is the first line of another error's, which may be a page."""
    reason = str(error).strip().splitlines() or [type(error).__name__]
    return UnsupportedError(f"{what}: {reason[0]:.300}")

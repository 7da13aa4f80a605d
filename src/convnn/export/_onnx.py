"""Export to ONNX."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from convnn.errors import InputError, is_out_of_memory
from convnn.export._agreement import check_agreement
from convnn.export._trace import OUT_OF_MEMORY, trace, unsupported
from convnn.files import write_atomically
from convnn.packages import is_installed, need

if TYPE_CHECKING:
    from torch.export import ExportedProgram

OPSET = 20
"""The version of the operators in the graph."""

LEAST_OPSET = 18
"""The oldest that PyTorch writes."""

INPUT, OUTPUT = "input", "output"


def export_onnx(
    network: nn.Module,
    path: str | Path,
    example: Tensor,
    *,
    opset: int = OPSET,
    dynamic_batch: bool = True,
    metadata: Mapping[str, str] | None = None,
) -> float | None:
    """Write a network as an ONNX graph of standard operators, with one input, "input", and one output, "output".

    The graph takes the inputs of the network: normalised images. Neighbours are chosen by float64 scores rounded to
    float32, as in `trace`, so the runtime must multiply matrices of doubles, as onnxruntime does; ties go to the
    lowest index, as the standard requires of TopK.

    Args:
        network: a network or layer with one input and one output; it is not changed.
        path: the file.
        example: a batch (B, ...) of inputs, on the device of the weights.
        opset: version of the operators, at least 18.
        dynamic_batch: leave the size of the batch dynamic; otherwise it is that of the example.
        metadata: entries of the file's `metadata_props`.

    Returns:
        The largest difference between file and network on random inputs, in units of the largest output or of 1,
        whichever is larger; None if onnxruntime is not installed, and the file is only checked by `onnx.checker`.

    Raises:
        InputError: onnx or onnxscript is not installed or cannot be imported, the example is not a batch of inputs, or
            the opset does not exist.
        UnsupportedError: the network cannot be exported, or file and network disagree; nothing is written.
        OutputError: the file cannot be written.
    """
    for package in ("onnx", "onnxscript"):
        need(package, "format='onnx'", extra="onnx")
    _check_opset(opset)
    program = trace(network, example, dynamic_batch=dynamic_batch)
    try:
        with _quiet():
            graph = _translate(program, opset, dict(metadata or {}))
    except OUT_OF_MEMORY:
        raise
    except Exception as error:  # from the exporter, the version converter or the checker
        if is_out_of_memory(error):
            raise
        raise unsupported("this network cannot be expressed in ONNX", error) from error
    worst = None
    if is_installed("onnxruntime"):
        run = _runner(graph, example)
        worst = check_agreement(network, run, example, dynamic_batch=dynamic_batch, name=str(path))
    write_atomically(Path(path), graph)
    return worst


def _translate(program: ExportedProgram, opset: int, metadata: dict[str, str]) -> bytes:
    """Translate a program into a checked ONNX model with folded constants."""
    import onnx
    import onnxscript.optimizer

    exported = torch.onnx.export(
        program.run_decompositions(
            {torch.ops.aten.cdist.default: _distances, torch.ops.aten.conv3d.default: _convolve_volumes}
        ),
        dynamo=True,
        opset_version=opset,
        input_names=[INPUT],
        output_names=[OUTPUT],
        custom_translation_table={torch.ops.aten.sort.stable: _stable_sort()},
        optimize=False,  # constant folding is enough, and the other rewrite rules take many times as long
        verbose=False,
    )
    if exported is None:
        raise RuntimeError("PyTorch has changed what it exports")
    onnxscript.optimizer.fold_constants(exported.model)
    onnxscript.optimizer.remove_unused_nodes(exported.model)
    model = exported.model_proto
    for node in model.graph.node:
        node.ClearField("metadata_props")  # Python source lines with local paths
    onnx.helper.set_model_props(model, metadata)
    written = {entry.domain: entry.version for entry in model.opset_import}
    if written != {"": opset}:
        raise ValueError(f"PyTorch {torch.__version__} writes operators {written} where opset={opset} was requested")
    _name_batch(model)
    onnx.checker.check_model(model, full_check=True)
    return model.SerializeToString()


def _name_batch(model: Any) -> None:
    """Name the batch size "batch" in every shape that contains it."""
    graph = model.graph
    symbol = graph.input[0].type.tensor_type.shape.dim[0].dim_param
    for value in (*graph.input, *graph.output, *graph.value_info):
        for side in value.type.tensor_type.shape.dim:
            if symbol and side.dim_param:
                side.dim_param = side.dim_param.replace(symbol, "batch")


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence the logs and warnings of exporter and optimizer."""
    level = logging.root.manager.disable
    logging.disable(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(level)


def _distances(x: Tensor, y: Tensor, p: float, compute_mode: int) -> Tensor:
    """Compute `aten.cdist`, which the exporter lacks, by differences of a few channels at a time to bound memory."""
    channels = max(1, 2**22 // max(1, x.shape[-2] * y.shape[-2]))
    parts = zip(x.split(channels, dim=-1), y.split(channels, dim=-1), strict=True)
    squares = ((a.unsqueeze(-2) - b.unsqueeze(-3)).square().sum(-1) for a, b in parts)
    return sum(squares, start=next(squares)).sqrt()


def _convolve_volumes(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Sequence[int] = (1, 1, 1),
    padding: Sequence[int] = (0, 0, 0),
    dilation: Sequence[int] = (1, 1, 1),
    groups: int = 1,
) -> Tensor:
    """Compute `aten.conv3d` with a bias; where there is none, the exporter writes one of the wrong shape."""
    bias = weight.new_zeros(weight.shape[0]) if bias is None else bias
    return torch.ops.aten.convolution(x, weight, bias, stride, padding, dilation, False, [0, 0, 0], groups)


def _stable_sort() -> Callable[..., Any]:
    """Return `aten.sort.stable`, which the exporter lacks: TopK of all elements, stable by the standard."""
    from onnxscript import opset18

    op: Any = opset18  # its types do not accept tensors that are computed later

    def stable_sort(x: Any, *, stable: bool | None = None, dim: int = -1, descending: bool = False) -> Any:
        length = op.Gather(op.Shape(x), op.Constant(value_ints=[dim]))
        return op.TopK(x, length, axis=dim, largest=int(descending), sorted=1)

    return stable_sort


def _runner(graph: bytes, example: Tensor) -> Callable[[Tensor], Tensor]:
    """Return the graph as a function, computed by onnxruntime on the CPU."""
    onnxruntime: Any = need("onnxruntime", "format='onnx'", extra="onnx")
    session = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])

    def run(inputs: Tensor) -> Tensor:
        (output,) = session.run([OUTPUT], {INPUT: inputs.cpu().numpy()})
        return torch.from_numpy(output).to(example.device)

    return run


def _check_opset(opset: int) -> None:
    from onnx.defs import onnx_opset_version

    if not LEAST_OPSET <= opset <= onnx_opset_version():
        raise InputError(f"opset={opset} must lie between {LEAST_OPSET} and {onnx_opset_version()}, the newest version")

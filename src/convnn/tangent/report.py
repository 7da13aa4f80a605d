"""A network's tangent kernel in numbers: what it is spread over, and where in the network it follows the labels."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from convnn.tangent.kernel import tangent_kernel
from convnn.tangent.measures import alignment, effective_rank, spectrum


@dataclass(frozen=True)
class LayerPart:
    """What the parameters of one module add to the kernel.

    Attributes:
        name: of the module; "" is the network itself.
        share: of the trace of the kernel, 0 to 1; all add up to 1.
        alignment: of this part of the kernel with the labels, -1 to 1.
    """

    name: str
    share: float
    alignment: float


@dataclass(frozen=True, eq=False)
class TangentReport:
    """A tangent kernel, traced over the outputs, in numbers.

    Attributes:
        kernel: (N, N).
        spectrum: (N,) eigenvalues as shares of their sum, largest first.
        effective_rank: over how many directions they are spread, 1 to N.
        alignment: with the labels, -1 to 1.
        mean: of the squared lengths of the gradients of a sample.
        layers: the parts of its modules that have parameters, in their order.
    """

    kernel: Tensor
    spectrum: Tensor
    effective_rank: float
    alignment: float
    mean: float
    layers: tuple[LayerPart, ...]

    @property
    def largest(self) -> float:
        """The share of the largest eigenvalue."""
        return float(self.spectrum[0])


def tangent_report(
    model: nn.Module, x: Tensor, labels: Tensor, *, chunk: int = 1, megabytes: float = 256.0
) -> TangentReport:
    """Measure the tangent kernel of a network, whole and by modules.

    Args:
        model, chunk, megabytes: as in `tangent_kernel`.
        x: (N, ...) inputs.
        labels: classes (N,), or targets (N, C).

    Raises:
        InputError: as `tangent_kernel`, or there is not a label for each input.
    """
    modules: dict[str, Tensor] = {}
    for name, part in tangent_kernel(model, x, kind="layers", chunk=chunk, megabytes=megabytes).items():
        module = name.rpartition(".")[0]
        modules[module] = modules[module] + part if module in modules else part
    kernel = torch.stack(list(modules.values())).sum(0)
    values, total = spectrum(kernel).clamp_min(0), float(kernel.trace())
    layers = [
        LayerPart(name, float(part.trace()) / total if total else 0.0, alignment(part, labels))
        for name, part in modules.items()
    ]
    return TangentReport(
        kernel=kernel,
        spectrum=values / total if total else values,
        effective_rank=effective_rank(kernel),
        alignment=alignment(kernel, labels),
        mean=total / x.shape[0],
        layers=tuple(layers),
    )

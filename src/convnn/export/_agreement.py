"""Comparison of an exported file with its network."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from convnn.errors import UnsupportedError
from convnn.nn._modes import evaluating

TOLERANCE = 1e-4
"""Largest accepted difference, in units of the largest output or of 1, whichever is larger."""

LARGEST_TOLERANCE = 1e-2
"""Largest accepted difference where rounding decides between neighbours that nearly tie."""

_NUM_SAMPLES = 4
_NUM_CHANGES = 4


def check_agreement(
    network: nn.Module, run: Callable[[Tensor], Tensor], example: Tensor, *, dynamic_batch: bool, name: str
) -> float:
    """Compare a file with its network on random inputs.

    Two candidates may be so nearly tied that rounding decides between them, quite often on large maps. A difference
    that a change in the last bit of the inputs also makes in the network itself is therefore accepted.

    Args:
        network: the network.
        run: the function that the file computes.
        example: a batch of inputs.
        dynamic_batch: also try batches of other sizes.
        name: name of the file, for the error.

    Returns:
        The largest difference, in units of the largest output or of 1, whichever is larger.

    Raises:
        UnsupportedError: file and network disagree.
    """
    generator = torch.Generator().manual_seed(0)
    sizes = [1, _NUM_SAMPLES - 1] if dynamic_batch else [example.shape[0]]
    worst = 0.0
    for size in sizes:
        inputs = torch.randn(size, *example.shape[1:], generator=generator).to(example)
        with torch.no_grad(), evaluating(network):
            expected = network(inputs)
            unit = max(1.0, float(expected.abs().max()))
            difference = _difference(run(inputs), expected) / unit
            if not difference <= TOLERANCE:
                own = 4 * _own_rounding(network, inputs, expected) / unit
                if not difference <= min(own, LARGEST_TOLERANCE):
                    raise UnsupportedError(
                        f"{name} disagrees with the network by {difference:.1e} on random inputs of shape"
                        f" {tuple(inputs.shape)}, more than {TOLERANCE}; it is not written"
                    )
        worst = max(worst, difference)
    return worst


def _own_rounding(network: nn.Module, inputs: Tensor, expected: Tensor) -> float:
    """Return the largest change of the outputs when the inputs change in their last bit."""
    generator = torch.Generator().manual_seed(1)
    worst = 0.0
    for _ in range(_NUM_CHANGES):
        signs = torch.randint(-1, 2, inputs.shape, generator=generator).to(inputs)
        changed = network(inputs * (1 + torch.finfo(inputs.dtype).eps * signs))
        worst = max(worst, _difference(changed, expected))
    return worst


def _difference(x: Tensor, y: Tensor) -> float:
    """Return the largest difference, or infinity if the shapes differ."""
    return float((x - y).abs().max()) if x.shape == y.shape else float("inf")

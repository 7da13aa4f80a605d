"""FInC Flow: triangular convolutions are inverted exactly, diagonal by diagonal, and help a flow."""

import statistics
import timeit
from collections.abc import Callable

import torch
from sklearn.datasets import load_digits
from torch import Tensor

from claims._experiment import Outcome, is_above, spread
from convnn.models import FInCFlow
from convnn.nn import FInC2d
from convnn.ops.triangular import solve

SYSTEM = "FInC Flow: invertible convolution"
CLAIM = (
    "A convolution that is padded at a corner and masked is inverted exactly, all positions of a diagonal at once; four"
    " of them before a 1x1 convolution make a flow better than the latter alone."
)
EXPERIMENT = (
    "Error: the largest difference of x and inverse(forward(x)) for 48 channels, 32 x 32, in float64. Time: the inverse"
    " for 16 maps of 48 channels, 32 x 32, in float32, the median of 3; position after position is a loop in PyTorch."
    " Bits: a flow of 2 levels of 4 steps, with couplings of 32 channels, on scikit-learn's digits, 250 steps of 64"
    " images; bits for each pixel of the test images, with FInC and without it."
)
SEEDS = (0, 1, 2)


def measure(seeds: list[int], quick: bool) -> Outcome:
    torch.manual_seed(0)
    layer, z = FInC2d(48).double(), torch.randn(*((2, 48, 8, 8) if quick else (16, 48, 32, 32)))
    error = (layer.inverse(layer(z.double())[0]) - z).abs().max().item()
    kernel = layer.kernel.detach().float()
    ways: dict[str, Callable[[], Tensor]] = {
        "position after position": lambda: by_position(z, kernel),
        "diagonals, PyTorch": lambda: solve(z, kernel, 4, backend="reference"),
        "diagonals, compiled": lambda: solve(z, kernel, 4),
    }
    times = {name: 1000 * statistics.median(timeit.repeat(way, number=1, repeat=3)) for name, way in ways.items()}
    slow, _, quickly = times.values()
    with_it, without = ([bits(used, seed, 5 if quick else 250) for seed in seeds] for used in (True, False))
    flows = {"with FInC": [f"{error:.0e}", spread(with_it, ".3f")], "without": ["", spread(without, ".3f")]}
    rows = [[name, f"{ms:.1f}", "", ""] for name, ms in times.items()]
    return Outcome(
        [["", "time, ms", "error", "bits for each pixel"], *rows, *([name, "", *row] for name, row in flows.items())],
        {
            "the error is below 1e-10": error < 1e-10,
            "compiled, it is at least 5 times faster": slow >= 5 * quickly,
            "with FInC, the digits take fewer bits": is_above(without, with_it),
        },
    )


def by_position(z: Tensor, kernel: Tensor) -> Tensor:
    """Undo four triangular convolutions of 3 x 3, one position after the other."""
    taps, seen = kernel.unflatten(0, (4, -1)).flatten(3), z.unflatten(1, (4, -1))
    x = torch.nn.functional.pad(torch.zeros_like(seen), (2, 0, 2, 0))
    for i in range(z.shape[2]):
        for j in range(z.shape[3]):
            before = torch.einsum("gock,bgck->bgo", taps[..., :-1], x[..., i : i + 3, j : j + 3].flatten(3)[..., :-1])
            rest = (seen[..., i, j] - before).unsqueeze(-1)
            x[..., i + 2, j + 2] = torch.linalg.solve_triangular(taps[..., -1], rest, upper=False)[..., 0]
    return x[..., 2:, 2:].flatten(1, 2)


def bits(used: bool, seed: int, steps: int) -> float:
    torch.manual_seed(seed)
    images = torch.from_numpy(load_digits().images).float().unsqueeze(1)
    flow = FInCFlow(1, levels=2, steps=4, width=32, values=17, invertible_conv=used)
    flow.initialize(images[:256])
    optimizer = torch.optim.Adam(flow.parameters(), 3e-3)
    for _ in range(steps):
        optimizer.zero_grad()
        flow.bits_per_dimension(images[torch.randint(1437, (64,))]).mean().backward()
        torch.nn.utils.clip_grad_norm_(flow.parameters(), 10.0)
        optimizer.step()
    return flow.bits_per_dimension(images[1437:]).mean().item()

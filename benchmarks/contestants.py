"""The contestants: layers of the same shape, networks built of them, and searches."""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor, nn

from convnn.nn import ConvNN2d, LayerFactory, layer_factory

K = 9


class Case(NamedTuple):
    """A layer on a batch of square maps, padded by one."""

    batch: int
    side: int
    inputs: int
    outputs: int

    def __str__(self) -> str:
        return f"{self.inputs}->{self.outputs}, {self.side}x{self.side}, batch {self.batch}"


VGG11 = [(32, 3, 64), (16, 64, 128), (8, 128, 256), (8, 256, 256), (4, 256, 512), (4, 512, 512), (2, 512, 512)]
"""Side, inputs and outputs of its layers on images of 32 x 32 pixels."""

RESNET18 = [(32, 64, 64), (16, 128, 128)]
"""Shapes that VGG11 does not have."""

LARGE = [Case(4, 64, 64, 64), Case(1, 128, 64, 64)]


class PlainConvNN(nn.Module):
    """The obvious implementation, in float32 and with ties left to topk: all scores, topk, a copy of all neighbours."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.linear = nn.Linear(inputs * K, outputs)

    def forward(self, x: Tensor) -> Tensor:
        batch, _, height, width = x.shape
        rows = nn.functional.pad(x, [1] * 4).flatten(2).transpose(1, 2)
        positions = inner_positions(height, width, x.device)
        indices = plain_search(rows[:, positions], rows, positions)
        images = torch.arange(batch, device=x.device)[:, None, None]
        out = self.linear(rows[images, indices].flatten(2))
        return out.transpose(1, 2).unflatten(2, (height, width))


def plain_search(queries: Tensor, keys: Tensor, positions: Tensor) -> Tensor:
    """Return neighbours (B, N, K) by topk of the cosines of all pairs."""
    with torch.no_grad():
        scores = nn.functional.normalize(queries, dim=-1) @ nn.functional.normalize(keys, dim=-1).mT
        scores[:, torch.arange(len(positions), device=keys.device), positions] = torch.inf
        return scores.topk(K).indices


def inner_positions(height: int, width: int, device: torch.device | str = "cpu") -> Tensor:
    """Return the positions of a map padded by one that are not padding."""
    grid = torch.arange((height + 2) * (width + 2), device=device).view(height + 2, width + 2)
    return grid[1:-1, 1:-1].flatten()


LAYERS: dict[str, LayerFactory] = {
    "Conv2d": partial(nn.Conv2d, kernel_size=3, padding=1),
    "ours": partial(ConvNN2d, K=K),
    "reference": partial(ConvNN2d, K=K, backend="reference"),
    "matmul+topk+gather": PlainConvNN,
}


def make_step(name: str, case: Case, training: bool) -> tuple[Callable[[], object], Callable[[], object]]:
    """Make a step of a layer on a tiny map and one on the case."""
    torch.manual_seed(0)
    layer = LAYERS[name](case.inputs, case.outputs).to(memory_format=torch.channels_last)
    steps = []
    for batch, side in ((1, 8), (case.batch, case.side)):
        x = torch.randn(batch, case.inputs, side, side).contiguous(memory_format=torch.channels_last)
        x.requires_grad_(training and case.inputs > 3)  # the gradient of images is not needed
        steps.append(partial(step, layer, x, training))
    return steps[0], steps[1]


def step(layer: nn.Module, x: Tensor, training: bool) -> None:
    """Run forward and, in training, backward."""
    if not training:
        with torch.no_grad():
            layer(x)
        return
    out = layer(x)
    out.backward(torch.ones_like(out))
    x.grad = None
    layer.zero_grad(set_to_none=True)


NETWORK_LAYERS = ("Conv2d", "ConvNN", "ConvNN_Pos", "Branching", "ConvNN_Attn")


def network_layer(name: str, backend: str) -> LayerFactory:
    """Return the layer of a network with the settings of the paper: K = 9, and half of a Branching layer ConvNN."""
    return layer_factory(name, K=K, branch_ratio=0.5, backend=backend)

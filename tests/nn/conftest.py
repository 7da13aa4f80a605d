"""Layers that the robustness tests go through."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import pytest
import torch
from torch import Tensor, nn

from convnn import nn as cnn


@dataclass(frozen=True)
class LayerCase:
    """How to make a layer of 3 input and 4 output channels, and a map it takes."""

    name: str
    build: Callable[..., nn.Module]
    size: tuple[int, ...]

    def layer(self, seed: int = 0) -> nn.Module:
        torch.manual_seed(seed)
        return self.build(3, 4).eval()

    def input(self, batch: int = 2, dtype: torch.dtype = torch.float32) -> Tensor:
        generator = torch.Generator().manual_seed(7)
        return torch.randn(batch, 3, *self.size, generator=generator).to(dtype)

    def resized(self, size: tuple[int, ...]) -> "LayerCase":
        return replace(self, size=size)


def _case(name: str, layer: Callable[..., nn.Module], size: tuple[int, ...], **settings: object) -> LayerCase:
    return LayerCase(name, lambda i, o: layer(i, o, **settings), size)


RANDOM = {"sampling_type": "random", "num_samples": 10}
SPATIAL = {"sampling_type": "spatial", "num_samples": 3}
BOTH = {"similarity_type": "Loc_Col", "aggregation_type": "Loc_Col"}
BA = {"shuffle_pattern": "BA", "shuffle_scale": 2}

CASES = [
    _case("convnn1d", cnn.ConvNN1d, (12,), K=5),
    _case("convnn1d-random", cnn.ConvNN1d, (14,), K=5, **RANDOM),
    _case("convnn2d", cnn.ConvNN2d, (6, 4)),
    _case("convnn2d-random", cnn.ConvNN2d, (6, 4), K=5, **RANDOM),
    _case("convnn2d-spatial", cnn.ConvNN2d, (6, 4), K=5, **SPATIAL),
    _case("convnn2d-loc", cnn.ConvNN2d, (6, 4), similarity_type="Loc", magnitude_type="euclidean"),
    _case("convnn2d-loc-col", cnn.ConvNN2d, (6, 4), K=4, padding=0, magnitude_type="euclidean", **BOTH),
    _case("convnn2d-shuffle", cnn.ConvNN2d, (6, 4), K=4, **BA),
    _case("convnn3d", cnn.ConvNN3d, (4, 2, 4), K=5),
    _case("convnn3d-spatial-shuffle", cnn.ConvNN3d, (4, 6, 4), K=3, sampling_type="spatial", num_samples=2, **BA),
    _case("attention1d", cnn.ConvNNAttention1d, (12,), K=5),
    _case("attention2d", cnn.ConvNNAttention2d, (6, 4)),
    _case("attention2d-random", cnn.ConvNNAttention2d, (6, 4), K=5, magnitude_type="euclidean", **RANDOM),
    _case("attention2d-spatial", cnn.ConvNNAttention2d, (6, 4), K=5, **SPATIAL),
    _case("attention2d-shuffle", cnn.ConvNNAttention2d, (6, 4), K=4, aggregation_type="Loc_Col", **BA),
    _case("branching1d", cnn.Branching1d, (12,)),
    _case("branching2d", cnn.Branching2d.with_convnn, (6, 4), K=5, aggregation_type="Loc_Col"),
    _case("branching2d-shuffle", cnn.Branching2d.with_convnn, (6, 4), K=4, **BA),
    _case("branching2d-attention", cnn.Branching2d.with_attention, (6, 4), K=5),
    _case("branching2d-conv-only", cnn.Branching2d, (6, 4), branch_ratio=0),
    _case("conv1d-new", cnn.Conv1dNew, (12,), aggregation_type="Loc_Col"),
    _case("conv2d-new", cnn.Conv2dNew, (6, 4)),
    _case("conv2d-new-shuffle", cnn.Conv2dNew, (6, 4), aggregation_type="Loc_Col", **BA),
]


@pytest.fixture(params=CASES, ids=lambda case: case.name)
def case(request: pytest.FixtureRequest) -> LayerCase:
    return request.param

"""Tests of layers on windows against their formulas, position by position: values and all gradients, in float64."""

from itertools import product

import pytest
from torch import Tensor

import brute_force_images as brute
from against_definition import SIZES, STRIDES, check_definition, random_maps, randomised
from convnn import nn as cnn
from pairwise import one_in

FORMS = [
    (3, 4, 1, True, 1, None),
    (5, 2, 1, False, 1, None),
    (3, 1, 2, True, 1, 0.3),
    (3, 2, 1, True, 2, None),
    (1, 2, 1, True, 3, 2.0),
]


@pytest.mark.parametrize(("size", "form", "stride"), one_in(6, product([*SIZES, (6, 7)], FORMS, STRIDES)), ids=str)
def test_neighborhood_attention(
    size: tuple[int, int], form: tuple[int, int, int, bool, int, float | None], stride: tuple[int, int]
) -> None:
    k, head_channels, groups, has_bias, apart, scale = form
    settings = {"groups": groups, "stride": stride}
    others = {"head_channels": head_channels, "relative_bias": has_bias, "attention_dilation": apart, "qk_scale": scale}
    layer = randomised(cnn.NeighborhoodAttention2d(4, 6, kernel_size=k, **others, **settings))
    settings |= {"k": k, "heads": 4 // head_channels, "apart": apart, "scale": scale}

    def definition(x: Tensor, p: dict[str, Tensor]) -> Tensor:
        qkv, output = ((p[f"{name}.weight"], p[f"{name}.bias"]) for name in ("qkv", "output"))
        return brute.neighborhood(x, qkv, output, p.get("relative_bias"), **settings)

    check_definition(layer, random_maps(size), definition)

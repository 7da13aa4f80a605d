"""Tests of layers whose neighbours form a graph against their formulas: values and all gradients, in float64."""

from collections.abc import Callable
from math import cos, sin

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import brute_force_images as brute
from against_definition import SIZES, STRIDES, TOLERANCE, check_definition, random_maps, randomised
from convnn import nn as cnn
from pairwise import each


def _edge(**settings: object) -> nn.Module:
    return cnn.EdgeConv2d(4, 6, K=3, **settings)


def _sage(**settings: object) -> nn.Module:
    return cnn.ViG2d(4, 6, K=3, graph_conv="sage", **settings)


@each(size=SIZES, graph=[(3, 1, 1), (9, 1, 1), (3, 2, 1), (2, 1, 2), (1, 1, 1)], groups=[1, 2], stride=STRIDES)
def test_vig(size: tuple[int, int], graph: tuple[int, int, int], groups: int, stride: tuple[int, int]) -> None:
    K, dilation, reduction = graph
    settings = {"K": K, "graph_dilation": dilation, "groups": groups, "stride": stride}
    layer = randomised(cnn.ViG2d(4, 6, reduction=reduction, **settings))
    cell = min(reduction, *size)
    check_definition(layer, random_maps(size), lambda x, p: brute.vig(x, p, reduction=cell, **settings))


@each(form=["sage", "gin"], size=SIZES, graph=[(3, 1, 1), (3, 2, 1), (2, 1, 2)], output=[(1, (1, 1)), (2, (2, 3))])
def test_other_forms_of_vig(
    form: str, size: tuple[int, int], graph: tuple[int, int, int], output: tuple[int, tuple[int, int]]
) -> None:
    (K, dilation, reduction), (groups, stride) = graph, output
    settings = {"K": K, "graph_conv": form, "graph_dilation": dilation, "groups": groups, "stride": stride}
    layer = randomised(cnn.ViG2d(4, 6, reduction=reduction, edge_activation="gelu", **settings))
    cell = min(reduction, *size)
    check_definition(layer, random_maps(size), lambda x, p: brute.vig(x, p, reduction=cell, **settings))


@pytest.mark.parametrize("mode", ["train", "eval"])
@pytest.mark.parametrize("reduction", [1, 2])
@pytest.mark.parametrize(("build", "place"), [(_edge, "norm_activation"), (_sage, "edge.1")], ids=["edge", "sage"])
def test_normalisation_is_over_all_edges(
    build: Callable[..., nn.Module], place: str, reduction: int, mode: str
) -> None:
    """The input of the normalisation is captured by a hook, and normalised by hand."""
    layer = getattr(randomised(build(edge_norm=True, reduction=reduction)), mode)()
    norm = layer.get_submodule(f"{place}.0.rows")
    norm.running_mean.uniform_(-1, 1)
    norm.running_var.uniform_(0.5, 2)
    ahead: list[Tensor] = []
    norm.register_forward_hook(lambda _, inputs, output: ahead.extend([inputs[0], output]))
    mean, variance = norm.running_mean.clone(), norm.running_var.clone()
    layer(random_maps((4, 5)))
    edges, normalised = ahead
    assert edges.shape == (2 * 20 * 3, layer.weight.shape[2] if place == "edge.1" else 6)
    if mode == "train":
        mean, variance = edges.mean(0), edges.var(0, unbiased=False)
    expected = (edges - mean) / (variance + 1e-5).sqrt() * norm.weight + norm.bias
    torch.testing.assert_close(normalised, expected, rtol=0, atol=TOLERANCE)


ACTIVE = {"gelu": F.gelu, "leaky_relu": lambda x: F.leaky_relu(x, 0.2)}


@each(size=SIZES, form=[(1, 1, True), (2, 2, True), (1, 2, False)], activation=list(ACTIVE))
def test_other_forms_of_edge_conv(size: tuple[int, int], form: tuple[int, int, bool], activation: str) -> None:
    depth, reduction, scale_features = form
    settings = {"K": 3, "groups": 2, "scale_features": scale_features}
    layer = cnn.EdgeConv2d(4, 6, mlp_layers=depth, edge_activation=activation, reduction=reduction, **settings)

    def definition(x: Tensor, p: dict[str, Tensor]) -> Tensor:
        mlp = [(p[f"mlp.{i}.weight"], p[f"mlp.{i}.bias"]) for i in range(0, 2 * depth - 2, 2)]
        others = {"active": ACTIVE[activation], "reduction": min(reduction, *size)}
        return brute.edge_conv(x, p["weight"], p["bias"], mlp, **others, **settings)

    check_definition(randomised(layer), random_maps(size), definition)


@pytest.mark.parametrize(
    ("side", "size", "reduction"), [(4, (4, 4), 1), (4, (2, 8), 1), (3, (4, 5), 1), (4, (4, 4), 2)]
)
def test_codes_of_positions_are_added_to_distances(side: int, size: tuple[int, int], reduction: int) -> None:
    """The reference is the published matrix -2 P P^T / C of a square map, resized as an image."""
    layer = cnn.ViG2d(8, 8, K=5, relative_side=side, reduction=reduction, graph_dilation=2 if reduction == 1 else 1)
    layer = randomised(layer)
    x = random_maps(size, channels=8).detach()
    waves = [10000 ** (-t / 2) for t in range(2)]
    places = [(h, w) for h in range(side) for w in range(side)]
    codes = torch.tensor(
        [[f(axis * wave) for axis in (w, h) for f in (sin, cos) for wave in waves] for h, w in places],
        dtype=torch.float64,
    )
    cells = side**2 // reduction**2
    matrix = F.interpolate(-2 * (codes @ codes.T)[None, None] / 8, (side**2, cells), mode="bicubic")
    total = size[0] * size[1]
    if total != side**2:
        matrix = F.interpolate(matrix, (total, total // reduction**2), mode="bicubic")
    queries = F.normalize(x.flatten(2).mT, dim=-1)
    keys = F.normalize(F.avg_pool2d(x, reduction).flatten(2).mT, dim=-1)
    distances = (queries[:, :, None] - keys[:, None]).square().sum(-1) + matrix[0]
    field = layer.field(x)
    found = layer.search.select(field, layer.search.cells(field))
    wanted = min(layer.search.K * layer.search.graph_dilation, keys.shape[1])
    expected = distances.argsort(-1)[..., : wanted : layer.search.graph_dilation]
    assert torch.equal(found.indices, expected)


@each(size=SIZES, graph=[(3, 1, 1), (9, 1, 1), (2, 2, 1), (3, 1, 3)], groups=[1, 2], stride=STRIDES)
def test_edge_conv(size: tuple[int, int], graph: tuple[int, int, int], groups: int, stride: tuple[int, int]) -> None:
    K, dilation, depth = graph
    settings = {"K": K, "graph_dilation": dilation, "groups": groups, "stride": stride}
    layer = randomised(cnn.EdgeConv2d(4, 6, mlp_layers=depth, **settings))

    def definition(x: Tensor, p: dict[str, Tensor]) -> Tensor:
        mlp = [(p[f"mlp.{i}.weight"], p[f"mlp.{i}.bias"]) for i in range(0, 2 * depth - 2, 2)]
        return brute.edge_conv(x, p["weight"], p["bias"], mlp, **settings)

    check_definition(layer, random_maps(size), definition)


@each(name=["SVGA", "MGC", "DAGC"], size=SIZES, step=[1, 2, 3], form=[(1, 3), (2, 0)], stride=STRIDES)
def test_axial(name: str, size: tuple[int, int], step: int, form: tuple[int, int], stride: tuple[int, int]) -> None:
    groups, side = form
    kind = {"SVGA": cnn.SVGA2d, "MGC": cnn.MGC2d, "DAGC": cnn.DAGC2d}[name]
    settings = {"step": step, "groups": groups, "stride": stride}
    layer = randomised(kind(4, 6, positional_size=side, **settings))

    def definition(x: Tensor, p: dict[str, Tensor]) -> Tensor:
        encoding = (p["positional.weight"], p["positional.bias"]) if side else None
        return brute.axial(x, name, p["weight"], p["bias"], encoding, **settings)

    check_definition(layer, random_maps(size, smooth=True), definition)


@each(size=SIZES, form=[(4, 1), (6, 1), (6, 2)], stride=STRIDES)
def test_non_local(size: tuple[int, int], form: tuple[int, int], stride: tuple[int, int]) -> None:
    outputs, groups = form
    layer = randomised(cnn.NonLocal2d(4, outputs, groups=groups, stride=stride))

    def definition(x: Tensor, p: dict[str, Tensor]) -> Tensor:
        linears = ((p[f"{name}.weight"], p[f"{name}.bias"]) for name in ("query", "key", "value", "output"))
        return brute.non_local(x, *linears, p.get("project.weight"), groups=groups, stride=stride)

    check_definition(layer, random_maps(size), definition)


@each(
    size=SIZES,
    edge_type=["distance", "pair", "difference"],
    pooling=["mean", "max"],
    form=[(3, 1), (4, 2)],
    stride=STRIDES,
)
def test_adaptive(
    size: tuple[int, int], edge_type: str, pooling: str, form: tuple[int, int], stride: tuple[int, int]
) -> None:
    k, groups = form
    settings = {"edge_type": edge_type, "pooling": pooling, "groups": groups, "stride": stride}
    layer = randomised(cnn.AdaptiveNeighborhoods2d(4, 6, kernel_size=k, latent_channels=5, **settings))
    check_definition(layer, random_maps(size), lambda x, p: brute.adaptive(x, p, k=k, **settings))


@each(
    size=SIZES,
    form=[
        ("pair_distance", "graph", "scaled"),
        ("pair_weight", "degree", "scaled"),
        ("edge_conv", "scores", "added"),
        ("distance", "features", "alone"),
        ("distance", "graph", "added"),
    ],
    pooling=["mean", "max"],
)
def test_other_forms_of_adaptive(size: tuple[int, int], form: tuple[str, str, str], pooling: str) -> None:
    edge_type, degree_type, keeping = form
    settings = {"edge_type": edge_type, "degree_type": degree_type, "keeping": keeping, "pooling": pooling}
    layer = randomised(cnn.AdaptiveNeighborhoods2d(4, 6, kernel_size=3, latent_channels=5, stride=(2, 1), **settings))
    check_definition(layer, random_maps(size), lambda x, p: brute.adaptive(x, p, k=3, stride=(2, 1), **settings))

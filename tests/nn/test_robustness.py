"""Tests that layers take any resolution, batch, layout and floating type, and keep no state between calls."""

import copy
from itertools import product

import pytest
import torch
from torch import Tensor, nn

from convnn import nn as cnn
from layer_cases import MAP_CASES, LayerCase
from pairwise import one_in

DTYPES = (torch.float64, torch.float16, torch.bfloat16)
FORMATS = {1: torch.contiguous_format, 2: torch.channels_last, 3: torch.channels_last_3d}


def _strided(x: Tensor) -> Tensor:
    """Return the same numbers, with gaps in memory and another order of axes."""
    backing = torch.full((*x.shape[::-1], 2), float("nan"), dtype=x.dtype)
    view = backing[..., 0].permute(*reversed(range(x.dim())))
    view.copy_(x)
    return view


LEARN_WHOM_TO_CHOOSE = (cnn.ConvNNAttn1d, cnn.ConvNNAttn2d, cnn.AdaptiveNeighborhoods2d)
"""Those that compare projections: rounded ones rank others first."""


def _convnns(layer: nn.Module) -> list[cnn.ConvNN2d]:
    return [module for module in layer.modules() if isinstance(module, cnn.ConvNN2d)]


def test_one_layer_takes_several_resolutions(case) -> None:
    layer = case.layer()
    for larger in (0, 4, 2, 0):
        resized = case.resized(tuple(n + larger * (1 + i) for i, n in enumerate(case.size)))
        x = resized.input()
        out = layer(x)
        assert out.shape == (2, 4, *resized.output_size)
        assert torch.equal(out, case.layer()(x))  # as a new layer would


def test_batch_of_none(case) -> None:
    layer = case.layer().train()
    x = case.input(batch=0).requires_grad_()
    out = layer(x)
    assert out.shape == (0, 4, *case.output_size)
    out.sum().backward()
    assert x.grad.shape == x.shape
    for parameter in layer.parameters():
        assert parameter.grad is None or parameter.grad.eq(0).all()


def test_single_map_without_batch(case) -> None:
    layer, x = case.layer(), case.input(batch=1)
    assert torch.equal(layer(x[0]), layer(x)[0])


def test_strided_input(case) -> None:
    layer, x = case.layer(), case.input()
    view = _strided(x)
    assert not view.is_contiguous()
    torch.testing.assert_close(layer(view), layer(x))
    sliced = torch.cat([x, x + 1], dim=-1)[..., : x.shape[-1]]
    torch.testing.assert_close(layer(sliced), layer(x))


def test_expanded_input(case) -> None:
    layer, x = case.layer(), case.input(batch=1).expand(3, *[-1] * (1 + len(case.size)))
    torch.testing.assert_close(layer(x), layer(x.contiguous()))


def test_channels_last_input_keeps_its_format(case) -> None:
    memory_format = FORMATS[len(case.size)]
    layer, x = case.layer(), case.input()
    out = layer(x.to(memory_format=memory_format))
    torch.testing.assert_close(out, layer(x))
    assert out.is_contiguous(memory_format=memory_format)
    assert layer(x).is_contiguous()


def _name(one: LayerCase | torch.dtype) -> str:
    return one.name if isinstance(one, LayerCase) else str(one).removeprefix("torch.")


@pytest.mark.parametrize(("case", "dtype"), one_in(4, product(MAP_CASES, DTYPES)), ids=_name)
def test_floating_types(case: LayerCase, dtype: torch.dtype) -> None:
    layer, x = case.layer().to(dtype), case.input(dtype=dtype).requires_grad_()
    out = layer(x)
    assert out.dtype == dtype
    out.sum().backward()
    assert x.grad.dtype == dtype
    assert x.grad.isfinite().all()
    if not any(isinstance(module, LEARN_WHOM_TO_CHOOSE) for module in layer.modules()):
        exact = copy.deepcopy(layer).double()(x.detach().double())  # rounded projections may choose other neighbours
        torch.testing.assert_close(out.double(), exact, rtol=0.05, atol=0.05)


@pytest.mark.parametrize(("case", "dtype"), one_in(3, product(MAP_CASES, DTYPES[1:])), ids=_name)
def test_autocast(case: LayerCase, dtype: torch.dtype) -> None:
    layer, x = case.layer(), case.input()
    x[0, :, 1] = 0  # zero vectors, which float16 once turned to NaN
    exact = layer(x)
    chosen = [part.neighbors(x).indices for part in _convnns(layer)]
    x.requires_grad_()
    with torch.autocast("cpu", dtype=dtype):
        out = layer(x)
        again = [part.neighbors(x).indices for part in _convnns(layer)]
    assert out.isfinite().all()
    for before, after in zip(chosen, again, strict=True):
        assert torch.equal(before, after)
    if not any(isinstance(module, LEARN_WHOM_TO_CHOOSE) for module in layer.modules()):
        torch.testing.assert_close(out.float(), exact, rtol=0.05, atol=0.05)
    out.float().sum().backward()
    assert x.grad.isfinite().all()


@pytest.mark.parametrize("layer_type", [cnn.ConvNN2d, cnn.ConvNNAttn2d])
def test_random_candidates_vary_in_training_and_follow_the_seed(layer_type: type[nn.Module]) -> None:
    layer = layer_type(3, 4, K=3, sampling_type="random", num_samples=8)
    x = torch.randn(2, 3, 6, 6)
    draws = []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        draws.append(layer.neighbors(x).indices)
    assert torch.equal(draws[0], draws[1])
    assert not torch.equal(draws[0], draws[2])
    assert not torch.equal(layer.neighbors(x).indices, layer.neighbors(x).indices)
    neighbors = draws[0][..., 1:]
    assert len(neighbors.unique()) <= 8  # one draw for the whole batch
    layer.eval()
    assert torch.equal(layer.neighbors(x).indices, layer.neighbors(x).indices)


def test_the_fixed_draw_is_irregular_and_of_distinct_positions() -> None:
    layer = cnn.ConvNN2d(1, 1, K=21, padding=0, sampling_type="random", num_samples=20).eval()
    chosen = layer.neighbors(torch.randn(1, 1, 16, 16)).indices[..., 1:].unique()
    assert len(chosen) == 20
    assert len(chosen.diff().unique()) > 5


def test_attention_dropout_acts_in_training_only() -> None:
    layer = cnn.ConvNNAttn2d(3, 4, attention_dropout=0.5)
    x = torch.randn(2, 3, 5, 5)
    assert not torch.equal(layer(x), layer(x))
    assert torch.equal(layer.eval()(x), layer(x))
    silent = cnn.ConvNNAttn2d(3, 4, attention_dropout=1.0)
    assert silent(x).std(dim=(0, 2, 3)).max() < 1e-6  # all neighbours are dropped: only the biases remain


@pytest.mark.parametrize("bad", [float("nan"), float("inf")], ids=["nan", "inf"])
@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
@pytest.mark.parametrize(
    "settings", [{}, {"similarity_type": "Loc_Col"}, {"sampling_type": "spatial", "num_samples": 4}]
)
@pytest.mark.parametrize("padding", [0, 1])
def test_one_bad_pixel_stays_alone(settings: dict, metric: str, bad: float, padding: int) -> None:
    layer = cnn.ConvNN2d(3, 4, K=5, padding=padding, metric=metric, **settings).eval()
    clean = torch.randn(2, 3, 6, 5, generator=torch.Generator().manual_seed(0))
    x = clean.clone()
    x[0, 1, 2, 3] = bad
    out = layer(x)
    harmed = ~out.isfinite().all(dim=1)
    assert harmed.nonzero().tolist() == [[0, 2, 3]]
    assert torch.equal(out[1], layer(clean)[1])


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
@pytest.mark.parametrize("layer_type", [cnn.ConvNNAttn2d, cnn.Branching2d.with_attention], ids=["attn", "branching"])
def test_one_bad_pixel_stays_alone_in_attention(layer_type, metric: str) -> None:
    ratio = {} if layer_type is cnn.ConvNNAttn2d else {"branch_ratio": 1}
    layer = layer_type(3, 4, K=5, metric=metric, **ratio).eval()
    x = torch.randn(2, 3, 6, 5)
    x[0, 1, 2, 3] = float("nan")
    assert layer(x).isnan().any(dim=1).nonzero().tolist() == [[0, 2, 3]]


def test_every_output_that_must_contain_nan_does() -> None:
    layer = cnn.ConvNN2d(3, 4, K=30, padding=0).eval()
    x = torch.randn(1, 3, 6, 5)
    x[0, 0, 0, 0] = float("nan")
    assert layer(x).isnan().all()


def test_constant_and_huge_images_stay_finite(case) -> None:
    layer, x = case.layer(), case.input()
    for image in (torch.zeros_like(x), torch.ones_like(x), x * 1e15, x * 1e-30):
        assert layer(image).isfinite().all()


@pytest.mark.parametrize(
    ("layer", "text"),
    [
        (cnn.ConvNN2d(3, 8), "ConvNN2d(3, 8, K=9)"),
        (
            cnn.ConvNN1d(3, 8, K=5, padding=0, metric="euclidean", similarity_type="Loc_Col", lambda_param=0.3),
            "ConvNN1d(3, 8, K=5, metric='euclidean', similarity_type='Loc_Col', lambda_param=0.3, padding=0)",
        ),
        (
            cnn.ConvNN3d(3, 8, sampling_type="random", num_samples=20, shuffle_pattern="BA", shuffle_scale=2),
            "ConvNN3d(3, 8, K=9, sampling_type='random', num_samples=20, shuffle_pattern='BA', shuffle_scale=2)",
        ),
        (
            cnn.Conv2dNew(3, 8, aggregation_type="Loc_Col"),
            "Conv2dNew(3, 8, kernel_size=3, aggregation_type='Loc_Col')",
        ),
    ],
    ids=["default", "1d", "3d", "conv-new"],
)
def test_repr(layer: nn.Module, text: str) -> None:
    assert repr(layer) == text


def test_repr_of_layers_with_parts() -> None:
    attention = repr(cnn.ConvNNAttn2d(3, 8, K=4, aggregation_type="Loc_Col"))
    assert attention.splitlines()[1].strip() == "3, 8, K=4, aggregation_type='Loc_Col'"
    assert "3, 8, branch_ratio=0.25" in repr(cnn.Branching2d(3, 8, branch_ratio=0.25))

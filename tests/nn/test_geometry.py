"""Tests of stride, window, dilation, groups, padding and padding mode against torch's convolutions."""

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

import convnn.nn as cnn
from convnn.errors import InputError
from convnn.nn.replace._maps import in_place_of, take_weights

CONVOLUTIONS = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}
CONVNN = {1: cnn.ConvNN1d, 2: cnn.ConvNN2d, 3: cnn.ConvNN3d}
MAKERS = ["ConvNN", "ConvNN_Pos", "ConvNN_Attn", "Branching", "Branching_Attn", "Conv2d_New"]


@st.composite
def convolutions(draw: Any) -> tuple[nn.Module, Tensor]:
    """Draw a convolution in float64, and a valid input for it."""
    axes = draw(st.integers(1, 3))
    side = st.integers(1, 4 if axes < 3 else 2)
    sides = st.tuples(*[side] * axes)
    kernel, dilation = draw(sides), draw(st.tuples(*[st.integers(1, 2)] * axes))
    groups = draw(st.sampled_from([1, 2, 4]))
    mode = draw(st.sampled_from(cnn.PADDING_MODES))
    is_same = draw(st.booleans())
    padding = "same" if is_same else draw(st.tuples(*[st.integers(0, 2)] * axes))
    stride = (1,) * axes if is_same else draw(sides)
    torch.manual_seed(draw(st.integers(0, 99)))
    conv = CONVOLUTIONS[axes](
        4, 8, kernel, stride, padding, dilation, groups, bias=draw(st.booleans()), padding_mode=mode, dtype=torch.double
    )
    size = draw(st.tuples(*[st.integers(7, 10) if axes < 3 else st.integers(4, 5)] * axes))
    return conv, torch.randn(2, 4, *size, dtype=torch.double)


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel")
@settings(max_examples=60, deadline=None)
@given(convolutions())
def test_a_convolution_is_convnn_of_the_positions_in_its_window(case: tuple[Any, Tensor]) -> None:
    conv, x = case
    x.requires_grad_()
    layer = in_place_of(conv, "ConvNN", {"similarity_type": "Window"}, keep_weights=True)
    expected, actual = conv(x), layer(x)
    torch.testing.assert_close(actual, expected, rtol=0, atol=1e-12)
    sides = torch.randn_like(expected)
    ours, theirs = (torch.autograd.grad(y, [x, *m.parameters()], sides) for y, m in ((actual, layer), (expected, conv)))
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, other.reshape(one.shape), rtol=0, atol=1e-11)


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel")
@settings(max_examples=40, deadline=None)
@given(convolutions(), st.sampled_from(["Branching", "Conv2d_New"]))
def test_other_layers_with_its_weights_are_the_convolution_too(case: tuple[Any, Tensor], name: str) -> None:
    conv, x = case
    layer = in_place_of(conv, name, {"similarity_type": "Window"} if name == "Branching" else {}, keep_weights=True)
    torch.testing.assert_close(layer(x), conv(x), rtol=0, atol=1e-12)


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel")
@settings(max_examples=40, deadline=None)
@given(convolutions(), st.sampled_from(MAKERS))
def test_every_layer_makes_a_map_of_the_same_size_and_learns(case: tuple[Any, Tensor], name: str) -> None:
    conv, x = case
    layer = in_place_of(conv, name, {})
    out = layer(x)
    assert out.shape == conv(x).shape
    out.square().mean().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in layer.parameters())


@pytest.mark.parametrize("name", ["convnn", "attention"])
@pytest.mark.parametrize("stride", [2, 3, (1, 2)])
def test_a_stride_computes_every_so_many_positions_of_the_map(name: str, stride: Any) -> None:
    kind = cnn.ConvNN2d if name == "convnn" else cnn.ConvNNAttn2d
    strided, plain = kind(3, 6, K=5, stride=stride).eval(), kind(3, 6, K=5).eval()
    strided.load_state_dict(plain.state_dict())
    x = torch.randn(2, 3, 8, 7)
    rows, columns = stride if isinstance(stride, tuple) else (stride, stride)
    torch.testing.assert_close(strided(x), plain(x)[:, :, ::rows, ::columns])
    assert strided.neighbors(x).indices.shape[1] == strided(x)[0, 0].numel()


@pytest.mark.parametrize("mode", cnn.PADDING_MODES)
@pytest.mark.parametrize("kind", [cnn.ConvNN2d, cnn.ConvNNAttn2d])
def test_a_padding_mode_is_padding_ahead_of_the_layer(mode: str, kind: Any) -> None:
    layer, on_padded = kind(3, 6, K=5, padding=2, padding_mode=mode).eval(), kind(3, 6, K=5, padding=0).eval()
    on_padded.load_state_dict(layer.state_dict())
    x = torch.randn(2, 3, 6, 5)
    padded = F.pad(x, [2] * 4, mode="constant" if mode == "zeros" else mode)
    torch.testing.assert_close(layer(x), on_padded(padded)[:, :, 2:-2, 2:-2])


def test_groups_share_their_neighbours_and_nothing_else() -> None:
    layer = cnn.ConvNN2d(4, 6, K=5, groups=2).eval()
    x = torch.randn(2, 4, 6, 5)
    indices = layer.neighbors(x).indices
    rows = F.pad(x, [1] * 4).flatten(2)
    for group in range(2):
        values = rows[:, 2 * group : 2 * group + 2]
        chosen = torch.stack([values[b][:, indices[b]] for b in range(2)])  # (B, 2, N, K)
        expected = torch.einsum("bcnk,ock->bon", chosen, layer.weight[3 * group : 3 * group + 3])
        expected += layer.bias[3 * group : 3 * group + 3, None]
        torch.testing.assert_close(layer(x)[:, 3 * group : 3 * group + 3].flatten(2), expected)


def test_no_projection_of_attention_mixes_its_groups() -> None:
    layer = cnn.ConvNNAttn2d(4, 8, K=5, groups=2, attention_dropout=0.0).double()
    x = torch.randn(1, 4, 4, 4, dtype=torch.double, requires_grad=True)
    with torch.no_grad():
        layer.query.weight.zero_()  # all are equally similar: the choice does not depend on x
    gradient = torch.autograd.grad(layer(x)[:, :4].sum(), x)[0]
    assert gradient[:, :2].abs().max() > 0
    assert not gradient[:, 2:].any()


def test_with_groups_a_branch_reads_what_its_groups_read() -> None:
    layer = cnn.Branching2d.with_convnn(8, 8, groups=8, branch_ratio=0.3)
    assert (layer.branch1.in_channels, layer.branch1.out_channels, layer.branch1.groups) == (2, 2, 2)
    assert (layer.branch2.in_channels, layer.branch2.out_channels, layer.branch2.groups) == (6, 6, 6)
    assert layer(torch.randn(1, 8, 5, 5)).shape == (1, 8, 5, 5)


@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize("size", [(7, 8), (5, 6)])
def test_same_padding_makes_a_window_for_every_stride(stride: int, size: tuple[int, int]) -> None:
    layer = cnn.ConvNN2d(3, 4, K=9, window_size=3, padding="same", stride=stride, similarity_type="Window")
    x = torch.randn(1, 3, *size)
    sides = [-(-n // stride) for n in size]
    assert list(layer(x).shape[2:]) == sides
    missing = [max((m - 1) * stride + 3 - n, 0) for m, n in zip(sides, size, strict=True)]
    padded = F.pad(x, [side for n in reversed(missing) for side in (n // 2, n - n // 2)])
    expected = F.conv2d(padded, layer.weight.unflatten(2, (3, 3)), layer.bias, stride=stride)
    torch.testing.assert_close(layer(x), expected)


def test_raster_order_is_the_convolution_while_only_places_count_and_moves_when_features_do() -> None:
    conv, x = nn.Conv2d(3, 4, 5, padding=2), torch.randn(1, 3, 8, 8)
    settings = {"similarity_type": "Loc_Col", "metric": "euclidean", "raster_order": True}
    still = cnn.ConvNN2d(3, 4, K=25, padding=2, lambda_param=0.0, **settings)
    take_weights(still, conv)
    torch.testing.assert_close(still(x), conv(x))
    moved = cnn.ConvNN2d(3, 4, K=25, padding=2, lambda_param=0.2, **settings)
    take_weights(moved, conv)
    assert not torch.allclose(moved(x), conv(x))


BAD: dict[str, tuple[dict[str, Any], str]] = {
    "stride": ({"stride": 0}, "stride=0 must be"),
    "one-stride": ({"stride": (1, 0)}, "stride=0 must be"),
    "strides": ({"stride": (1, 2, 3)}, r"stride=\(1, 2, 3\) must be one number, or 2"),
    "padding": ({"padding": -1}, "padding=-1 must be"),
    "padding-word": ({"padding": "full"}, "padding='full' must be whole numbers or 'same'"),
    "same": ({"padding": "same"}, "padding='same' fits a window; give its window_size"),
    "mode": ({"padding_mode": "mirror"}, "padding_mode='mirror' is not one of zeros, reflect"),
    "wide": ({"padding_mode": "reflect", "padding": 9}, "padding=9 with padding_mode='reflect' is too wide"),
    "window": ({"window_size": 0}, "window_size=0 must be"),
    "large": ({"window_size": 9, "padding": 0}, r"window_size=\(9, 9\) with dilation=\(1, 1\) does not fit"),
    "dilation": ({"dilation": 2}, "dilation=2 spreads the positions of a window"),
    "groups": ({"groups": 3}, "groups=3 must divide the 4 and 8 channels"),
    "coordinates": ({"groups": 4, "aggregation_type": "Loc_Col"}, "groups=4 must divide the 6 and 8 channels"),
    "K": ({"similarity_type": "Window", "K": 8}, "K=8 must be 9, the positions of a 3x3 window"),
    "samples": (
        {"similarity_type": "Window", "sampling_type": "random", "num_samples": 9},
        "num_samples=9 must be -1 with similarity_type='Window'",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_geometry_is_refused_by_name_and_value(name: str) -> None:
    settings, message = BAD[name]
    with pytest.raises(InputError, match=message):
        cnn.ConvNN2d(4, 8, **settings)(torch.randn(1, 4, 6, 6))


@pytest.mark.parametrize("mode", cnn.PADDING_MODES)
@pytest.mark.parametrize("size", [(1, 4), (2, 3), (3, 3)])
def test_padding_is_refused_exactly_where_torch_cannot_continue_the_map(mode: str, size: tuple[int, int]) -> None:
    x = torch.randn(1, 2, *size)
    for padding in (0, 1, 2, 3, (0, 3), (3, 0)):
        grid = cnn.Grid(padding=padding, padding_mode=mode)
        rows, columns = padding if isinstance(padding, tuple) else (padding, padding)
        try:
            sides = [columns, columns, rows, rows]
            expected = F.pad(x, sides, mode="constant" if mode == "zeros" else mode) if any(sides) else x
        except RuntimeError:
            with pytest.raises(InputError, match=f"padding_mode='{mode}' is too wide for a map of"):
                grid.pad(x)
        else:
            assert torch.equal(grid.pad(x), expected)


@pytest.mark.parametrize("mode", cnn.PADDING_MODES)
@pytest.mark.parametrize("widened", [False, True])
def test_no_memory_is_not_called_bad_padding(mode: str, widened: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    def pad(*_: Any, **__: Any) -> Tensor:
        raise torch.OutOfMemoryError("no room for the padding")

    grid = cnn.Grid(3, padding=1, padding_mode=mode)
    grid = grid.widened((3, 3), reach=1) if widened else grid
    monkeypatch.setattr(F, "pad", pad)
    with pytest.raises(torch.OutOfMemoryError, match="no room for the padding"):
        grid.pad(torch.zeros(1, 2, 4, 4))


def test_a_map_that_no_memory_holds_is_not_called_bad_padding() -> None:
    with pytest.raises(RuntimeError, match="overflow"):
        cnn.Grid(padding=2**61).pad(torch.zeros(1, 2, 4))


@pytest.mark.parametrize("mode", ["reflect", "replicate", "circular"])
def test_an_empty_map_cannot_be_continued(mode: str) -> None:
    for grid in (cnn.Grid(3, padding_mode=mode), cnn.Grid(3, padding_mode=mode).widened((3, 3), reach=2)):
        with pytest.raises(InputError, match="too wide for a map of"):
            grid.pad(torch.zeros(1, 2, 0, 4))

"""SKFlow and its parts: definitions, sizes, gradients, inference form, and that it learns."""

from functools import partial

import pytest
import torch
from torch import Tensor, nn

from convnn import merge, replace_layers
from convnn.errors import InputError
from convnn.models import list_models, own_loss_of
from convnn.models.flow import SKFlow, skflow
from convnn.models.flow._correlation import convex_upsample, correlation_pyramid, grid_of, look_up
from convnn.models.flow._parts import SimilarityAttention

SMALL = partial(
    SKFlow,
    hidden=8,
    context=6,
    features=8,
    widths=(4, 6, 8),
    levels=2,
    radius=1,
    k_conv=(1, 5),
    update_k_conv=(1, 3),
    correlation_widths=(8, 6),
    flow_widths=(6, 4),
    mask_width=8,
    max_side=12,
)


def _images(count: int = 2, height: int = 32, width: int = 40) -> tuple[Tensor, Tensor]:
    first, second = 255 * torch.rand(2, count, 3, height, width)
    return first, second


def test_the_number_of_parameters_is_the_published() -> None:
    with torch.device("meta"):
        network = skflow()
    assert sum(one.numel() for one in network.parameters()) == 6_273_149
    assert sum(one.numel() for one in network.attention.parameters()) == 114_432
    assert "6,273,149 parameters" in skflow.__doc__


def test_similarities_are_scaled_inner_products_and_their_means() -> None:
    first, second = torch.randn(2, 2, 3, 4, 5, dtype=torch.double)
    fine, coarse = correlation_pyramid(first, second, 2)
    assert fine.shape == (40, 1, 4, 5)
    assert coarse.shape == (40, 1, 2, 2)
    of_position = fine.view(2, 4, 5, 4, 5)[1, 2, 3]
    torch.testing.assert_close(of_position, torch.einsum("c,chw->hw", first[1, :, 2, 3], second[1]) / 3**0.5)
    torch.testing.assert_close(coarse.view(2, 4, 5, 2, 2)[1, 2, 3, 1, 0], of_position[2:, :2].mean())


def test_looked_up_are_the_positions_around_the_place_with_x_outside() -> None:
    volume = torch.randn(6, 1, 2, 3, dtype=torch.double)  # of six positions to six
    flow = torch.tensor([1.0, 0.0], dtype=torch.double).view(1, 2, 1, 1)
    places = grid_of(torch.zeros(1, 1, 2, 3, dtype=torch.double)) + flow
    found = look_up([volume], places, 1)
    for row in range(2):
        for column in range(3):
            of_position = volume[3 * row + column, 0]
            expected = [
                of_position[row + b, column + 1 + a] if 0 <= row + b < 2 and 0 <= column + 1 + a < 3 else 0.0
                for a in (-1, 0, 1)
                for b in (-1, 0, 1)
            ]
            torch.testing.assert_close(found[0, :, row, column], torch.tensor(expected, dtype=torch.double))


def test_between_positions_similarities_are_interpolated_also_on_a_map_of_one() -> None:
    volume = torch.tensor([[2.0, 4.0]], dtype=torch.double).view(1, 1, 1, 2)
    place = torch.tensor([0.25, 0.0], dtype=torch.double).view(1, 2, 1, 1)
    torch.testing.assert_close(look_up([volume], place, 0).item(), 2.5)
    torch.testing.assert_close(look_up([volume[..., :1]], place, 0).item(), 1.5)


def test_an_enlarged_flow_is_a_mean_of_neighbours() -> None:
    flow = torch.randn(1, 2, 3, 4, dtype=torch.double)
    of_middle = torch.zeros(1, 9, 64, 3, 4, dtype=torch.double)
    of_middle[:, 4] = 100
    expected = 8 * flow.repeat_interleave(8, dim=2).repeat_interleave(8, dim=3)
    torch.testing.assert_close(convex_upsample(flow, of_middle.flatten(1, 2)), expected)
    of_right = torch.zeros(1, 9, 64, 3, 4, dtype=torch.double)
    of_right[:, 5] = 100
    torch.testing.assert_close(convex_upsample(flow, of_right.flatten(1, 2))[..., :24], expected[..., 8:])


def test_scores_of_distances_are_those_of_the_definition() -> None:
    attention = SimilarityAttention(3, 2, positions=True, max_side=4).double()
    context = torch.randn(1, 3, 2, 3, dtype=torch.double)
    query, key = attention.query_key(context)[0].chunk(2)
    scores = torch.empty(2, 3, 2, 3, dtype=torch.double)
    for x, y, u, v in torch.cartesian_prod(*map(torch.arange, (2, 3, 2, 3))).tolist():
        by_place = attention.relative_height.weight[u - x + 3] + attention.relative_width.weight[v - y + 3]
        scores[x, y, u, v] = query[:, x, y] @ (key[:, u, v] + by_place) / 2**0.5
    torch.testing.assert_close(attention(context)[0], scores.view(6, 6).softmax(-1))


@pytest.mark.parametrize(("height", "width"), [(16, 16), (32, 40), (35, 23)])
def test_images_of_any_size_give_a_finite_flow(height: int, width: int) -> None:
    flow = SMALL().eval()(*_images(2, height, width), iterations=2)
    assert flow.shape == (2, 2, height, width)
    assert flow.isfinite().all()


def test_training_returns_the_flows_of_all_iterations() -> None:
    network, images = SMALL(), _images()
    flows = network(*images, iterations=3)
    assert [flow.shape for flow in flows] == 3 * [(2, 2, 32, 40)]
    network.eval()
    low, full = network.estimate(*images, iterations=3)
    assert low.shape == (2, 2, 4, 5)
    assert torch.equal(network(*images, iterations=3), full)
    assert torch.equal(network(*images, iterations=3, initial=torch.zeros_like(low)), full)
    assert not torch.equal(network(*images, iterations=3, initial=low), full)


def test_gradients_reach_every_parameter() -> None:
    network = SMALL(positions=True)
    sum(flow.square().mean() for flow in network(*_images(), iterations=2)).backward()
    assert [key for key, one in network.named_parameters() if one.grad is None] == []
    assert all(one.grad.isfinite().all() for one in network.parameters())
    usual = SMALL()
    sum(flow.square().mean() for flow in usual(*_images(), iterations=2)).backward()
    unused = ["attention.relative_height.weight", "attention.relative_width.weight"]
    assert [key for key, one in usual.named_parameters() if one.grad is None] == unused


def test_the_merged_network_computes_the_same() -> None:
    network = SMALL().double().eval()
    for part in network.modules():
        if isinstance(part, nn.BatchNorm2d):
            part.running_var.uniform_(0.5, 1.5)
            part.running_mean.normal_(std=0.3)
    report, images = merge(network), [one.double() for one in _images()]
    assert {part.old for part in report.merged} == {"ResidualConv", "Conv2d and BatchNorm2d"}
    flow = network(*images, iterations=2)
    assert flow.dtype == torch.double
    torch.testing.assert_close(report.model(*images, iterations=2), flow, rtol=0, atol=1e-9)


@pytest.mark.parametrize("layer", ["ConvNN", lambda i, o: nn.Conv2d(i, o, 3, padding=1)])
def test_any_layer_on_maps_can_stand_for_the_super_kernels(layer: object) -> None:
    network = SMALL(layer=layer).eval()
    assert not any(type(part).__name__ == "SuperKernel2d" for part in network.modules())
    assert network(*_images(), iterations=1).shape == (2, 2, 32, 40)


def test_its_convolutions_can_be_replaced() -> None:
    network = SMALL().eval()
    assert replace_layers(network, "ConvNN", K=2).replaced
    assert network(*_images(), iterations=1).shape == (2, 2, 32, 40)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"layer": "Attention"}, "layer='Attention' reads tokens"),
        ({"widths": (4, 6)}, r"widths=\(4, 6\) must be 3 positive integers"),
        ({"hidden": 2}, "hidden=2 must be an integer of at least 3"),
        ({"levels": 0}, "levels=0 must be an integer of at least 1"),
        ({"radius": -1}, "radius=-1 must be an integer of at least 0"),
        ({"correlation_widths": (8,)}, r"correlation_widths=\(8,\) must be 2 positive integers"),
        ({"k_conv": (1, 4)}, "k_conv=4 must be odd"),
    ],
)
def test_bad_arguments_are_named(settings: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        SMALL(**settings)


def test_bad_images_are_named() -> None:
    network, (first, second) = SMALL(positions=True).eval(), _images()
    with pytest.raises(InputError, match="iterations=0 must be an integer of at least 1"):
        network(first, second, iterations=0)
    with pytest.raises(InputError, match=r"second images, \(1, 3, 32, 40\) of .*, must be like the first, \(2, 3, 32"):
        network(first, second[:1])
    with pytest.raises(InputError, match=r"second images, .*float64, must be like the first, .*float32"):
        network(first, second.double())
    with pytest.raises(InputError, match="images of 32x15 pixels must have at least 16 along each side"):
        network(first[..., :15], second[..., :15])
    with pytest.raises(InputError, match="images of 32x15 pixels must have at least 16 along each side"):
        SMALL(levels=1)(first[..., :15], second[..., :15])
    with pytest.raises(InputError, match=r"images of torch.uint8 must be floating; pass images.float\(\)"):
        network(first.byte(), second.byte())
    with pytest.raises(InputError, match=r"initial of shape \(2, 2, 32, 40\) must be \(2, 2, 4, 5\)"):
        network(first, second, initial=torch.zeros(2, 2, 32, 40))
    with pytest.raises(InputError, match=r"positions=True serves maps of sides up to 12, .*; these have 2x13"):
        network(*_images(1, 16, 104))


def test_it_is_no_classifier() -> None:
    found = list_models("skflow*")
    assert found
    assert all(own_loss_of(name) is not None for name in found)


@pytest.mark.long
def test_its_loss_falls_on_shifted_noise() -> None:
    torch.manual_seed(0)
    noise = torch.nn.functional.interpolate(255 * torch.rand(8, 3, 10, 10), scale_factor=4, mode="bilinear")
    directions = [1, 1, -1, 1, -1, -1, 1, -1]
    moved = torch.stack([one.roll(4 * to, 2) for one, to in zip(noise, directions, strict=True)])
    truth = torch.tensor([[4.0 * to, 0.0] for to in directions]).view(8, 2, 1, 1)
    network, losses = SMALL(), []
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-2)
    for _ in range(25):
        loss = (network(noise, moved, iterations=2)[-1] - truth).abs().mean()
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.5 * losses[0]


@pytest.mark.long
def test_a_training_step_compiles_as_one_graph() -> None:
    network, images = SMALL().double(), [one.double() for one in _images()]
    network(*images, iterations=2)[-1].square().mean().backward()
    expected = [one.grad.clone() for one in network.parameters() if one.grad is not None]
    network.zero_grad()
    torch.compile(network, fullgraph=True, backend="aot_eager")(*images, iterations=2)[-1].square().mean().backward()
    torch.testing.assert_close([one.grad for one in network.parameters() if one.grad is not None], expected)


class _Stacked(nn.Module):
    """A network of flow as one with a single input: both images, one after the other along the channels."""

    def __init__(self, network: SKFlow) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Tensor:
        return self.network(*images.chunk(2, dim=1), iterations=2)


@pytest.mark.long
def test_it_can_be_exported(tmp_path) -> None:
    pytest.importorskip("onnxscript")
    from convnn.export import export_onnx

    error = export_onnx(_Stacked(SMALL().eval()), tmp_path / "network.onnx", torch.cat(_images(), dim=1))
    assert error is None or error < 1e-3

"""Networks that learn motion by a loss of their own: losses by their definitions, geometry, layers, and learning."""

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from convnn.data.motions import make_motion
from convnn.errors import InputError
from convnn.models import create_model, list_models, own_loss_of
from convnn.models.flow._motion import flow_to, motion_figures, true_targets
from convnn.models.flow.matchers import _enlarged
from convnn.nn.matches.batch import ImagePairs, check_pairs, stack_pairs, still_pairs
from convnn.ops.matches import cell_centers

SMALL = {"skflow_s": {"width": 0.2, "iterations": 2}, "chm": {"width": 0.3}, "dkm": {"width": 0.3}}
NAMES = [name for name in list_models() if own_loss_of(name) is not None and own_loss_of(name).data == "image pairs"]


def pairs_of(count: int = 2, side: int = 32) -> ImagePairs:
    generator = torch.Generator().manual_seed(5)
    return stack_pairs([make_motion(side, generator) for _ in range(count)], side, side)


def linear_pairs(height: int, width: int) -> tuple[ImagePairs, Tensor]:
    """Return a pair whose flow is linear in the place of a pixel, and the matrix."""
    matrix = torch.tensor([[0.1, -0.2], [0.05, 0.15]])
    row, column = torch.meshgrid(torch.arange(height) + 0.5, torch.arange(width) + 0.5, indexing="ij")
    places = torch.stack([column - width / 2, row - height / 2])
    still = still_pairs(1, height, width)
    return still._replace(flow=torch.einsum("ij,jhw->ihw", matrix, places).unsqueeze(0)), matrix


def test_all_names_are_here() -> None:
    assert set(NAMES) == {"skflow", *SMALL}


def test_figures_are_means_over_the_known_pixels() -> None:
    pairs = pairs_of()
    found = pairs.flow + torch.randn(pairs.flow.shape, generator=torch.Generator().manual_seed(0))
    figures = motion_figures(found, pairs)
    for one in range(2):
        known = pairs.known[one].numpy()
        errors = np.hypot(*(found - pairs.flow)[one].numpy())[known]
        assert figures["epe"][one].item() == pytest.approx(errors.mean(), rel=1e-5)
        for pixels in (1, 3):
            assert figures[f"within@{pixels}"][one].item() == pytest.approx((errors < pixels).mean(), rel=1e-5)
    assert motion_figures(pairs.flow, pairs)["epe"].tolist() == [0, 0]


def test_the_loss_of_skflow_counts_later_iterations_more() -> None:
    network = create_model("skflow_s", width=0.2, iterations=3).eval()
    pairs = pairs_of()
    flows = network.network.flows(pairs.first, pairs.second, iterations=3)
    wanted = 0.0
    for number, flow in enumerate(flows):
        for one in range(2):
            apart = (flow - pairs.flow)[one, :, pairs.known[one]].abs().sum(0).mean()
            wanted += 0.8 ** (2 - number) * apart.item()
    assert network(pairs).terms["sequence"].item() == pytest.approx(wanted, rel=1e-5)
    torch.testing.assert_close(network.find(pairs.first, pairs.second), flows[-1])


@pytest.mark.parametrize("size", [(32, 32), (24, 40)])
def test_targets_of_cells_and_the_flow_between_them_are_exact_where_motion_is_linear(size: tuple[int, int]) -> None:
    pairs, _ = linear_pairs(*size)
    inside = (slice(None), slice(None), slice(4, -4), slice(4, -4))
    cells = 0.8 * cell_centers(torch.empty(1, 1, 7, 6))
    targets, known = true_targets(cells, pairs)
    assert known.all()
    nodes = torch.stack(torch.meshgrid(torch.linspace(-0.8, 0.8, 6), torch.linspace(-0.8, 0.8, 7), indexing="xy"))
    steps = true_targets(nodes.unsqueeze(0), pairs)[0] - nodes
    torch.testing.assert_close(_enlarged(steps, nodes.unsqueeze(0), size)[inside], pairs.flow[inside])
    half = torch.tensor([size[1] / 2, size[0] / 2]).reshape(1, 2, 1, 1)
    wanted = torch.einsum("ij,bjhw->bihw", torch.tensor([[0.1, -0.2], [0.05, 0.15]]), cells * half)
    torch.testing.assert_close(half * (targets - cells), wanted)
    own = cell_centers(torch.empty(1, 1, *size))
    torch.testing.assert_close(flow_to(true_targets(own, pairs)[0]), pairs.flow, atol=1e-5, rtol=1e-5)


def test_a_cell_is_known_where_all_pixels_around_it_are() -> None:
    pairs, _ = linear_pairs(16, 16)
    pairs.known[:, :, 8:] = False
    known = true_targets(cell_centers(torch.empty(1, 1, 4, 4)), pairs)[1][0]
    assert known.tolist() == [[True, True, False, False]] * 4


def test_the_loss_of_hough_matching_is_the_squared_distance_of_places() -> None:
    torch.manual_seed(0)
    network, pairs = create_model("chm", **SMALL["chm"]), pairs_of()
    targets, cells = network._targets(pairs)
    wanted, known = true_targets(cells, pairs)
    loss = sum((targets - wanted)[one, :, known[one]].square().sum(0).mean().item() for one in range(2))
    assert network(pairs).terms["places"].item() == pytest.approx(loss, rel=1e-4)
    assert cells.amax() == pytest.approx(1 - 1 / 4)  # the middle of the last of four cells


def test_the_loss_of_regression_leaves_out_cells_that_were_far_off() -> None:
    torch.manual_seed(0)
    network, pairs = create_model("dkm", **SMALL["dkm"]).eval(), pairs_of()
    places, certainties, far = 0.0, 0.0, None
    for stride, targets, certainty in network._warps(pairs.first, pairs.second):
        wanted, known = true_targets(cell_centers(targets), pairs)
        apart = (targets - wanted).norm(dim=1)
        near = known
        if far is not None:
            enlarged = (
                far
                if far.shape == apart.shape
                else F.interpolate(far[:, None], targets.shape[2:], mode="bilinear")[:, 0]
            )
            near = known & (enlarged < 4 * stride)
        places += sum(apart[i][near[i]].mean().item() if near[i].any() else 0.0 for i in range(2))
        share = certainty.squeeze(1).sigmoid().double()
        certainties -= 0.01 * torch.where(known, share.log(), (1 - share).log()).mean((1, 2)).sum().item()
        far = apart * 32 / 2  # pixels, of square images of 32
    terms = network(pairs).terms
    assert terms["places"].item() == pytest.approx(places, rel=1e-4)
    assert terms["certainty"].item() == pytest.approx(certainties, rel=1e-4)
    assert network.certainty_of(pairs.first, pairs.second).shape == (2, 32, 32)


@pytest.mark.parametrize("name", SMALL)
def test_no_pairs_are_none_and_all_parameters_learn(name: str) -> None:
    network = create_model(name, **SMALL[name])
    answer = network(still_pairs(0, 32, 32))
    assert sum(answer.terms.values()).item() == 0
    assert answer.figures["epe"].shape == (0,)
    sum(network(pairs_of()).terms.values()).backward()
    assert all(p.grad is not None for p in network.parameters() if p.requires_grad)


@pytest.mark.parametrize("name", SMALL)
def test_terms_are_sums_and_sides_are_free(name: str) -> None:
    network = create_model(name, **SMALL[name]).double().eval()
    pairs = ImagePairs(*(one.double() if one.is_floating_point() else one for one in pairs_of()))
    both = network(pairs)
    alone = [network(ImagePairs(*(part[i : i + 1] for part in pairs))) for i in range(2)]
    for term, value in both.terms.items():
        torch.testing.assert_close(value, sum(one.terms[term] for one in alone))
    odd = torch.rand(2, 1, 3, 35, 41, dtype=torch.double)
    assert network.find(*odd).shape == (1, 2, 35, 41)
    assert network.find(*odd).dtype == torch.double


@pytest.mark.slow
@pytest.mark.parametrize(("name", "steps"), [("skflow_s", 12), ("chm", 15), ("dkm", 12)])
def test_it_learns(name: str, steps: int) -> None:
    torch.manual_seed(0)
    network, pairs = create_model(name, **SMALL[name]), pairs_of(1)
    optimizer = torch.optim.AdamW(network.parameters(), 5e-3)
    errors = []
    for _ in range(steps):
        answer = network(pairs)
        optimizer.zero_grad()
        sum(answer.terms.values()).backward()
        optimizer.step()
        errors.append(answer.figures["epe"].item())
    assert errors[-1] < 0.8 * errors[0]


def test_any_layer_stands_in_skflow_and_its_own_has_the_kernels_of_its_place() -> None:
    network = create_model("skflow_s", "ConvNN", K=3, width=0.2, iterations=1)
    assert type(network.network.update).__name__ == type(network.network.flow_head).__name__ == "ConvNN2d"
    assert "K=3" in network.network.update.extra_repr()
    own = create_model("skflow_s", width=0.2, k_conv="3,5").network
    assert (own.update.k_conv, own.flow_head.k_conv) == ((1, 7), (3, 5))
    with torch.device("meta"):
        published = create_model("skflow")
    assert sum(one.numel() for one in published.parameters()) == 6_273_149


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"second": torch.zeros(1, 3, 32, 30)}, "first of shape .* must both be"),
        ({"flow": torch.zeros(1, 1, 32, 32)}, "flow of shape .* must be"),
        ({"known": torch.ones(1, 32, 32)}, "known of torch.float32 must be bool"),
        ({"first": torch.zeros(1, 3, 32, 32, dtype=torch.uint8)}, "floating"),
    ],
)
def test_what_are_no_pairs(change: dict[str, Tensor], message: str) -> None:
    with pytest.raises(InputError, match=message):
        check_pairs(still_pairs(1, 32, 32)._replace(**change))


@pytest.mark.parametrize("name", SMALL)
def test_images_that_are_too_small_and_inputs_that_are_none(name: str) -> None:
    network = create_model(name, **SMALL[name])
    with pytest.raises(InputError, match="images of 8x8 pixels"):
        network(still_pairs(1, 8, 8))
    with pytest.raises(InputError, match=r"inputs of type Tensor must be convnn\.nn\.matches\.batch\.ImagePairs"):
        network(torch.zeros(1, 3, 32, 32))


def test_settings_out_of_range() -> None:
    with pytest.raises(InputError, match="iterations=0 must be"):
        create_model("skflow_s", iterations=0)
    with pytest.raises(InputError, match="k_conv=4 must be odd"):
        create_model("skflow_s", k_conv="4")
    with pytest.raises(InputError, match="must be odd"):
        create_model("chm", kernel_size=2)

"""Preconditioning, the loss of scene graphs and the overlap of boxes, against identities, loops and torchvision."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torchvision import ops

from convnn.errors import InputError
from convnn.objectives.boxes import iou_regulariser
from convnn.objectives.denoising import draw_noise_levels, edm_scaling, edm_weight, noise_like, scene_graph_loss
from convnn.ops.dense_graphs import DenseGraphs

FLAGS = torch.tensor([[True, True, True], [True, False, False]])
SIGMA = torch.tensor([0.05, 2.0], dtype=torch.float64)


def _graphs(seed: int) -> DenseGraphs:
    generator = torch.Generator().manual_seed(seed)
    settings = {"generator": generator, "dtype": torch.float64}
    graphs = DenseGraphs(torch.randn(2, 2, 3, 3, **settings), torch.randn(2, 3, 6, **settings))
    graphs.nodes[..., 4:] = graphs.nodes[..., 4:].sigmoid() - 1
    return graphs.masked(FLAGS)


def test_input_and_target_of_the_network_have_one_size_and_errors_one_weight() -> None:
    c, q = edm_scaling(SIGMA, 0.7), SIGMA.square() + 0.49
    torch.testing.assert_close(c.into.square() * q, torch.ones(2).double())
    target = (
        (1 - c.skip).square() * 0.49 + c.skip.square() * SIGMA.square()
    ) / c.out.square()  # variance of F's target
    torch.testing.assert_close(target, torch.ones(2).double())
    torch.testing.assert_close(edm_weight(SIGMA, 0.7) * c.out.square(), torch.ones(2).double())
    torch.testing.assert_close((4 * c.noise).exp(), SIGMA)


def test_levels_are_log_normal_and_noise_is_where_nodes_are() -> None:
    levels = draw_noise_levels(torch.zeros(20000, 1).double(), generator=torch.Generator().manual_seed(0)).log()
    assert levels.mean() == pytest.approx(-1.2, abs=0.03)
    assert levels.std() == pytest.approx(1.2, abs=0.03)
    noise = noise_like(_graphs(0), FLAGS)
    assert noise.adjacency[1, :, 1:].eq(0).all()
    assert noise.nodes[1, 1:].eq(0).all()
    assert noise.adjacency[0, 0, 0, 1] != noise.adjacency[0, 0, 1, 0]


def test_the_gradient_of_overlap_has_one_size_at_every_little_noise_but_not_as_published() -> None:
    clean = _graphs(0)
    error = torch.zeros_like(clean.nodes)
    error[..., 2:4] = 0.1 * FLAGS.unsqueeze(2)  # of the network: boxes lie to the right and below
    sizes = []
    for level in (1e-3, 1e-4):
        sigma, out = torch.full((2,), level).double(), error.clone().requires_grad_()
        nodes = clean.nodes + edm_scaling(sigma).out.view(2, 1, 1) * out
        for power in (0.5, 1):
            found = scene_graph_loss(DenseGraphs(clean.adjacency, nodes), clean, FLAGS, sigma, iou_power=power)
            (gradient,) = torch.autograd.grad((found.weight * found.boxes).sum(), out, retain_graph=True)
            sizes.append(gradient.norm().item())
    assert sizes[2] == pytest.approx(sizes[0], rel=0.01)
    assert sizes[3] == pytest.approx(10 * sizes[1], rel=0.01)


def _overlap_by_torchvision(predicted: Tensor, clean: Tensor) -> Tensor:
    boxes = [ops.box_convert((one + 1) / 2, "cxcywh", "xyxy").clamp(0, 1) for one in (predicted, clean)]
    return ops.box_iou(*boxes).diag()


def _in_loops(denoised: DenseGraphs, clean: DenseGraphs, weight: float) -> Tensor:
    total = 0
    for b in range(2):
        n = int(FLAGS[b].sum())
        w = (SIGMA[b] ** 2 + 0.25) / (SIGMA[b] / 2) ** 2
        edges = (denoised.adjacency[b, :, :n, :n] - clean.adjacency[b, :, :n, :n]).square().sum() / (2 * n * n)
        nodes = (denoised.nodes[b, :n] - clean.nodes[b, :n]).square().sum() / (6 * n)
        shared = _overlap_by_torchvision(denoised.nodes[b, :n, 2:], clean.nodes[b, :n, 2:])
        total = total + w * (edges + nodes - weight * shared.square().sum() / n) / 2
    return total


def test_the_loss_is_that_of_loops_with_its_gradients() -> None:
    denoised, clean = _graphs(1), _graphs(0)
    leaves = [part.requires_grad_() for part in denoised]
    ours = scene_graph_loss(denoised, clean, FLAGS, SIGMA, iou_weight=0.3, iou_power=1)
    theirs = _in_loops(denoised, clean, 0.3)
    torch.testing.assert_close(ours.total, theirs, rtol=0, atol=1e-10)
    for a, b in zip(*(torch.autograd.grad(one, leaves) for one in (ours.total, theirs)), strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-10)
    without = scene_graph_loss(denoised, clean, FLAGS, SIGMA, iou="none")
    torch.testing.assert_close(without.total, _in_loops(denoised, clean, 0.0), rtol=0, atol=1e-10)


def test_a_graph_counts_the_same_in_any_batch_but_not_as_published() -> None:
    boxes, clean = (_graphs(seed).nodes[..., 2:] for seed in (1, 0))
    twice = [torch.cat([one, one]) for one in (boxes, clean, FLAGS)]
    for over, factor in (("graph", 1), ("batch", 2)):
        once = iou_regulariser(boxes, clean, FLAGS, over=over)
        torch.testing.assert_close(iou_regulariser(*twice, over=over)[:2] * factor, once)


@pytest.mark.parametrize(
    ("kind", "loss"),
    [
        ("giou", ops.generalized_box_iou_loss),
        ("diou", ops.distance_box_iou_loss),
        ("ciou", ops.complete_box_iou_loss),
    ],
)
def test_other_overlaps_are_torchvisions(kind: str, loss: Callable[..., Tensor]) -> None:
    boxes, clean = (_graphs(seed).nodes[..., 2:] for seed in (1, 0))
    edges = [ops.box_convert((one + 1) / 2, "cxcywh", "xyxy").clamp(0, 1) for one in (boxes, clean)]
    expected = torch.stack([loss(edges[0][b, :n], edges[1][b, :n], reduction="mean") for b, n in ((0, 3), (1, 1))])
    torch.testing.assert_close(iou_regulariser(boxes, clean, FLAGS, kind), expected)


def test_boxes_without_area_overlap_in_nothing() -> None:
    boxes = torch.tensor([[[0.0, 0.0, -1.0, -1.0]]])
    assert iou_regulariser(boxes, boxes, torch.tensor([[True]])).item() == 0
    assert iou_regulariser(boxes + 1, boxes + 1, torch.tensor([[True]])).item() == -1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"sigma": torch.tensor([0.1, 0.0])}, "sigma=0.0 must be above 0"),
        ({"sigma": torch.ones(3)}, r"sigma of shape \(3,\) must be \(2,\), a level for each graph"),
        ({"flags": FLAGS.long()}, r"flags of shape \(2, 3\) and torch.int64 must be \(2, 3\) and bool"),
        ({"flags": FLAGS & torch.tensor([[True], [False]])}, r"flags\[1\] has no node; leave that graph out"),
        ({"iou": "iuo"}, "iou='iuo' is not one of iou, giou, diou, ciou; did you mean 'iou'"),
        ({"iou_weight": -1.0}, "iou_weight=-1.0 must be at least 0"),
        ({"iou_power": -1.0}, "iou_power=-1.0 must be at least 0"),
        ({"over": "all"}, "over='all' is not one of graph, batch"),
        ({"sigma_data": 0.0}, "sigma_data=0.0 must be a positive number"),
        (
            {"denoised": DenseGraphs(torch.ones(2, 2, 3, 3), torch.ones(2, 3, 5))},
            r"denoised nodes of shape \(2, 3, 5\)",
        ),
        ({"clean": DenseGraphs(torch.ones(2, 2, 3, 4), torch.ones(2, 3, 6))}, r"adjacency of shape \(2, 2, 3, 4\)"),
    ],
)
def test_bad_input_is_named(change: dict, message: str) -> None:
    given = {"denoised": _graphs(1), "clean": _graphs(0), "flags": FLAGS, "sigma": SIGMA} | change
    with pytest.raises(InputError, match=message):
        scene_graph_loss(**given)

"""Unrolled proximal steps, against proximal steps by automatic differentiation and their closed form."""

import pytest
import torch
from torch import Tensor

from convnn.data.geometric import import_geometric
from convnn.errors import InputError
from convnn.graphs.build import (
    GDN,
    GDNLayer,
    best_threshold,
    edge_hinge,
    edge_nse,
    edge_se,
    to_edge_index,
    upper_triangle,
)


def graphs(*shape: int, seed: int = 0, density: float = 0.4) -> Tensor:
    """Return adjacency matrices (*shape, N) of 0 and 1, shape ending in N, without loops."""
    generator = torch.Generator().manual_seed(seed)
    upper = (torch.rand(*shape, shape[-1], generator=generator) < density).double().triu(1)
    return upper + upper.mT


def scaled(observed: Tensor) -> Tensor:
    return observed / torch.linalg.eigvalsh(observed).abs().amax(-1)[..., None, None]


def numbers(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def step_of(alpha: float, beta: float, w: float, tau: float) -> GDNLayer:
    """Return the layer of one channel with these coefficients."""
    layer = GDNLayer(1, 1, normalize=False).double()
    with torch.no_grad():
        for parameter, value in ((layer.alpha, alpha), (layer.beta, beta), (layer.weight[:, 1], w), (layer.tau, tau)):
            parameter.fill_(value)
    return layer


def proximal(a: Tensor, observed: Tensor, h: list[float], s: float, lam: float, kept: Tensor | float = 0) -> Tensor:
    """Return a proximal step on the objective, by automatic differentiation; `kept` is added to what is moved."""
    a = a.detach().requires_grad_()
    powers = [torch.eye(a.shape[0], dtype=a.dtype), a, a @ a]
    fit = (observed - sum(c * p for c, p in zip(h, powers, strict=False))).square().sum() / 2
    moved = a - s * torch.autograd.grad(fit, a)[0] + kept
    return (moved.fill_diagonal_(0) - s * lam).relu().detach()


def test_of_a_linear_polynomial_it_is_the_proximal_step_and_converges_to_the_closed_form() -> None:
    observed = numbers(6, 6)
    observed = observed + observed.T
    h0, h1, s, lam = 0.3, 0.8, 0.5, 0.1
    layer, a = step_of(1 - s * h1**2, 0, s * h1, s * lam), graphs(6)
    ours = layer(a[None, None], observed[None])[0, 0]
    torch.testing.assert_close(ours, proximal(a, observed, [h0, h1], s, lam), rtol=0, atol=1e-15)
    with torch.no_grad():
        for _ in range(150):
            a = layer(a[None, None], observed[None])[0, 0]
    expected = ((h1 * observed - lam) / h1**2).relu().fill_diagonal_(0)
    torch.testing.assert_close(a, expected, rtol=0, atol=1e-14)


def test_of_a_quadratic_polynomial_it_leaves_out_the_higher_powers_alone() -> None:
    a = graphs(6) * numbers(1, 1, seed=3).abs()
    h0, h1, h2, s, lam = 0.2, 0.5, 0.6, 0.05, 0.1
    observed = h0 * torch.eye(6) + h1 * graphs(6, seed=1) + h2 * graphs(6, seed=1) @ graphs(6, seed=1)
    layer = step_of(1 - s * (h1**2 + 2 * h0 * h2), s * h2, s * h1, s * lam)
    dropped = s * (3 * h1 * h2 * a @ a + 2 * h2**2 * a @ a @ a)
    expected = proximal(a, observed, [h0, h1, h2], s, lam, dropped)
    torch.testing.assert_close(layer(a[None, None], observed[None])[0, 0], expected, rtol=0, atol=1e-15)
    assert expected.any()


@pytest.mark.parametrize("normalize", [True, False])
def test_layer_in_loops(normalize: bool) -> None:
    torch.manual_seed(0)
    layer, observed = GDNLayer(3, 2, 4, normalize=normalize, tau_scale=0.1).double(), scaled(graphs(2, 5))
    s = numbers(2, 3, 5, 5)
    out = layer(s, observed)
    for b in range(2):
        t = [torch.eye(5, dtype=torch.float64), observed[b]]
        t += [2 * observed[b] @ observed[b] - t[0]]
        t += [2 * observed[b] @ t[2] - t[1]]
        t += [2 * observed[b] @ t[3] - t[2]]
        for o in range(2):
            z = torch.zeros(5, 5, dtype=torch.float64)
            for i in range(3):
                z = z + layer.alpha[o, i] * s[b, i]
                z = z + layer.beta[o, i] * (s[b, i] @ observed[b] + observed[b] @ s[b, i])
                z = z + sum(layer.weight[o, k, i] * t[k] for k in range(5))
            z = (z / 3) * (1 - torch.eye(5))
            z = z / z.abs().max() if normalize else z
            torch.testing.assert_close(out[b, o], (z - layer.tau[o]).relu())


def test_gradients() -> None:
    torch.manual_seed(0)
    layer, observed = GDNLayer(2, 2, 3, normalize=False, tau_scale=0.1).double(), scaled(graphs(2, 4))
    assert torch.autograd.gradcheck(layer, (numbers(2, 2, 4, 4).requires_grad_(), observed.requires_grad_()))
    out = layer(numbers(2, 2, 4, 4), observed)
    of_weight = torch.autograd.grad(out.square().sum(), layer.weight)[0]
    assert not of_weight[:, 0].any(), "the diagonal is masked"
    assert of_weight[:, 1:].all()
    with torch.no_grad():
        layer.weight[:, 0] += 5
    torch.testing.assert_close(layer(numbers(2, 2, 4, 4), observed), out, rtol=0, atol=1e-14)


def test_the_divisor_carries_no_gradient() -> None:
    """What is divided by the largest entry, 4, moves by a quarter of each entry, the largest too."""
    others = 1 - torch.eye(4, dtype=torch.float64)
    s = (others * numbers(4, 4).abs()).index_fill(0, torch.tensor([1]), 4)[None, None].requires_grad_()
    step_of(1, 0, 0, 0)(s, graphs(1, 4), normalize=True).sum().backward()
    assert s.grad is not None
    torch.testing.assert_close(s.grad[0, 0], others / 4, rtol=0, atol=1e-11)


def test_a_permutation_of_the_nodes_permutes_the_scores() -> None:
    torch.manual_seed(0)
    model, observed, order = GDN(3, 2, 2, tau_scale=0.1).double(), scaled(graphs(2, 7)), torch.randperm(7)
    moved = model(observed[:, order][:, :, order])
    torch.testing.assert_close(moved, model(observed)[:, order][:, :, order], rtol=0, atol=1e-14)
    torch.testing.assert_close(moved, moved.mT, rtol=0, atol=1e-14)
    assert moved.any()


def test_one_layer_ranks_pairs_as_the_observed_graph_does() -> None:
    observed = numbers(6, 6).abs()
    observed = observed + observed.T
    model = GDN(1, 1).double()
    with torch.no_grad():
        model.clamp_(0)
    scores = upper_triangle(model(observed))
    assert torch.equal(scores.argsort(), upper_triangle(observed).argsort())


def test_network_is_its_layers_and_the_mean_over_channels() -> None:
    torch.manual_seed(0)
    for share in (False, True):
        model, observed = GDN(3, 2, 2, share=share, tau_scale=0.1).double(), scaled(graphs(2, 6))
        prior = graphs(6, seed=5) / 2
        s = prior.expand(2, model.in_channels, 6, 6)
        for i in range(3):
            s = model.layers[0 if share else i](s, observed, normalize=i < 2)
        torch.testing.assert_close(model(observed, prior), s.mean(1))
        torch.testing.assert_close(model(observed, upper_triangle(prior)), s.mean(1))
        torch.testing.assert_close(model(observed[0], prior), s[0].mean(0))
        assert model(scaled(graphs(9))).shape == (9, 9)
    assert len(model.layers) == 1


def test_first_parameters() -> None:
    assert sum(p.numel() for p in GDN(8, 8).parameters()) == 1888
    torch.manual_seed(0)
    layer = GDNLayer(30, 40, 3, tau_scale=0.1)
    torch.testing.assert_close(layer.tau, 0.1 * torch.linspace(0.01, 0.9, 40))
    for parameter, mean in ((layer.alpha, 1), (layer.beta, 0), (layer.weight[:, 2:], 0)):
        assert abs(parameter.mean().item() - mean) < 0.05
        assert abs(parameter.std().item() - 1 / 3) < 0.05
    assert (layer.weight[:, 1] == 1).all()
    fixed = GDNLayer(1, 1, learn_tau=False)
    assert [name for name, _ in fixed.named_parameters()] == ["alpha", "beta", "weight"]
    torch.testing.assert_close(fixed.tau, torch.tensor([0.01]))


def test_losses_in_loops() -> None:
    scores, labels = numbers(3, 6).abs(), upper_triangle(graphs(3, 4))
    hinge = squares = relative = 0.0
    for of_graph, y_of_graph in zip(scores.tolist(), labels.tolist(), strict=True):
        pairs = list(zip(of_graph, y_of_graph, strict=True))
        hinge += sum(max(0, 0.75 - s) if y else max(0, s - 0.25) for s, y in pairs) / 3
        squares += sum((s - y) ** 2 for s, y in pairs) / 3
        relative += sum((s - y) ** 2 for s, y in pairs) / sum(y_of_graph) / 3
    assert edge_hinge(scores, labels).item() == pytest.approx(hinge)
    assert edge_se(scores, labels).item() == pytest.approx(squares)
    assert edge_nse(scores, labels).item() == pytest.approx(relative)
    off = torch.where(labels > 0, 0.5 - scores, scores - 0.5).clamp_min(0)
    torch.testing.assert_close(edge_hinge(scores, labels, margin=0.5), off.sum() / 3)


def test_best_threshold_has_the_fewest_errors() -> None:
    scores, labels = numbers(2, 30).abs(), upper_triangle(graphs(2, 9))[:, :30]
    found = best_threshold(scores, labels, count=50)
    errors = {
        t: ((scores > t) != (labels > 0)).sum().item() for t in torch.linspace(scores.min(), scores.max(), 50).tolist()
    }
    assert ((scores > found) != (labels > 0)).sum().item() == min(errors.values())
    assert best_threshold(labels, labels) == 0


def test_edges_are_those_of_pytorch_geometric() -> None:
    scores = graphs(3, 5) * numbers(3, 5, 5).abs()
    utils = import_geometric("utils")
    for one in (scores, scores[1]):
        edges, weights = utils.dense_to_sparse(one * (one > 0.5))
        found = to_edge_index(one, 0.5)
        assert torch.equal(found[0], edges)
        assert torch.equal(found[1], weights)


def test_training_lowers_the_loss() -> None:
    latent = graphs(30, 10, density=0.3)
    observed = scaled(0.2 * torch.eye(10) + 0.5 * latent + 0.6 * latent @ latent)
    labels = upper_triangle(latent)
    torch.manual_seed(0)
    model = GDN(4, 1, tau_scale=0.1).double()
    with torch.no_grad():
        for layer in model.layers:
            layer.alpha.fill_(1)
            layer.beta.fill_(-0.1)
    optimizer, losses = torch.optim.Adam(model.parameters(), 0.02), []
    for _ in range(60):
        loss = edge_hinge(upper_triangle(model(observed)), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        model.clamp_()
        losses.append(loss.item())
    assert losses[-1] < 0.8 * losses[0]
    assert all(bool((0 <= layer.tau).all() & (layer.tau <= 0.99).all()) for layer in model.layers)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: GDN(0, 1), "depth=0"),
        (lambda: GDN(1, 0), "channels=0"),
        (lambda: GDN(1, 1, 0), "order=0"),
        (lambda: GDNLayer(1, 1, tau_scale=2), "tau_scale=2"),
        (lambda: GDN(1, 1)(torch.ones(2, 3)), r"observed of shape \(2, 3\)"),
        (lambda: GDN(1, 1)(torch.ones(3)), r"observed of shape \(3,\)"),
        (lambda: GDN(1, 1)(torch.ones(2, 2, dtype=torch.long)), "must be floating"),
        (lambda: GDN(1, 1)(torch.tensor([[0.0, 1], [2, 0]])), "observed must be symmetric; it differs .* 1.0e[+]00"),
        (lambda: GDN(1, 1)(torch.full((2, 2), torch.inf)), "observed must be finite"),
        (lambda: GDN(1, 1)(torch.ones(3, 3), torch.ones(4)), r"\(3, 3\) or have 3 entries, not 4"),
        (lambda: GDN(1, 1)(torch.ones(3, 3), torch.ones(2, 2)), "not 1"),
        (lambda: GDN(1, 1)(torch.ones(2, 2), torch.tensor([[0.0, 1], [2, 0]])), "prior must be symmetric"),
        (lambda: GDNLayer(2, 1)(torch.ones(1, 1, 3, 3), torch.ones(1, 3, 3)), r"must be \(1, 2, 3, 3\)"),
        (lambda: step_of(1, 0, 1, -0.1)(torch.ones(1, 1, 2, 2), torch.ones(1, 2, 2)), "tau has -0.1"),
        (lambda: edge_hinge(torch.ones(2, 3), torch.ones(2, 4)), r"labels of shape \(2, 4\)"),
        (lambda: edge_hinge(torch.ones(2, 3), torch.ones(2, 3), margin=1), "margin=1"),
        (lambda: edge_nse(torch.ones(2, 3), torch.tensor([[0, 0, 1], [0, 0, 0]])), r"labels\[1\] has no edge"),
        (lambda: best_threshold(torch.ones(2, 3), torch.ones(2, 3), count=0), "count=0"),
        (lambda: to_edge_index(torch.ones(2, 3), 0.5), r"scores of shape \(2, 3\)"),
    ],
)
def test_bad_input(call, message: str) -> None:
    with pytest.raises(InputError, match=message):
        call()

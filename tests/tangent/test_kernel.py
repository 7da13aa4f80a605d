"""Tests of tangent kernels: Jacobians of torch.func, closed forms, cuts of the work, and networks of any layer."""

import warnings

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call, jacrev, vmap
from torch.nn import functional as F

from convnn.errors import InputError, UnsupportedError
from convnn.models import create_model
from convnn.nn import layer_factory, list_layers
from convnn.tangent import Projection, layered_kernels, tangent_features, tangent_jacobian, tangent_kernel
from convnn.tangent.kernel import KINDS
from pairwise import each, only


class Mean(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.flatten(2).mean(2)


class Shared(nn.Module):
    """A linear map that is used twice, another one whose weight is used beside it, and a parameter without use."""

    def __init__(self) -> None:
        super().__init__()
        self.twice = nn.Linear(4, 4)
        self.beside = nn.Linear(4, 3)
        self.plain = nn.Linear(3, 2)
        self.unused = nn.Parameter(torch.ones(5))

    def forward(self, x: Tensor) -> Tensor:
        hidden = self.beside(self.twice(self.twice(x).tanh()).tanh())
        return self.plain(hidden) + self.beside.weight.square().sum() * x[:, :2]


def convolutions() -> nn.Module:
    """Make a network in which every activation overwrites its input."""
    head = (nn.Flatten(), nn.Linear(3 * 20, 6), nn.ReLU(inplace=True), nn.Linear(6, 3))
    return nn.Sequential(nn.Conv2d(2, 3, 3, padding=1), nn.BatchNorm2d(3), nn.ReLU(inplace=True), *head)


NETWORKS = {
    "convolutions": (convolutions, (2, 4, 5)),
    "shared": (Shared, (4,)),
    "tokens": (lambda: nn.Sequential(nn.Linear(4, 5), nn.GELU(), nn.Linear(5, 2), nn.Flatten()), (3, 4)),
    "no axis of outputs": (lambda: nn.Sequential(nn.Linear(4, 1), nn.Flatten(0)), (4,)),
}


def made(name: str) -> tuple[nn.Module, Tensor, Tensor]:
    """Return a network in float64 in evaluation mode, and five and three inputs."""
    torch.manual_seed(0)
    make, shape = NETWORKS[name]
    return make().double().eval(), torch.randn(5, *shape).double(), torch.randn(3, *shape).double()


def jacobian(model: nn.Module, x: Tensor) -> dict[str, Tensor]:
    """Return the Jacobian by name, (N, O, P_l), by torch.func."""
    parameters = {name: p.detach() for name, p in model.named_parameters() if p.requires_grad}
    rows = vmap(jacrev(lambda some, one: functional_call(model, some, (one[None],)).flatten()), (None, 0))
    return {name: one.flatten(2) for name, one in rows(parameters, x).items()}


@each(name=NETWORKS, megabytes=(256, 4e-3, 3e-4), chunk=(1, 2))
def test_kernels_are_products_of_the_jacobian_however_the_work_is_cut(name: str, megabytes: float, chunk: int) -> None:
    model, x, y = made(name)
    ours = {kind: tangent_kernel(model, x, y, kind, megabytes=megabytes, chunk=chunk) for kind in KINDS[:4]}
    first, second = (jacobian(model, one) for one in (x, y))
    layers = {key: torch.einsum("nop,mop->nm", first[key], second[key]) for key in first}
    full = sum(torch.einsum("nop,mqp->nmoq", first[key], second[key]) for key in first)
    assert list(ours["layers"]) == [key for key, _ in model.named_parameters()]
    torch.testing.assert_close(ours["layers"], layers)
    torch.testing.assert_close(ours["full"], full)
    torch.testing.assert_close(ours["trace"], sum(layers.values()))
    torch.testing.assert_close(ours["sum_of_logits"], full.sum((2, 3)) / full.shape[2])


def test_a_linear_model_has_inner_products_and_one() -> None:
    x = torch.randn(6, 4, dtype=torch.float64)
    model = nn.Linear(4, 1).double()
    torch.testing.assert_close(tangent_kernel(model, x, kind="trace"), x @ x.T + 1)
    several = nn.Linear(4, 3, bias=False).double()
    torch.testing.assert_close(tangent_kernel(several, x, kind="sum_of_logits"), x @ x.T)
    identity = torch.eye(3, dtype=torch.float64)
    torch.testing.assert_close(tangent_kernel(several, x), (x @ x.T)[:, :, None, None] * identity)


class Tied(nn.Module):
    """A linear map whose weight is used beside it."""

    def __init__(self) -> None:
        super().__init__()
        self.map = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.map(x.tanh()) + F.linear(x, self.map.weight)


def test_a_weight_used_twice_has_both_gradients_even_if_they_are_0_for_the_first_sample() -> None:
    model, x = Tied().double(), torch.randn(4, 4).double()
    x[0] = 0
    whole = torch.cat(list(jacobian(model, x).values()), 2)
    expected = torch.einsum("nop,mop->nm", whole, whole)
    torch.testing.assert_close(tangent_kernel(model, x, kind="trace"), expected)


def test_inference_mode_around_it_changes_nothing() -> None:
    model, x = nn.Linear(3, 2), torch.randn(4, 3)
    expected = tangent_kernel(model, x, kind="trace")
    with torch.inference_mode():
        assert torch.equal(tangent_kernel(model, x, kind="trace"), expected)
    assert expected.diagonal().min() >= 2


def test_frozen_parameters_do_not_count_and_nothing_of_the_network_changes() -> None:
    model, x, _ = made("convolutions")
    model[4].bias.requires_grad_(False)
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with torch.no_grad():
        layers = tangent_kernel(model, x, kind="layers")
    assert "4.bias" not in layers
    assert list(layers) == list(tangent_jacobian(model, x)) == [n for n, p in model.named_parameters() if n in layers]
    torch.testing.assert_close(dict(model.state_dict()), before)
    assert [p.requires_grad for p in model.parameters()] == [name != "4.bias" for name, _ in model.named_parameters()]
    assert all((parameter.grad == 1).all() for parameter in model.parameters())
    assert not any(part._forward_hooks for part in model.modules())


def test_in_training_mode_a_warning_says_that_it_is_that_of_evaluation() -> None:
    model, x, _ = made("convolutions")
    expected = tangent_kernel(model, x, kind="trace")
    model[1].train()
    with pytest.warns(UserWarning, match="is in training mode"):
        found = tangent_kernel(model, x, kind="trace")
    torch.testing.assert_close(found, expected)
    assert [part.training for part in model] == [place == 1 for place in range(len(model))]
    linear = nn.Linear(4, 2).train()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        tangent_kernel(linear, torch.randn(2, 4))  # nothing in it depends on the mode
    assert linear.training


def test_cosines_are_of_the_gradients_and_0_where_there_is_none() -> None:
    model, x, y = made("convolutions")
    kernel, own, other = (tangent_kernel(model, *pair, kind="trace") for pair in ((x, y), (x, x), (y, y)))
    lengths = own.diagonal().sqrt()[:, None] * other.diagonal().sqrt()
    torch.testing.assert_close(tangent_kernel(model, x, y, "trace", normalize=True), kernel / lengths)
    for one in tangent_kernel(model, x, kind="layers", normalize=True).values():
        torch.testing.assert_close(one.diagonal(), torch.ones(5).double())
    dead = nn.Sequential(nn.Linear(2, 3, bias=False), nn.ReLU(), nn.Linear(3, 1, bias=False))
    zeros = tangent_kernel(dead, torch.tensor([[0.0, 0], [1, 2]]), kind="trace", normalize=True)
    assert zeros[0].tolist() == [0, 0]
    projected = tangent_kernel(dead, torch.zeros(2, 2), kind="projected", projection=4, normalize=True)
    assert projected.tolist() == [[0, 0], [0, 0]]


@each(of=("trace", "sum_of_logits"), kind=("rademacher", "normal"), megabytes=(256, 4e-3, 4e-4))
def test_projections_are_products_with_one_matrix(of: str, kind: str, megabytes: float) -> None:
    model, x, y = made("convolutions")
    rows = torch.cat(list(jacobian(model, x).values()), 2)
    rows = rows if of == "trace" else rows.sum(1, keepdim=True) / 3**0.5
    projection = Projection(7, kind, seed=3)
    matrix = projection.rows(0, rows.shape[2], rows)
    found = tangent_features(model, x, projection, of=of, megabytes=megabytes)
    torch.testing.assert_close(found, rows @ matrix / 7**0.5)
    torch.testing.assert_close(tangent_features(model, x, matrix, of=of), found)
    estimate = tangent_kernel(model, x, y, "projected", projection=projection, of=of)
    others = tangent_features(model, y, projection, of=of)
    torch.testing.assert_close(estimate, torch.einsum("nok,mok->nm", found, others))


@pytest.mark.parametrize("kind", ["rademacher", "normal"])
def test_rows_of_a_projection_are_the_same_wherever_they_are_cut(kind: str) -> None:
    like = torch.zeros(1, dtype=torch.float64)
    projection = Projection(11, kind, seed=5)
    whole = projection.rows(0, 9000, like)
    assert whole.shape == (9000, 11)
    assert projection.rows(4000, 8200, like).equal(whole[4000:8200])
    assert not Projection(11, kind, seed=6).rows(0, 9000, like).equal(whole)
    assert abs(whole.mean()) < 0.02
    assert (whole.T @ whole / 9000 - torch.eye(11)).abs().max() < 0.06
    assert kind == "normal" or set(whole.unique().tolist()) == {-1, 1}


def test_estimates_by_projections_are_unbiased_and_come_closer_with_the_root_of_columns() -> None:
    model, x, _ = made("shared")
    exact = tangent_kernel(model, x, kind="trace")

    def estimates(dim: int) -> Tensor:
        return torch.stack([tangent_kernel(model, x, kind="projected", projection=Projection(dim, seed=seed))
                            for seed in range(60)])  # fmt: skip

    few, many = estimates(4), estimates(36)
    assert (many.mean(0) - exact).norm() < 0.08 * exact.norm()
    ratio = (few - exact).square().mean().sqrt() / (many - exact).square().mean().sqrt()
    assert 2 < ratio < 4.5  # 3 by the law


USUAL = ("ConvNN", "Branching", "ConvNN_Attn", "RepLK")
"""Layers whose kernel every run looks at; those of the others are in the long run."""


@pytest.mark.parametrize("layer", only(lambda name: name in USUAL, list_layers("maps")))
def test_every_layer_has_a_kernel_with_its_own_gradients_and_under_vmap(layer: str) -> None:
    torch.manual_seed(0)
    parts = (nn.Conv2d(1, 8, 1), layer_factory(layer)(8, 8), nn.BatchNorm2d(8), nn.ReLU(inplace=True))
    model = nn.Sequential(*parts, Mean(), nn.Linear(8, 2)).eval()
    x = torch.randn(3, 1, 12, 12)
    ours = tangent_kernel(model, x, kind="trace")
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="There is a performance drop")  # in PyTorch's attention
        mapped = tangent_kernel(model, x, kind="trace", chunk=2)
    torch.testing.assert_close(ours, mapped, rtol=1e-4, atol=1e-4 * ours.abs().max().item())
    assert (ours.diagonal() > 0).all()


@pytest.mark.parametrize(("name", "layer"), [("resnet18", "ConvNN"), ("vit_tiny", "ConvNNAttention")])
def test_networks_of_ours_are_mapped_by_torch_func(name: str, layer: str) -> None:
    settings = {"num_layers": 1, "patch_size": 4, "K": 3} if name.startswith("vit") else {"K": 3}
    model = create_model(name, layer, width=0.0625, **settings).eval()
    x = torch.randn(2, 3, 8, 8)
    kernel = tangent_kernel(model, x, kind="trace")
    torch.testing.assert_close(tangent_kernel(model, x, kind="trace", chunk=2), kernel, rtol=1e-3, atol=1e-3)


class Counting(nn.Module):
    """A network that `vmap` cannot map: what it does depends on the numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(2, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(x) * (1 if x.sum() > 0 else 2)


class Deciding(nn.Module):
    """A network that uses its linear map as often as the second number says."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(2, 2)
        self.last = nn.Linear(2, 1)

    def forward(self, x: Tensor) -> Tensor:
        times = int(x[0, 1])
        for _ in range(times):
            x = self.linear(x)
        return self.last(input=x)


def test_a_map_that_only_some_samples_use_has_their_gradients_and_several_uses_are_refused() -> None:
    model, x = Deciding().double(), torch.tensor([[1.0, 1], [2, 0]]).double()
    rows = torch.cat([one.flatten(1) for one in tangent_jacobian(model, x).values()], 1)
    torch.testing.assert_close(tangent_kernel(model, x, kind="trace"), rows @ rows.T)
    with pytest.raises(UnsupportedError, match=r"uses linear\.weight once for the first sample and 2 times for"):
        tangent_kernel(model, torch.tensor([[1.0, 1], [1, 2]]).double())


def test_a_network_that_cannot_be_mapped_says_so_and_goes_one_by_one() -> None:
    x = torch.tensor([[1.0, 2], [-3, 1]])
    with pytest.warns(UserWarning, match=r"chunk=2 is out of reach for Counting.* one by one"):
        found = tangent_kernel(Counting(), x, kind="trace", chunk=2)
    scale = torch.tensor([1.0, 2])
    torch.testing.assert_close(found, 2 * scale * scale[:, None] * (x @ x.T + 1))


@each(name=("tanh", "relu", "softplus"), bias=(True, False), outputs=(1, 3))
def test_the_explicit_form_is_that_of_gradients(name: str, bias: bool, outputs: int) -> None:
    activation = getattr(F, name)
    torch.manual_seed(0)
    layers = [nn.Linear(*pair, bias=bias).double() for pair in ((4, 7), (7, 5), (5, outputs))]
    layers[1].weight.requires_grad_(False)

    class Network(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layers = nn.ModuleList(layers)

        def forward(self, x: Tensor) -> Tensor:
            return layers[2](activation(layers[1](activation(layers[0](x)) / 7**0.5)) / 2)

    x = torch.randn(6, 4).double()
    found = layered_kernels(layers, x, activation, [7, 4])
    expected = tangent_kernel(Network(), x, kind="layers")
    assert {f"layers.{name}" for name in found} == set(expected)
    torch.testing.assert_close({f"layers.{name}": one for name, one in found.items()}, expected)


def test_the_explicit_form_takes_a_sequential() -> None:
    model = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2))
    x = torch.randn(5, 4)
    torch.testing.assert_close(sum(layered_kernels(model, x).values()), tangent_kernel(model, x, kind="trace"))


X = torch.zeros(2, 4)
LINEAR = nn.Linear(4, 3)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: tangent_kernel("net", X), "model=str must be a torch.nn.Module"),
        (lambda: tangent_kernel(LINEAR, X, kind="ful"), "kind='ful' is not one of full, .*; did you mean 'full'"),
        (lambda: tangent_kernel(LINEAR, X[:0]), r"x of shape \(0, 4\) must be a tensor \(N, ...\) of at least one"),
        (lambda: tangent_kernel(LINEAR, [1.0]), "x of type list must be a tensor"),
        (lambda: tangent_kernel(LINEAR, X, X[:, :3]), r"y of shape \(2, 3\) must have samples of shape \(4,\), as x"),
        (lambda: tangent_kernel(LINEAR, X, chunk=0), "chunk=0 must be an integer of at least 1"),
        (lambda: tangent_kernel(LINEAR, X, megabytes=0), "megabytes=0 must be a positive number"),
        (lambda: tangent_kernel(LINEAR, X, normalize=True), "normalize=True is for kernels"),
        (lambda: tangent_kernel(LINEAR, X, kind="trace", projection=3), "kind='trace' has no projection"),
        (lambda: tangent_kernel(LINEAR, X, kind="projected", of="full"), "of='full' is not one of trace"),
        (lambda: tangent_kernel(LINEAR, X, kind="projected", projection=16), "dim=16 must be at most 15"),
        (lambda: tangent_kernel(LINEAR, X, kind="projected", projection=0), "dim=0 must be an integer of at least 1"),
        (lambda: tangent_kernel(LINEAR, X, kind="projected", projection=X), r"projection of shape \(2, 4\) must be"),
        (lambda: tangent_kernel(LINEAR, X, kind="projected", projection="two"), "projection='two' must be"),
        (lambda: Projection(4, "uniform"), "kind='uniform' is not one of rademacher, normal"),
        (lambda: tangent_kernel(nn.Conv1d(2, 3, 1), torch.zeros(2, 2, 5)), r"output of shape \(1, 3, 5\) for 1 sample"),
        (lambda: tangent_kernel(nn.Flatten(0), X), "must have a parameter that requires gradients"),
        (lambda: tangent_kernel(nn.Sequential(LINEAR, nn.Flatten(0)), X), r"output of shape \(3,\) for 1 sample"),
        (lambda: layered_kernels([nn.ReLU()], X), r"layers\[0\]=ReLU must be a torch.nn.Linear"),
        (lambda: layered_kernels([], X), r"layers=\[\] must have"),
        (
            lambda: layered_kernels([LINEAR, LINEAR], X),
            r"layers\[1\] reads 4 features, but its input has shape \(2, 3\)",
        ),
        (lambda: layered_kernels([LINEAR], X, divisors=[1]), r"divisors=\[1\] must have 0 numbers"),
        (lambda: layered_kernels([LINEAR, nn.Linear(3, 1)], X, divisors=[0]), r"divisors\[0\]=0 must be positive"),
    ],
)
def test_bad_input_is_one_sentence(call, message: str) -> None:
    with pytest.raises(InputError, match=message) as error:
        call()
    assert "\n" not in str(error.value)

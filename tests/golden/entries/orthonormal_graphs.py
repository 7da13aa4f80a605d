"""Graph convolution with orthonormal weights (GCORN, arXiv 2404.17947), and the robustness of networks of graphs."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from convnn.nn import graphs
from golden.case import Case
from golden.entry import Entry

WEIGHT = "parametrizations.weight.original"
NAMES = {f"{conv}weight": f"{conv}lin.{WEIGHT}" for conv in ("conv1.", "conv2.")} | {"lin.lin": "lin"}
ACTIVATIONS = {"relu": F.relu, "tanh": torch.tanh}


def _settings(case: Case) -> dict[str, Any]:
    return case.pick(bjorck_order="order", bjorck_steps="iters", bjorck_beta="beta")


def _conv(case: Case) -> nn.Module:
    return graphs.GCORN(case.config["in_channels"], case.config["out_channels"], **_settings(case))


class _Activated(nn.Module):
    """The published layer ends in its activation."""

    def __init__(self, case: Case) -> None:
        super().__init__()
        name = case.config.get("activation", case.config.get("act", "relu"))
        self.conv, self.activation = _conv(case), ACTIVATIONS[name.lower()]

    def forward(self, x: Tensor, edge_index: Tensor) -> Tensor:
        return self.activation(self.conv(x, edge_index))


def _network(case: Case) -> nn.Module:
    config = case.config
    return graphs.GCORNNet(config["in_channels"], config["num_classes"], hidden=config["hidden"], **_settings(case))


@contextmanager
def _dropped(case: Case) -> Iterator[None]:
    """Drop what the published network dropped."""
    keep = case.tensors.get("dropout_keep")

    def dropout(x: Tensor, p: float, training: bool) -> Tensor:
        return x * keep / (1 - p) if training and keep is not None else x

    with mock.patch.object(F, "dropout", dropout):
        yield


def _iterations(case: Case) -> Callable[..., dict[str, Tensor]]:
    def call() -> dict[str, Tensor]:
        found = {}
        for name, options in case.config.items():
            w = case.tensors[f"{name}.w"].requires_grad_()
            out = graphs.bjorck(w, order=options["order"], steps=options["iters"], beta=options["beta"])
            (slope,) = torch.autograd.grad(out, w, case.tensors[f"{name}.grad_out"])
            found |= {f"{name}.out": out, f"{name}.grad_w": slope}
        return found

    return call


def _robustness(case: Case) -> Callable[..., dict[str, Tensor]]:
    eps, sigma = case.config["eps"], case.config["sigma"]

    def call(x: Tensor, edge_index: Tensor, normal: Tensor, uniform: Tensor) -> dict[str, Tensor]:
        changes = graphs.in_balls(normal, uniform, eps)
        found = {"delta": changes}
        for name in ("gcn", "gcorn"):
            weights = [case.tensors[f"{name}.W{layer}"] for layer in (1, 2)]
            convs = [graphs.GCORN(w.shape[1], w.shape[0]).double() for w in weights]
            for conv, weight in zip(convs, weights, strict=True):
                conv.lin = nn.Linear(*weight.T.shape, bias=False)
                conv.lin.weight.data = weight

            def embed(x: Tensor, edge_index: Tensor, convs: list[nn.Module] = convs) -> Tensor:
                return convs[1](convs[0](x, edge_index).relu(), edge_index).relu()

            moved = graphs.distances(embed, x, edge_index, changes)
            bound = graphs.robustness_bound(weights, edge_index, x.shape[0], eps=eps)
            found |= {
                f"{name}.distance": moved,
                f"{name}.risk": (moved > sigma).double().mean(),
                f"{name}.bound": bound,
            }
        return found

    return call


ENTRIES = {
    "GCORN ConvClass": Entry(
        _Activated,
        inputs=("x", "edge_index"),
        names={"weight": f"conv.lin.{WEIGHT}"},
        also=lambda ours, _: {"orthonormal_weight": ours.conv.lin.weight},
        aside=("adj",),
    ),
    "GCORN": Entry(_network, inputs=("x", "edge_index"), names=NAMES, draws=_dropped, aside=("adj",)),
    "Bjorck orthonormalisation": Entry(_iterations, inputs=()),
    "expected robustness": Entry(_robustness, inputs=("x", "edge_index", "normal", "uniform"), aside=("adj",)),
}

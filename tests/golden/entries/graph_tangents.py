"""Tangent kernels of networks on graphs, and on their limits (arXiv 2301.10808, 1905.13192)."""

from collections.abc import Callable, Mapping
from functools import partial

import torch
from torch import Tensor

from convnn.tangent import Covariances, gntk, gntk_of_graphs, gntk_spectrum
from convnn.tangent.graphs import Filter, after_layers
from golden.case import Case
from golden.entry import Entry


def _settings(case: Case) -> dict:
    if case.config["activation"] != "relu":
        raise ValueError(case.config["activation"])
    return {"layers": case.config["hidden_layers"], "taps": case.config["taps"]}


def _filters(case: Case) -> Callable[..., Mapping[str, Tensor]]:
    settings = _settings(case)
    if case.config["shift"].replace(" ", "") != "A/n":
        raise ValueError(case.config["shift"])

    def run(A: Tensor, x: Tensor) -> Mapping[str, Tensor]:
        x2 = next((case.tensors[name] for name in case.tensors if name.startswith("x") and name != "x"), None)
        found = gntk(A, x, x2, return_nngp=True, **settings)
        spectrum = {"eigenvalues_over_n": gntk_spectrum(found.tangent)} if x2 is None else {}
        return {"gntk": found.tangent, "nngp": found.features} | spectrum

    return run


def _graphon(case: Case) -> Callable[..., Mapping[str, Tensor]]:
    tangent = partial(gntk, **_settings(case))

    def run(template: Tensor, stochastic: Tensor, x_blocks: Tensor, measures: Tensor) -> Mapping[str, Tensor]:
        blocks = case.tensors["block_of_node"]
        x = x_blocks[blocks]
        values = torch.stack([template[(blocks == block).nonzero()[0, 0]] for block in range(len(measures))])
        values = torch.stack([values[:, (blocks == block).nonzero()[0, 0]] for block in range(len(measures))], 1)
        limit: Covariances = tangent(values * measures, x_blocks, normalization=None, return_nngp=True)
        drawn = tangent(stochastic, x)
        return {
            "graphon_blocks": values,
            "graphon_ntk_blocks": limit.tangent,
            "graphon_nngp_blocks": limit.features,
            "graphon_eigenvalues": gntk_spectrum(limit.tangent, measures),
            "gntk_template": tangent(template, x),
            "gntk_stochastic": drawn,
            "eig_stochastic_over_n": gntk_spectrum(drawn),
        }

    return run


def _between_graphs(case: Case) -> Callable[..., Mapping[str, Tensor]]:
    config = case.config
    layers, steps = config["num_layers"] - 1, config["num_mlp_layers"]
    is_plain = config["scale"] == "uniform"

    def run(A1: Tensor, x1: Tensor, A2: Tensor, x2: Tensor) -> Mapping[str, Tensor]:
        graphs = [(A + torch.eye(len(A), dtype=A.dtype) if is_plain else A, x) for A, x in ((A1, x1), (A2, x2))]
        settings = {"normalization": None if is_plain else "row"}

        def value(one: int, two: int) -> Tensor:
            of = partial(gntk_of_graphs, layers=layers, steps=steps, jumping=config["jk"], **settings)
            return 2 * of(*graphs[one], *graphs[two]).view(1)

        def deviations(graph: Tensor, x: Tensor) -> Tensor:
            """Return those before each activation, which are the same behind it."""
            aggregation = Filter(graph, x.shape[0], None, (1,), **settings)
            found = after_layers([x], [aggregation], layers, steps, "relu")
            return torch.cat([one.features.diagonal().sqrt().expand(steps, -1) for one in found])

        return {
            "gntk_11": value(0, 0),
            "gntk_12": value(0, 1),
            "gntk_22": value(1, 1),
            "diag1": deviations(*graphs[0]).view_as(case.tensors["diag1"]),
            "diag2": deviations(*graphs[1]).view_as(case.tensors["diag2"]),
        }

    return run


ENTRIES = {
    "gntk_filter": Entry(_filters, ("A", "x")),
    "graphon_ntk": Entry(_graphon, ("A_template", "A_stochastic", "x_blocks", "block_measure")),
    "gntk_du": Entry(
        _between_graphs,
        ("A1", "x1", "A2", "x2"),
        tolerance=1e-8,  # the published angles lose half of their digits near 0
    ),
}

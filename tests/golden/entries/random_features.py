"""Features of graphs by random walks: GRFs (arXiv 2305.00156) and u-GRFs (arXiv 2310.04859)."""

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from convnn.graphs.random_features import GraphRandomFeatures, deconvolved
from convnn.graphs.random_features.modulations import coefficients
from convnn.ops.halting import Visits
from convnn.ops.walks import Recorded
from golden.case import Case
from golden.entry import Entry, Refused

KINDS = {
    "d_regularised_1": "regularized_1",
    "d_regularised_2": "regularized_2",
    "p_step_rw_2": "random_walk_2",
    "diffusion": "diffusion",
    "cosine": "cosine",
}
"""Published names of kernels, and ours."""

SERIES = {
    "d_regularised_1": lambda k: 1,
    "d_regularised_2": lambda k: k + 1,
    "p_step_rw_2": lambda k: math.comb(2, k),
    "diffusion": lambda k: 1 / math.factorial(k),
    "cosine": lambda k: (-1) ** (k // 2) / math.factorial(k),
}
"""The power series of the kernels."""


def _features(case: Case) -> Mapping[str, Tensor]:
    return _laplacian(case) if "sigma2" in case.config else _universal(case)


def _fitted(case: Case, normalization: str, sigma2: float, *which: str) -> GraphRandomFeatures:
    """Return features whose sets of walks read these recorded numbers."""
    tensors, config = case.tensors, case.config
    reinforced = config.get("reinforced")
    if reinforced not in (None, "exp(-visits)"):
        raise Refused(f"reinforced={reinforced!r}: a function of visits that has no formula here")
    return GraphRandomFeatures(
        walks=config["walks"],
        p_halt=config["p_halt"],
        normalization=normalization,
        sigma2=sigma2,
        reinforcement=(lambda k: math.exp(-k)) if reinforced else None,
        random_state=Recorded(torch.cat([tensors[name] for name in which])),
    ).fit(tensors["W"])


def _walks(features: GraphRandomFeatures, case: Case) -> Mapping[str, Tensor]:
    """Return what the files say of each walk and step."""
    found = {}
    for which in ("", "2"):
        if f"walks{which}" not in case.tensors:
            continue
        nodes = torch.arange(features.n_nodes_)
        visits = features._walker(nodes, case.config["walks"], Recorded(case.tensors[f"uniforms{which}"]))
        shape = case.tensors[f"walks{which}"].shape
        found[f"walks{which}"] = _by_step(visits, visits.node, torch.full(shape, -1))
        moved = Visits(*(each[visits.step > 0] for each in visits))
        moved = moved._replace(step=moved.step - 1)
        if f"step_probability{which}" in case.tensors:
            empty = torch.zeros(case.tensors[f"step_probability{which}"].shape, dtype=torch.float64)
            found[f"step_probability{which}"] = _by_step(moved, moved.probability, empty)
    return found


def _by_step(visits: Visits, values: Tensor, empty: Tensor) -> Tensor:
    flat = empty.flatten(0, 1).index_put((visits.walk, visits.step), values)
    return flat.view_as(empty)


def _laplacian(case: Case) -> Mapping[str, Tensor]:
    tensors, sigma2 = case.tensors, case.config["sigma2"]
    features = _fitted(case, "laplacian", sigma2, "uniforms", "uniforms2")
    u, eye = torch.from_numpy(features.matrix_.toarray()), torch.eye(features.n_nodes_, dtype=torch.float64)
    inverse = torch.linalg.inv((1 + sigma2) * (eye - u))
    found = {
        "U": u,
        "features": features.transform().to_dense(),
        "features2": _fitted(case, "laplacian", sigma2, "uniforms2").transform().to_dense(),
        "gram_same_walks": features.kernel(independent=False),
        "kernel2": features.laplacian_kernel(2),
        "kernel1": features.kernel() @ (eye - u) / (1 + sigma2),
        "kernel1_exact": inverse,
        "kernel2_exact": inverse @ inverse,
    } | _walks(features, case)
    return found | ({"solve": features.solve(tensors["b"])} if "b" in tensors else {})


def _universal(case: Case) -> Mapping[str, Tensor]:
    features = _fitted(case, "adjacency", case.config["sigma"] ** 2, "uniforms", "uniforms2")
    u = torch.from_numpy(features.matrix_.toarray())
    found = {"U": u} | _walks(features, case)
    for kind in case.config["kinds"]:
        features.set_params(modulation=KINDS[kind])
        gram, alpha = features.kernel(independent=False), [SERIES[kind](k) for k in range(400)]
        exact = sum(each * u.matrix_power(k) for k, each in enumerate(alpha))
        named = coefficients(KINDS[kind], None, 12)
        found[f"modulation.{kind}"] = torch.nn.functional.pad(named, (0, 12 - named.shape[0]))
        torch.testing.assert_close(
            found[f"modulation.{kind}"], deconvolved(torch.tensor(alpha, dtype=torch.float64), 12)
        )
        found[f"features.{kind}"] = features.transform().to_dense()
        found[f"gram.{kind}"], found[f"gram2.{kind}"] = gram, features.kernel()
        found[f"exact.{kind}"] = exact
        found[f"error.{kind}"] = ((gram - exact).square().sum() / exact.square().sum()).reshape(1)
    return found


ENTRIES = {"grf": Entry(lambda case: lambda: _features(case), ())}

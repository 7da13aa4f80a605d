"""Surrogates of a network on traced and projected tangent kernels."""

import statistics
from itertools import pairwise

import torch
from torch import Tensor, nn

from claims._experiment import Outcome, spread
from claims._learn import digits, fit
from convnn.tangent import Projection, TangentSurrogate, faithfulness, tangent_kernel

SYSTEM = "Surrogates by trace and projected kernels"
CLAIM = "A linear model on the traced kernel follows a network more faithfully than on other kernels of it."
EXPERIMENT = (
    "scikit-learn's digits, 400 to learn from and 300 others, a network 64-32-32-10 with ReLU after 750 steps of"
    " AdamW on batches of 64: Kendall's tau between the probabilities of the true class of a surrogate and the network,"
    " its accuracy less the network's in points, and the error of a projected kernel as a share of the exact one. CK is"
    " the kernel of the last hidden features, Em that of all layers; projections have k columns of signs."
)
SEEDS = (0, 1, 2, 3, 4)
COLUMNS = (32, 128, 512)


def measure(seeds: list[int], quick: bool) -> Outcome:
    runs = [surrogates(seed, *((40, 10) if quick else (400, 750))) for seed in seeds]
    taus = {name: [one[name][0] for one in runs] for name in runs[0]}
    mean = {name: statistics.mean(found) for name, found in taus.items()}
    error = {name: statistics.mean(one[name][2] for one in runs) for name in taus}
    errors = [error[f"trace, k = {k}"] for k in COLUMNS]
    rows = [
        [name, spread(found, ".3f"), spread([one[name][1] for one in runs]), f"{error[name]:.3f}"]
        for name, found in taus.items()
    ]
    return Outcome(
        [["kernel", "tau", "accuracy less the network's", "error"], *rows],
        {
            "the trace is above the summed logits": mean["trace"] > mean["summed logits"],
            "the trace is above CK": mean["trace"] > mean["CK"],
            "the trace is above Em": mean["trace"] > mean["Em"],
            "four times the columns halve the error": all(1.6 < a / b < 2.6 for a, b in pairwise(errors)),
            "512 columns lose less than 0.03 of tau": mean["trace"] - mean["trace, k = 512"] < 0.03,
        },
    )


def surrogates(seed: int, count: int, steps: int) -> dict[str, tuple[float, float, float]]:
    x, y, z, truth = (part[: count if place < 2 else 300] for place, part in enumerate(digits()))
    x, z, kernels = x.flatten(1), z.flatten(1), {}
    model = fit(network, x, y, seed=seed, steps=steps)
    for name, of in (("trace", "trace"), ("summed logits", "sum_of_logits")):
        kernels[name] = cosines(model, x, z, kind=of)
        for k in COLUMNS:
            settings = {"kind": "projected", "of": of, "projection": Projection(k, seed=seed)}
            kernels[f"{name}, k = {k}"] = cosines(model, x, z, **settings)
    kernels |= {"CK": of_features(model, x, z, 1), "Em": of_features(model, x, z, 2)}
    with torch.no_grad():
        given = model(z).softmax(1)
    right, found = (given.argmax(1) == truth).double().mean().item(), {}
    for name, (own, across) in kernels.items():
        surrogate = TangentSurrogate(kernel="precomputed", random_state=seed).fit(own, y)
        exact, points = kernels[name.split(",")[0]][0], 100 * (surrogate.score(across, truth) - right)
        tau = faithfulness(surrogate.predict_proba(across), given, truth)
        found[name] = (tau, points, ((own - exact).norm() / exact.norm()).item())
    return found


def cosines(model: nn.Module, x: Tensor, z: Tensor, **settings: object) -> tuple[Tensor, Tensor]:
    return tuple(tangent_kernel(model, *pair, normalize=True, **settings) for pair in ((x,), (z, x)))


@torch.no_grad()
def of_features(model: nn.Sequential, x: Tensor, z: Tensor, last: int) -> tuple[Tensor, Tensor]:
    parts = (torch.cat([model[:2](one), model[:4](one)][-last:], 1) for one in (x, z))
    own, others = (nn.functional.normalize(one, dim=1) for one in parts)
    return own @ own.T, others @ own.T


def network() -> nn.Sequential:
    return nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 32), nn.ReLU(), nn.Linear(32, 10))

"""Surrogates of a network on traced and projected tangent kernels."""

import statistics
from itertools import pairwise

import torch
from torch import Tensor, nn

from claims._experiment import Outcome, spread
from claims._learn import digits
from convnn.tangent import Projection, TangentSurrogate, faithfulness, tangent_kernel

SYSTEM = "Surrogates by trace and projected kernels"
CLAIM = "A linear model on the traced kernel follows a network more faithfully than on other kernels of it."
EXPERIMENT = (
    "scikit-learn's digits, 400 to learn from and 300 others, a network 64-32-32-10 with ReLU after 60 epochs of"
    " stochastic gradients (rate 0.1, momentum 0.9, batches of 32): Kendall's tau between the probabilities of the true"
    " class of a surrogate and of the network, and its accuracy less the network's, in points. CK is the kernel of the"
    " last hidden features, Em that of all layers; projections have k signs a column. And the error of a projected"
    " kernel as a share of the exact one."
)
SEEDS = (0, 1, 2, 3, 4)
COLUMNS = (32, 128, 512)


def measure(seeds: list[int], quick: bool) -> Outcome:
    count, epochs = (40, 2) if quick else (400, 60)
    runs = [surrogates(seed, count, epochs) for seed in seeds]
    taus = {name: [one[name][0] for one in runs] for name in runs[0]}
    mean = {name: statistics.mean(found) for name, found in taus.items()}
    rows = [["kernel", "tau", "accuracy less the network's", "error"]]
    for name, found in taus.items():
        points = spread([one[name][1] for one in runs])
        error = statistics.mean(one[name][2] for one in runs)
        rows.append([name, spread(found, ".3f"), points, f"{error:.3f}" if error else ""])
    errors = [statistics.mean(one[f"trace, k = {k}"][2] for one in runs) for k in COLUMNS]
    return Outcome(
        rows,
        {
            "the trace is above the summed logits": mean["trace"] > mean["summed logits"],
            "the trace is above CK": mean["trace"] > mean["CK"],
            "the trace is above Em": mean["trace"] > mean["Em"],
            "four times the columns halve the error": all(1.6 < a / b < 2.6 for a, b in pairwise(errors)),
            "512 columns lose less than 0.03 of tau": mean["trace"] - mean["trace, k = 512"] < 0.03,
        },
    )


def surrogates(seed: int, count: int, epochs: int) -> dict[str, tuple[float, float, float]]:
    x, y, z, truth = (part[: count if place < 2 else 300] for place, part in enumerate(digits()))
    x, z = x.flatten(1), z.flatten(1)
    model = trained(x, y, seed, epochs)
    kernels: dict[str, tuple[Tensor, Tensor]] = {}
    for name, of in (("trace", "trace"), ("summed logits", "sum_of_logits")):
        kernels[name] = cosines(model, x, z, kind=of)
        for k in COLUMNS:
            projection = Projection(k, seed=seed)
            kernels[f"{name}, k = {k}"] = cosines(model, x, z, kind="projected", of=of, projection=projection)
    kernels |= {"CK": of_features(model, x, z, 1), "Em": of_features(model, x, z, 2)}
    with torch.no_grad():
        network = model(z).softmax(1)
    right, found = (network.argmax(1) == truth).double().mean(), {}
    for name, (own, across) in kernels.items():
        surrogate = TangentSurrogate(kernel="precomputed", random_state=seed).fit(own, y)
        points = 100 * (surrogate.score(across, truth) - right.item())
        exact = kernels[name.split(",")[0]][0]
        tau = faithfulness(surrogate.predict_proba(across), network, truth)
        found[name] = (tau, points, ((own - exact).norm() / exact.norm()).item())
    return found


def cosines(model: nn.Module, x: Tensor, z: Tensor, **settings: object) -> tuple[Tensor, Tensor]:
    return tuple(tangent_kernel(model, *pair, normalize=True, **settings) for pair in ((x,), (z, x)))


@torch.no_grad()
def of_features(model: nn.Sequential, x: Tensor, z: Tensor, last: int) -> tuple[Tensor, Tensor]:
    own, others = (torch.cat([model[:2](one), model[:4](one)][-last:], 1) for one in (x, z))
    own, others = (one / one.norm(dim=1, keepdim=True).clamp_min(1e-12) for one in (own, others))
    return own @ own.T, others @ own.T


def trained(x: Tensor, y: Tensor, seed: int, epochs: int) -> nn.Module:
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 32), nn.ReLU(), nn.Linear(32, 10))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    for _ in range(epochs):
        for batch in torch.randperm(len(x)).split(32):
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(x[batch]), y[batch]).backward()
            optimizer.step()
    return model.eval()

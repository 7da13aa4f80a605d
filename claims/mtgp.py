"""MTGP: latent functions that interact tell more about a task that is unknown in places."""

import numpy as np
import torch

from claims._experiment import Outcome, is_above, spread
from convnn.learners import Latents, MultitaskGPRegressor, Posterior

SYSTEM = "Multi-task Gaussian process with interactions"
CLAIM = "Interactions between latent functions, and between their weights, help tasks to learn from each other."
EXPERIMENT = (
    "Two tasks drawn from a process whose two latent functions interact, at 30 random points of an interval of 6, with"
    " noise of variance 0.02; the first loses all points above 3. Mean squared error there, as a share of the variance,"
    " and the negative logarithm of the likelihood of what is known: with the parameters of the draw, and learned from"
    " 3 starts of 60 steps; against latent functions that do not interact, and each task alone."
)
SEEDS = tuple(range(8))
TRUE = Latents(*(torch.tensor(values, dtype=torch.double) for values in (
    [[[1.0], [0.6]], [[0.8], [-1.0]]], [[0.5], [0.65]], [[0.12], [0.15]]
)))  # fmt: skip
NOISE = torch.full((2,), 0.02, dtype=torch.double)
COUNT, BOUND = 30, 3.0


def measure(seeds: list[int], quick: bool) -> Outcome:
    steps, draws = 5 if quick else 60, [drawn(seed) for seed in seeds]
    ways = {"interactions": True, "no interactions": False}
    true = {name: [given(*draw, on) for draw in draws] for name, on in ways.items()}
    pairs = {name: [fitted(*draw, steps, on) for draw in draws] for name, on in ways.items()}
    errors, losses = ({name: [pair[i] for pair in found] for name, found in pairs.items()} for i in (0, 1))
    alone = [fitted(x, y[:, :1], lost, steps, False)[0] for x, y, lost in draws]
    rows = [["latent functions", "error with the true parameters", "with learned ones", "loss of what is known"]]
    rows += [[n, spread(true[n], ".2f"), spread(errors[n], ".2f"), spread(losses[n])] for n in ways]
    rows.append(["the first task alone", "", spread(alone, ".2f"), ""])
    on, off = ways
    return Outcome(rows, {
        "with the true parameters, interactions lower the error": is_above(true[off], true[on]),
        "learned ones do so, too": is_above(errors[off], errors[on]),
        "they explain what is known better": is_above(losses[off], losses[on]),
        "the other task helps": is_above(alone, errors[on]),
    })  # fmt: skip


def drawn(seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return points (N, 1), values (N, 2), and which of the first task are lost (N,)."""
    random = np.random.default_rng(seed)
    x = random.uniform(0, 6, COUNT)
    places, task = torch.from_numpy(np.tile(x, 2)[:, None]), torch.arange(2).repeat_interleave(COUNT)
    gram = TRUE.kernel(places, task, places, task) + NOISE[task].diag()
    values = torch.linalg.cholesky(gram).numpy() @ random.normal(size=2 * COUNT)
    return x[:, None], values.reshape(2, COUNT).T, x > BOUND


def given(x: np.ndarray, y: np.ndarray, lost: np.ndarray, interactions: bool) -> float:
    """Return the error with the parameters of the draw."""
    point, task = (~np.stack([lost, np.zeros_like(lost)], 1)).nonzero()
    known = (torch.from_numpy(values) for values in (x[point], task, y[point, task]))
    posterior = Posterior.of(TRUE._replace(interactions=interactions), NOISE, *known)
    mean = posterior.at(torch.from_numpy(x[lost]), torch.zeros(int(lost.sum())).long())[0]
    return share(mean.numpy(), y[lost, 0])


def fitted(x: np.ndarray, y: np.ndarray, lost: np.ndarray, steps: int, interactions: bool) -> tuple[float, float]:
    """Return error and loss of learned parameters."""
    known = np.where(np.stack([lost, np.zeros_like(lost)], 1)[:, : y.shape[1]], np.nan, y)
    model = MultitaskGPRegressor(interactions=interactions, max_iter=steps, random_state=0).fit(x, known)
    return share(model.predict(x[lost])[:, 0], y[lost, 0]), model.loss_


def share(found: np.ndarray, expected: np.ndarray) -> float:
    """Return the mean squared error as a share of the variance."""
    return float(((found - expected) ** 2).mean() / expected.var())

"""Gaussian processes of several tasks (arXiv 1808.01132)."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from convnn.learners.multitask import Latents, Posterior
from golden.case import Case
from golden.entry import Entry


class Process(nn.Module):
    """The process of a file, conditioned on its values."""

    def __init__(self, case: Case) -> None:
        super().__init__()
        latents, tasks, rank, width = (case.config[name] for name in ("n_latents", "n_tasks", "rank", "input_dim"))
        self.mix = nn.Parameter(torch.empty(latents, tasks, rank, dtype=torch.double))
        self.mean, self.deviation = (nn.Parameter(torch.empty(latents, width, dtype=torch.double)) for _ in range(2))
        self.noise = nn.Parameter(torch.empty(tasks, dtype=torch.double))
        self.interactions = case.config["interactions"]

    def forward(self, x: Tensor, task: Tensor, y: Tensor, others: Tensor, tasks: Tensor) -> Mapping[str, Tensor]:
        latents = Latents(self.mix, self.mean, self.deviation, self.interactions)
        posterior = Posterior.of(latents, self.noise, x, task, y)
        mean, variance = posterior.at(others, tasks)
        return {"loss": posterior.loss, "gram": latents.kernel(x, task, x, task), "mean": mean, "variance": variance}


ENTRIES = {
    "MTGP with latent interactions": Entry(
        Process,
        ("x", "task", "y", "x_test", "task_test"),
        ("loss", "gram", "mean", "variance"),
        names={"A": "mix", "mu": "mean", "sigma": "deviation"},
    ),
}

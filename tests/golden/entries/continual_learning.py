"""Generative kernel continual learning (arXiv 2112.13410)."""

from collections.abc import Callable, Mapping

from torch import Tensor

from convnn.learners.generative_replay import ConditionalVAE, ReplayedMachine
from convnn.learners.kernels import kernel_of
from convnn.learners.products import Chunked
from golden.case import Case
from golden.entry import Entry
from golden.run import our_name

NAMES = {"enc1": "encoder.0", "enc2": "encoder.2", "dec1": "decoder.0", "dec2": "decoder.2"}


def _sizes(case: Case) -> list[int]:
    return [case.config[name] for name in ("in_dim", "latent", "hidden", "classes")]


def _classifier(case: Case) -> Callable[..., Mapping[str, Tensor]]:
    config, generator = case.config, ConditionalVAE(*_sizes(case)).double()
    generator.load_state_dict({our_name(name, NAMES): value for name, value in case.named("param").items()})
    gamma = None if config["kernel"] == "linear" else config["gamma"]
    kernel = kernel_of(config["kernel"], gamma, config["latent"])

    def run(x: Tensor, noise: Tensor, task_classes: Tensor) -> Mapping[str, Tensor]:
        if len(noise) != config["per_class"] * len(task_classes):
            raise ValueError(f"noise has {len(noise)} rows")
        machine = ReplayedMachine(generator, kernel, task_classes, noise, config["ridge"], Chunked())
        scores = machine(x)
        label = task_classes[scores.argmax(1)]
        return {"coreset": machine.samples, "alpha": machine.alpha, "scores": scores, "label": label}

    return run


class _Loss(ConditionalVAE):
    """The generator, which is called for its loss with the weights of a case."""

    def __init__(self, case: Case) -> None:
        super().__init__(*_sizes(case))
        self.weights = [case.config[name] for name in ("beta", "gamma", "temperature")]

    def forward(self, x: Tensor, y: Tensor, noise: Tensor) -> tuple[Tensor, ...]:
        return self.loss(x, y, noise, *self.weights)


ENTRIES = {
    "conditional VAE + supervised contrastive loss": Entry(
        _Loss, ("x", "y", "noise"), ("loss", "reconstruction", "kl", "contrastive"), NAMES
    ),
    "generated-coreset kernel classifier": Entry(_classifier, ("x", "noise", "task_classes")),
}

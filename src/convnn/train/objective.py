"""What a step of training minimises, around the network that it trains."""

from collections.abc import Mapping
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor, nn

from convnn.data import Batch, LabelledData
from convnn.errors import InputError
from convnn.models import Answer, Network, OwnLoss
from convnn.train.optim import CRITERIA
from convnn.train.randomness import seeded


class Outcome(NamedTuple):
    """What came out of a batch.

    Attributes:
        loss: (), summed over its samples.
        logits: (B, classes) or, in a regression, outputs (B, 1); None without labels.
        terms: the parts of the loss by name, each summed over the samples, without a gradient.
        figures: numbers (B,) by which a network without labels is judged, by name.
    """

    loss: Tensor
    logits: Tensor | None
    terms: Mapping[str, Tensor] = {}
    figures: Mapping[str, Tensor] = {}

    @classmethod
    def of(cls, logits: Tensor | None, terms: Mapping[str, Tensor]) -> "Outcome":
        """Return the outcome whose loss is the sum of terms that have their gradients."""
        loss = torch.stack(list(terms.values())).sum()
        return cls(loss, logits, {name: term.detach() for name, term in terms.items()})


class Objective(nn.Module):
    """A network and what it is trained for; parameters beside those of the network are trained with it.

    Such parameters, and buffers, are kept in the state of a run from which it resumes, not in its weights. In
    evaluation mode the network is judged by the criterion alone, whatever it is trained for. Random numbers come from
    torch's generators, which are seeded before every batch. A network that teaches must not be a submodule, since it
    would be trained and saved: keep it in a tuple.

    Args:
        network: the network.
        criterion: one of `convnn.train.optim.CRITERIA`.

    Attributes:
        terms: names of the parts of the loss, which get curves of their own.
        figures: names of the figures of an outcome, by which a network without labels is judged.
    """

    terms: ClassVar[tuple[str, ...]] = ()
    figures: tuple[str, ...] = ()

    def __init__(self, network: Network, criterion: str) -> None:
        super().__init__()
        self.network = network
        self.criterion = CRITERIA[criterion]

    def forward(self, batch: Batch) -> Outcome:
        """Return what came out of a batch: in training by `learn`, in evaluation by `judge`."""
        return self.learn(batch) if self.training else self.judge(batch)

    def learn(self, batch: Batch) -> Outcome:
        """Return the loss of training, with its `terms`."""
        raise NotImplementedError

    def judge(self, batch: Batch) -> Outcome:
        """Return the criterion and the logits of the network."""
        logits = self.network(batch.inputs)
        return Outcome(self.criterion(logits, batch.labels), logits)

    def begin_epoch(self, epoch: int) -> None:
        """Take note that an epoch begins, counted from 1; a resumed run calls it in the middle of an epoch too."""

    @property
    def additions(self) -> dict[str, Tensor]:
        """The parameters and buffers that are not the network's, by name."""
        return {name: t for name, t in self.state_dict().items() if not name.startswith(OF_NETWORK)}


OF_NETWORK = "network."
"""How the names of the network's tensors begin in an objective."""


class Supervised(Objective):
    """The criterion between the logits and the labels."""

    def learn(self, batch: Batch) -> Outcome:
        """Return the criterion and the logits of the network."""
        return self.judge(batch)


class Modelling(Objective):
    """The loss that a network has of its own, of data without labels.

    Evaluation draws the same random numbers for a batch in every epoch, and leaves the generators as they are.
    """

    network: OwnLoss

    def __init__(self, network: OwnLoss) -> None:
        super().__init__(network, "CrossEntropy")  # which nobody asks
        self.figures = network.figures

    @property
    def terms(self) -> tuple[str, ...]:  # type: ignore[override]  # as the settings of the network have it
        """The terms of the network, unless there is only one, which is the loss."""
        return self.network.terms if len(self.network.terms) > 1 else ()

    def prepare(self, data: LabelledData) -> None:
        """Let the network take from the first batches what depends on the data."""
        self.network.prepare_from(batch.inputs for batch in data.train if len(batch.labels))

    def begin_epoch(self, epoch: int) -> None:
        """Tell the network."""
        self.network.begin_epoch(epoch)

    def learn(self, batch: Batch) -> Outcome:
        """Return the loss of the network, with its terms and figures."""
        answer: Answer = self.network(batch.inputs)
        return Outcome.of(None, answer.terms)._replace(figures=answer.figures)

    def judge(self, batch: Batch) -> Outcome:
        """Return the same, with random numbers that depend on the batch alone."""
        with seeded("judge", *batch.indices[:1].tolist()):
            return self.learn(batch)


def judging(network: Network, criterion: str, task: str) -> Objective:
    """Return what judges a network on data of a task: the loss of the network itself, or else the criterion.

    Raises:
        InputError: the data have no labels and the network needs some, or the other way round.
    """
    has_own = isinstance(network, OwnLoss)
    if has_own != (task == "modelling"):
        needs, has = ("has a loss of its own and takes no", "some") if has_own else ("needs", "none")
        raise InputError(f"network={type(network).__name__} {needs} labels, but the data set has {has}; choose another")
    return Modelling(network) if isinstance(network, OwnLoss) else Supervised(network, criterion)

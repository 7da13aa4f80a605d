"""What a step of training minimises, around the network that it trains."""

from collections.abc import Mapping
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor, nn

from convnn.data import Batch
from convnn.models import Network
from convnn.train.optim import CRITERIA


class Outcome(NamedTuple):
    """What came out of a batch.

    Attributes:
        loss: (), summed over its samples.
        logits: (B, classes) or, in a regression, outputs (B, 1).
        terms: the parts of the loss by name, each summed over the samples, without a gradient.
    """

    loss: Tensor
    logits: Tensor
    terms: Mapping[str, Tensor] = {}

    @classmethod
    def of(cls, logits: Tensor, terms: Mapping[str, Tensor]) -> "Outcome":
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
    """

    terms: ClassVar[tuple[str, ...]] = ()

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

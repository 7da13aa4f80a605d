"""Learning which triples of a knowledge graph hold."""

from typing import ClassVar

import torch

from convnn.data import Batch, LabelledData
from convnn.data.triples import TripleLoader
from convnn.models import Translation
from convnn.objectives.triples import corrupt, head_shares, margin_loss
from convnn.train.config import TrainConfig
from convnn.train.objective import Objective, Outcome


class Margin(Objective):
    """Triples should score above the same with a wrong head or tail, by a margin; one is drawn for each in each step.

    In training top-1 is the share of triples that do. Which end is wrong is drawn by the relation (`head_shares`).

    Args:
        network: embeddings of entities and relations.
        config: flags of the run.
        data: triples.
    """

    network: Translation
    terms: ClassVar[tuple[str, ...]] = ()

    def __init__(self, network: Translation, config: TrainConfig, data: LabelledData) -> None:
        super().__init__(network, config.criterion)
        assert isinstance(data.train, TripleLoader)  # the loader of this task
        self.margin, self.nodes = config.margin, data.num_classes
        self.shares = head_shares(data.train.triples, self.nodes, network.in_channels)

    def learn(self, batch: Batch) -> Outcome:
        """Return the loss, and as logits the scores of each triple and of that with a wrong end."""
        triples = batch.inputs.triples
        self.network.normalise()
        scores = self.network.score(torch.cat([triples, corrupt(triples, self.nodes, self.shares)]))
        positives, negatives = scores.chunk(2)
        return Outcome(margin_loss(positives, negatives, self.margin), torch.stack([positives, negatives], dim=1))

"""Learning which triples of a knowledge graph hold, or who completes them."""

from typing import ClassVar

import torch

from convnn.data import Batch, LabelledData
from convnn.data.triples import TripleLoader
from convnn.models import Completion, Translation
from convnn.nn.triples import Queries
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


class Completing(Objective):
    """Each triple is asked for its tail and for its head, of all entities.

    In training top-1 is the share of triples of which both come first.

    Args:
        network: a network that reads subgraphs or statements.
        config: flags of the run.
    """

    network: Completion

    def __init__(self, network: Completion, config: TrainConfig) -> None:
        super().__init__(network, config.criterion)
        self.smoothing = config.smoothing

    def learn(self, batch: Batch) -> Outcome:
        """Return the loss, and as logits by how much the worse end of each triple comes first, and 0."""
        asked = both_ends(batch.inputs)
        loss, scores = self.network.learn(asked, self.smoothing)
        wanted = asked.wanted.unsqueeze(1)
        own, others = scores.detach().gather(1, wanted), scores.detach().scatter(1, wanted, -torch.inf)
        lead = (own.squeeze(1) - others.amax(1)).view(2, -1).amin(0)
        return Outcome(len(batch.labels) * loss, torch.stack([lead, torch.zeros_like(lead)], dim=1))


def both_ends(asked: Queries) -> Queries:
    """Return queries for the tails of triples, and then for their heads."""
    of_tail = torch.ones_like(asked.of_tail)
    qualifiers = None if asked.qualifiers is None else asked.qualifiers.repeat(2, 1)
    return Queries(asked.triples.repeat(2, 1), torch.cat([of_tail, ~of_tail]), qualifiers=qualifiers, facts=asked.facts)

"""The base of networks that complete a knowledge graph."""

from typing import ClassVar

from torch import Tensor, nn

from convnn.models._network import Network
from convnn.nn.triples import queries
from convnn.nn.triples.queries import Queries


class KnowledgeNetwork(Network):
    """A network that scores all entities for the missing end of a triple: entities are N classes, relations R channels.

    What is classified are queries for an end of a triple.
    """

    reads: ClassVar[str] = "triples"

    def __init__(self, in_channels: int, num_classes: int, width: float) -> None:
        super().__init__(in_channels, num_classes, width)
        self.head = nn.Identity()

    def forward(self, asked: Queries) -> Tensor:
        """Return the scores (B, N) of all entities at the end that is asked for; those left out have the lowest number.

        Raises:
            InputError: the triples are none of this graph.
        """
        queries.check(asked, self.num_classes, self.in_channels)
        return queries.leave_out(self.score_all(asked), asked.others)

    def score_all(self, asked: Queries) -> Tensor:
        """Return the scores (B, N) of all entities at the end that is asked for."""
        raise NotImplementedError

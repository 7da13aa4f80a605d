"""Completion of knowledge graphs by translation: a relation leads from the head of a triple to its tail."""

from collections.abc import Callable, Iterable
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from convnn.errors import check_at_least, check_choice
from convnn.models._completion import KnowledgeNetwork
from convnn.models._registry import register_model
from convnn.nn.triples import translations
from convnn.nn.triples.queries import Queries
from convnn.nn.triples.translations import DISSIMILARITIES
from convnn.ops.triples import RELATION

RowFactory = Callable[[int, int], nn.Module]
"""From numbers of entities and of relations, or 0 without those, to what brings together the rows of each triple."""
AT_ONCE = 1 << 22
"""Numbers in memory at once while queries are compared with all entities."""


class Translation(KnowledgeNetwork):
    """Embeddings of entities and relations; a triple scores by how near its moved head is to its tail.

    Entities are N classes, relations R channels: what is classified are queries for an end of a triple.

    Reference:
        SparseTransX, arXiv 2502.16949.
    """

    default_layer: ClassVar[str] = "SparseRows"
    rows: nn.Module

    def score(self, triples: Tensor) -> Tensor:
        """Return the score (B,) of triples (B, 3), the higher the better.

        Raises:
            InputError: the triples are none of this graph.
        """
        raise NotImplementedError

    def score_all(self, asked: Queries) -> Tensor:
        """Return the scores (B, N) of all entities at the end that is asked for, some of them at a time."""
        start, entities, project = self._from_the_known(asked)
        size = max(1, AT_ONCE // max(1, start.numel()))
        parts = [self._of_difference(start.unsqueeze(1) - project(some.unsqueeze(0))) for some in entities.split(size)]
        return torch.cat(parts, dim=1)

    def normalise(self) -> None:
        """Bring the embeddings into their range, as training does before each step."""

    def _from_the_known(self, asked: Queries) -> tuple[Tensor, Tensor, Callable[[Tensor], Tensor]]:
        """Return where the relation leads from the known end (B, d), the entities, and how those are projected."""
        relation = asked.triples[:, RELATION]
        entities, relations, project = self._projected(relation)
        start, moved = project(entities[asked.known].unsqueeze(1)).squeeze(1), relations[relation]
        return torch.where(asked.of_tail.unsqueeze(1), start + moved, start - moved), entities, project

    def _projected(self, relation: Tensor) -> tuple[Tensor, Tensor, Callable[[Tensor], Tensor]]:
        """Return entities, relations, and what relations (B,) do to entities (B, n, d) or (1, n, d)."""
        raise NotImplementedError

    def _of_difference(self, z: Tensor) -> Tensor:
        """Return the score of the difference between where the relation leads and the other end."""
        return translations.transe(z)


class _OneTable(Translation):
    """The table of all entities and then all relations, for one product with the incidence matrix."""

    def __init__(
        self, layer: RowFactory, in_channels: int, num_classes: int, width: float, d_hidden: int, dissimilarity: str
    ) -> None:
        super().__init__(in_channels, num_classes, width)
        self.dissimilarity = dissimilarity
        self.table = nn.Parameter(torch.empty(num_classes + in_channels, self.scaled(d_hidden)))
        self.rows = layer(num_classes, in_channels)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw entities and relations, each by Glorot's uniform distribution."""
        for block in self._blocks():
            nn.init.xavier_uniform_(block)

    def score(self, triples: Tensor) -> Tensor:
        """Return the score (B,) of triples (B, 3), the higher the better.

        Raises:
            InputError: the triples are none of this graph.
        """
        return self._of_difference(self.rows(self._usable(), triples))

    def _blocks(self) -> Iterable[Tensor]:
        return self.table.detach().split([self.num_classes, self.in_channels])

    def _usable(self) -> Tensor:
        return self.table

    def _projected(self, relation: Tensor) -> tuple[Tensor, Tensor, Callable[[Tensor], Tensor]]:
        entities, relations = self._usable().split([self.num_classes, self.in_channels])
        return entities, relations, lambda x: x

    def extra_repr(self) -> str:
        """Describe the sizes."""
        return f"{self.num_classes} entities, {self.in_channels} relations, dissimilarity={self.dissimilarity!r}"


class TransE(_OneTable):
    r"""Score :math:`-\lVert e_h + r - e_t \rVert_p^2` with entities of length 1.

    Training replaces the rows of all entities by those of length 1 before each step (`normalise`), and their gradient
    is not projected, as published; in evaluation they are divided by their length.

    Args:
        layer: `convnn.nn.triples.SparseRows` or `GatheredRows`, or another function of entities and relations.
        in_channels: number of relations, R.
        num_classes: number of entities, N.
        width: factor on d_hidden.
        d_hidden: channels d.
        dissimilarity: "L1" or "L2", whose squares count.

    Raises:
        InputError: an argument is out of range.

    Reference:
        Bordes et al., NeurIPS 2013; as in SparseTransX, arXiv 2502.16949.
    """

    def __init__(
        self,
        layer: RowFactory,
        *,
        in_channels: int = 1,
        num_classes: int = 2,
        width: float = 1.0,
        d_hidden: int = 128,
        dissimilarity: str = "L2",
    ) -> None:
        check_choice("dissimilarity", dissimilarity, ("L1", "L2"))
        self.p = int(dissimilarity[1])
        super().__init__(layer, in_channels, num_classes, width, d_hidden, dissimilarity)

    def reset_parameters(self) -> None:
        """Draw entities and relations, each by Glorot's uniform distribution, and divide them by their length."""
        super().reset_parameters()
        for block in self._blocks():
            block.copy_(F.normalize(block, p=self.p))

    @torch.no_grad()
    def normalise(self) -> None:
        """Divide the rows of all entities by their length."""
        entities = self.table[: self.num_classes]
        entities.copy_(F.normalize(entities, p=self.p))

    def score_all(self, asked: Queries) -> Tensor:
        """Return the scores (B, N) of all entities at the end that is asked for."""
        start, entities, _ = self._from_the_known(asked)
        return -torch.cdist(start, entities, p=self.p, compute_mode="donot_use_mm_for_euclid_dist").square()

    def _usable(self) -> Tensor:
        if self.training:
            return self.table
        entities, relations = self._blocks()
        return torch.cat([F.normalize(entities, p=self.p), relations])

    def _of_difference(self, z: Tensor) -> Tensor:
        return translations.transe(z, self.p)


class TorusE(_OneTable):
    """Score minus the distance of points on circles, of which `convnn.nn.triples.toruse` has three; no lengths count.

    Args:
        layer, in_channels, num_classes, width, d_hidden: as in `TransE`.
        dissimilarity: "L1", "L2" or "eL2".

    Raises:
        InputError: an argument is out of range.

    Reference:
        Ebisu and Ichise, arXiv 1711.05435.
    """

    def __init__(
        self,
        layer: RowFactory,
        *,
        in_channels: int = 1,
        num_classes: int = 2,
        width: float = 1.0,
        d_hidden: int = 128,
        dissimilarity: str = "L2",
    ) -> None:
        check_choice("dissimilarity", dissimilarity, DISSIMILARITIES)
        super().__init__(layer, in_channels, num_classes, width, d_hidden, dissimilarity)

    def _of_difference(self, z: Tensor) -> Tensor:
        return translations.toruse(z, self.dissimilarity)


class _Projected(Translation):
    """Entities of length 1, through which the gradient goes; their difference is a product, projected afterwards."""

    def __init__(
        self,
        layer: RowFactory,
        in_channels: int,
        num_classes: int,
        width: float,
        d_hidden: int,
        relation_dim: int | None = None,
    ) -> None:
        super().__init__(in_channels, num_classes, width)
        dim = self.scaled(d_hidden)
        self.entities = nn.Parameter(torch.empty(num_classes, dim))
        self.relations = nn.Parameter(torch.empty(in_channels, dim if relation_dim is None else relation_dim))
        self.rows = layer(num_classes, 0)

    def reset_parameters(self) -> None:
        """Draw entities and relations, each by Glorot's uniform distribution, and divide them by their length."""
        for block in (self.entities, self.relations):
            nn.init.xavier_uniform_(block)
            block.data = F.normalize(block.detach())

    def _differences(self, triples: Tensor) -> Tensor:
        difference: Tensor = self.rows(F.normalize(self.entities), triples)
        return difference

    def extra_repr(self) -> str:
        """Describe the sizes."""
        return f"{self.num_classes} entities, {self.in_channels} relations"


class TransH(_Projected):
    """Score of a translation on a plane of each relation; see `convnn.nn.triples.transh`.

    Args:
        layer, in_channels, num_classes, width, d_hidden: as in `TransE`.

    Raises:
        InputError: an argument is out of range.

    Reference:
        Wang et al., AAAI 2014.
    """

    def __init__(
        self,
        layer: RowFactory,
        *,
        in_channels: int = 1,
        num_classes: int = 2,
        width: float = 1.0,
        d_hidden: int = 128,
    ) -> None:
        super().__init__(layer, in_channels, num_classes, width, d_hidden)
        self.normals = nn.Parameter(torch.empty_like(self.relations))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw entities, relations and normals."""
        super().reset_parameters()
        nn.init.xavier_uniform_(self.normals)

    def score(self, triples: Tensor) -> Tensor:
        """Return the score (B,) of triples (B, 3), the higher the better.

        Raises:
            InputError: the triples are none of this graph.
        """
        difference, relation = self._differences(triples), triples[:, RELATION]
        return translations.transh(difference, self.relations[relation], F.normalize(self.normals)[relation])

    def _projected(self, relation: Tensor) -> tuple[Tensor, Tensor, Callable[[Tensor], Tensor]]:
        normals = F.normalize(self.normals)[relation].unsqueeze(1)
        return F.normalize(self.entities), self.relations, lambda x: translations.on_plane(x, normals)


class TransR(_Projected):
    """Score of a translation in a space of each relation; see `convnn.nn.triples.transr`.

    Args:
        layer, in_channels, num_classes, width, d_hidden: as in `TransE`.
        relation_dim: channels of a relation; None: as many as an entity has.

    Raises:
        InputError: an argument is out of range.

    Reference:
        Lin et al., AAAI 2015.
    """

    def __init__(
        self,
        layer: RowFactory,
        *,
        in_channels: int = 1,
        num_classes: int = 2,
        width: float = 1.0,
        d_hidden: int = 128,
        relation_dim: int | None = None,
    ) -> None:
        if relation_dim is not None:
            check_at_least("relation_dim", relation_dim, 1)
        super().__init__(layer, in_channels, num_classes, width, d_hidden, relation_dim)
        self.projections = nn.Parameter(torch.empty(*self.relations.shape, self.entities.shape[1]))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw entities and relations; projections begin as none."""
        super().reset_parameters()
        with torch.no_grad():
            self.projections.copy_(torch.eye(*self.projections.shape[1:]).expand_as(self.projections))

    def score(self, triples: Tensor) -> Tensor:
        """Return the score (B,) of triples (B, 3), the higher the better.

        Raises:
            InputError: the triples are none of this graph.
        """
        difference, relation = self._differences(triples), triples[:, RELATION]
        return translations.transr(difference, self.relations[relation], self.projections[relation])

    def _projected(self, relation: Tensor) -> tuple[Tensor, Tensor, Callable[[Tensor], Tensor]]:
        projections = self.projections[relation]
        return F.normalize(self.entities), self.relations, lambda x: x @ projections.mT


@register_model(TransE)
def transe(layer: RowFactory, **settings: Any) -> TransE:
    """Translation of entities by relations: triples score by the distance that is left."""
    return TransE(layer, **settings)


@register_model(TransH)
def transh(layer: RowFactory, **settings: Any) -> TransH:
    """Translation on a plane of each relation."""
    return TransH(layer, **settings)


@register_model(TransR)
def transr(layer: RowFactory, **settings: Any) -> TransR:
    """Translation in a space of each relation."""
    return TransR(layer, **settings)


@register_model(TorusE)
def toruse(layer: RowFactory, **settings: Any) -> TorusE:
    """Translation on circles, on which no length counts."""
    return TorusE(layer, **settings)

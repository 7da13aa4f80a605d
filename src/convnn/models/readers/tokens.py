"""Statements as the tokens that a `StatementReader` reads: those that are asked, and those that others make."""

from typing import NamedTuple

import torch
from torch import Tensor

from convnn.models.readers.statements import MASK, PAD, SPECIALS
from convnn.nn.triples.queries import Queries
from convnn.ops.ragged import Lists

NO_RELATION, NO_QUALIFIER = 4, (5, 6)
"""Numbers of the special tokens for a missing relation, and for relation and entity of a missing qualifier."""


class Tokens(NamedTuple):
    """What a `StatementReader` reads to learn.

    Attributes:
        ids: (B, 3 + 2 m) int64, the statements.
        contexts: (k, B, 3 + 2 m) int64, statements of training that miss what stands first.
        qualifiers: (m, B, 3) int64, the qualifiers; at least one row.
    """

    ids: Tensor
    contexts: Tensor
    qualifiers: Tensor


class Vocabulary:
    """The numbers of tokens: special ones, then N entities, then each relation and its reverse.

    Args:
        num_entities: N.
    """

    def __init__(self, num_entities: int) -> None:
        self.num_entities = num_entities

    def entity(self, numbers: Tensor) -> Tensor:
        """Return the tokens of entities."""
        return SPECIALS + numbers

    def relation(self, numbers: Tensor, is_reverse: Tensor) -> Tensor:
        """Return the tokens of relations, or of their reverses."""
        return SPECIALS + self.num_entities + 2 * numbers + is_reverse

    def statements(self, asked: Queries) -> Tensor:
        """Return the tokens (B, 3 + 2 m) of statements of which one end is missing."""
        is_reverse = (~asked.of_tail).long()
        masked = torch.full_like(is_reverse, MASK)
        first = [self.entity(asked.known), self.relation(asked.triples[:, 1], is_reverse), masked]
        tokens = torch.stack(first, dim=1)
        if asked.qualifiers is None:
            return tokens
        relations, entities = asked.qualifiers[:, ::2], asked.qualifiers[:, 1::2]
        pairs = torch.stack([self.relation(relations, is_reverse[:, None]), self.entity(entities)], dim=2)
        pairs = pairs.masked_fill((relations < 0).unsqueeze(2), PAD)
        return torch.cat([tokens, pairs.flatten(1)], dim=1)


class Neighbors:
    """The statements of training about each entity, at either end, as tokens that miss it.

    Where the head is missing, the relations of qualifiers are reversed as in what is asked; in published code they are
    not.

    Args:
        facts: (n, 3 + 2 m) int64, the statements of training, -1 where qualifiers are missing.
        vocabulary: the numbers of tokens.
    """

    def __init__(self, facts: Tensor, vocabulary: Vocabulary) -> None:
        rows = facts.repeat(2, 1)
        asks_tail = torch.arange(rows.shape[0], device=facts.device) < facts.shape[0]
        asked = Queries(rows[:, :3], asks_tail, qualifiers=rows[:, 3:])
        lists = Lists.of_targets(asked.wanted, vocabulary.num_entities)
        self.facts, self._starts, self._lengths = facts, lists.starts, lists.lengths
        self._tokens = vocabulary.statements(asked)[lists.indices]

    def draw(self, first: Tensor, count: int) -> Tensor:
        """Return statements (count, B, 3 + 2 m) that miss the entities of the tokens (B,), each of its own draw.

        None comes twice while there are others. An entity of which nothing is stated stands for itself, without a
        relation.
        """
        entities = first - SPECIALS
        lengths = self._lengths[entities]
        places = distinct(lengths, count)
        has_any = (lengths > 0).unsqueeze(1)
        found = self._tokens[(self._starts[entities].unsqueeze(1) + places).clamp_max(self._tokens.shape[0] - 1)]
        alone = torch.full_like(found, PAD)
        alone[..., 0], alone[..., 1], alone[..., 2] = first.unsqueeze(1), NO_RELATION, MASK
        return torch.where(has_any.unsqueeze(2), found, alone).transpose(0, 1)


def distinct(lengths: Tensor, count: int) -> Tensor:
    """Draw places (B, count) from 0 to each length (B,) - 1, without repetition until all have come."""
    places = lengths.new_zeros(lengths.shape[0], 0)
    for drawn in range(count):
        left = lengths - drawn
        chances = torch.rand(lengths.shape, dtype=torch.double, device=lengths.device)
        place = (chances * torch.where(left > 0, left, lengths)).long()
        for other in places.sort(dim=1).values.unbind(1):
            place = place + ((place >= other) & (left > 0))
        places = torch.cat([places, place.unsqueeze(1)], dim=1)
    return places


def qualifier_tokens(ids: Tensor) -> Tensor:
    """Return the qualifiers (m, B, 3) of statements (B, 3 + 2 m): relation, entity and what is missing.

    A statement with fewer has some of them again, by draws. One without any has special tokens, and m is at least 1.
    """
    if ids.shape[1] == 3:
        ids = torch.cat([ids, torch.full_like(ids[:, :2], PAD)], dim=1)
    pairs = ids[:, 3:].unflatten(1, (-1, 2))
    numbers = (pairs[..., 0] != PAD).sum(1, keepdim=True)
    chances = torch.rand(pairs.shape[:2], dtype=torch.double, device=ids.device)
    places = torch.arange(pairs.shape[1], device=ids.device).expand_as(chances)
    places = torch.where(places < numbers, places, (chances * numbers).long())
    pairs = pairs.gather(1, places.unsqueeze(2).expand_as(pairs))
    pairs = torch.where(numbers.unsqueeze(2) > 0, pairs, ids.new_tensor(NO_QUALIFIER))
    masked = pairs.new_full((*pairs.shape[:2], 1), MASK)
    return torch.cat([pairs, masked], dim=2).transpose(0, 1)

"""Qualifiers tell statements of one head and relation apart."""

from collections.abc import Sequence

import torch
from torch import Tensor

from claims._experiment import Outcome, is_above, spread
from convnn.models.readers.statements import MASK, SPECIALS
from convnn.tasks.knowledge import StatementReader, smoothed_cross_entropy, statement_loss

SYSTEM = "Statements with qualifiers"
CLAIM = "Qualifiers, statements of neighbours and their interaction each improve the completion of statements."
EXPERIMENT = (
    "80 heads in 10 clusters, a fact of each about its cluster, and statements with a qualifier of six values, whose"
    " tail of 40 follows from cluster and value; half of them are learned, the others asked: unfiltered reciprocal rank"
    " in percent. 32 channels, two blocks without experts, AdamW with a learning rate of 0.003, 25 epochs."
)
SEEDS = (0, 1, 2)
HEADS, CLUSTERS, VALUES, TAILS = 80, 10, 6, 40
ENTITIES = HEADS + CLUSTERS + VALUES + TAILS
CLUSTER, VALUE = SPECIALS + HEADS, SPECIALS + HEADS + CLUSTERS
IN, STATES, WHEN = (SPECIALS + ENTITIES + 2 * number for number in range(3))
NONE = (5, 6)
"""The special tokens of a statement without a qualifier."""
READERS = ("triples alone", "with qualifiers", "with neighbours too")


def measure(seeds: Sequence[int], quick: bool) -> Outcome:
    """Train every reader on the same statements."""
    found = {name: [100 * rank(name, seed, 1 if quick else 25) for seed in seeds] for name in READERS}
    alone, qualified, full = found.values()
    return Outcome(
        [["read", "reciprocal rank, %"], *([name, spread(ranks)] for name, ranks in found.items())],
        {
            "qualifiers add more than 10 points": min(b - a for a, b in zip(alone, qualified, strict=True)) > 10,
            "neighbours and interaction add to that": is_above(full, qualified),
        },
    )


def rank(name: str, seed: int, epochs: int) -> float:
    """Return the mean reciprocal rank of the tails that were not learned."""
    torch.manual_seed(seed)
    cluster = torch.randint(CLUSTERS, (HEADS,))
    tails = torch.randint(TAILS, (CLUSTERS, VALUES))
    head, value = torch.arange(HEADS).repeat_interleave(VALUES), torch.arange(VALUES).repeat(HEADS)
    ids = torch.stack(
        [row.expand(len(head)) for row in (SPECIALS + head, *torch.tensor([STATES, MASK, WHEN]), VALUE + value)], 1
    )
    label = HEADS + CLUSTERS + VALUES + tails[cluster[head], value]
    order = torch.randperm(len(ids))
    learned, asked = order[: len(order) // 2], order[len(order) // 2 :]
    facts = torch.tensor([[SPECIALS + i, IN, MASK, 0, 0] for i in range(HEADS)])
    if name == "triples alone":
        ids[:, 3:] = 0
    reader = StatementReader(ENTITIES, 3, shape=(4, 8), layers=2, hidden=64, experts=0, channels=8, kernel=3)
    optimizer = torch.optim.AdamW(reader.parameters(), 3e-3)
    examples, labels = torch.cat([ids[learned], facts]), torch.cat([label[learned], HEADS + cluster])
    for _ in range(epochs):
        for some in torch.randperm(len(examples)).split(32):
            optimizer.zero_grad()
            loss_of(reader, name, examples[some], labels[some], cluster).backward()
            optimizer.step()
    with torch.no_grad():
        logits = reader.eval().score(ids[asked])
    higher = (logits > logits.gather(1, label[asked, None])).sum(1)
    return float((1 / (1.0 + higher)).mean())


def loss_of(reader: StatementReader, name: str, ids: Tensor, label: Tensor, cluster: Tensor) -> Tensor:
    """Return the loss of a batch; the neighbour of a head is its cluster, by the reverse of its fact."""
    if name != READERS[-1]:
        return smoothed_cross_entropy(reader.read(ids), label + SPECIALS, 0.2)
    head = ids[:, 0] - SPECIALS
    context = torch.stack(
        [row.expand(len(ids)) for row in (CLUSTER + cluster[head], *torch.tensor([IN + 1, MASK, 0, 0]))], 1
    )
    qualifier = torch.cat([torch.where(ids[:, 3:] > 0, ids[:, 3:], torch.tensor(NONE)), ids[:, 2:3]], 1)
    return statement_loss(reader(ids, context[None], qualifier[None]), label, head, 0.2)

"""A subgraph is read when attention knows its graph."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from claims._experiment import Outcome, is_above, spread
from convnn.tasks.knowledge import Retriever, SubgraphReader, subgraph_tokens

SYSTEM = "Reading a retrieved subgraph"
CLAIM = "Reading a retrieved subgraph by attention that follows its graph beats the query alone, and attention to all."
EXPERIMENT = (
    "1,500 entities, four random functions of them, all known, and four paraphrases of these, of which half of the"
    " 6,000 are learned and 500 others asked: unfiltered reciprocal rank of the tail among all entities, in percent. A"
    " tree of five triples from the head on, at most four of each entity, so that the answer is there; 64 channels, two"
    " blocks for the tree, one for the query, one across, dropout of 0.3 where embeddings go in, 1,500 steps of 96."
)
SEEDS = (0, 1)
ENTITIES, FUNCTIONS, SIZE, DRAWS, BATCH = 1500, 4, 5, 4, 96
SIZES = {"dim": 64, "heads": 4, "layers": 2, "query_layers": 1, "intermediate": 128, "cross_layers": 1}
READERS = ("graph", "all to all", "query alone")


def measure(seeds: Sequence[int], quick: bool) -> Outcome:
    """Train every reader on the same questions."""
    found = {name: [100 * rank(name, seed, 2 if quick else 1500) for seed in seeds] for name in READERS}
    graph, full, alone = found.values()
    return Outcome(
        [["reader", "reciprocal rank, %"], *([name, spread(ranks)] for name, ranks in found.items())],
        {
            "attention by the graph is more than 10 points above attention to all": all(
                a > b + 10 for a, b in zip(graph, full, strict=True)
            ),
            "attention by the graph is above the query alone": is_above(graph, alone),
            "attention to all is above the query alone": is_above(full, alone),
        },
    )


def rank(name: str, seed: int, steps: int) -> float:
    """Return the mean reciprocal rank after training."""
    torch.manual_seed(seed)
    values = torch.randint(ENTITIES, (FUNCTIONS, ENTITIES))
    heads = torch.arange(ENTITIES).repeat(FUNCTIONS)
    relations = torch.arange(FUNCTIONS).repeat_interleave(ENTITIES)
    facts = torch.stack([heads, relations, values.flatten()], dim=1)
    questions = facts[torch.randperm(len(facts))] + torch.tensor([0, FUNCTIONS, 0])
    learned, asked = questions[: len(questions) // 2], questions[len(questions) // 2 :][:500]
    retriever = Retriever(facts, ENTITIES, forward=True, replace=False)
    reader = SubgraphReader(
        ENTITIES, 2 * FUNCTIONS, **SIZES, input_dropout=0.3, output_dropout=0.0, dropout=0.0, mask_padding=False
    )
    optimizer = torch.optim.Adam(reader.parameters(), 1e-3)
    for _ in range(steps):
        batch = learned[torch.randint(len(learned), (BATCH,))]
        optimizer.zero_grad()
        F.cross_entropy(scores(reader, retriever, batch, name), batch[:, 2]).backward()
        optimizer.step()
    with torch.no_grad():
        logits = torch.cat([scores(reader.eval(), retriever, part, name) for part in asked.split(BATCH)])
    higher = (logits > logits.gather(1, asked[:, 2:])).sum(1)
    return float((1 / (1.0 + higher)).mean())


def scores(reader: SubgraphReader, retriever: Retriever, batch: Tensor, name: str) -> Tensor:
    """Return the scores of all entities for the tails of a batch."""
    edges = [
        retriever.triples[retriever.bfs(int(head), SIZE, DRAWS)] if name != "query alone" else batch[:0]
        for head in batch[:, 0]
    ]
    tokens = subgraph_tokens(edges, batch[:, 0], ENTITIES, 2 * FUNCTIONS, graph=name == "graph")
    return reader(tokens, batch[:, 0], batch[:, 1])

"""Complete a knowledge graph: train on its triples, measure a run, and ask for the missing end of a triple."""

import argparse
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor

from convnn.cli import evaluate, train
from convnn.cli._flags import add_checkpoint, add_config_flags, given_flags
from convnn.cli._handed import train_network
from convnn.cli._images import remembered_data
from convnn.cli._parser import Parser, TaskParser, add_json_flag
from convnn.data import TRIPLE_SETS
from convnn.data.triples import COLUMNS, KnowledgeGraph, open_knowledge
from convnn.errors import InputError, check_at_least, check_choice, did_you_mean
from convnn.models import list_models, reads_of
from convnn.nn.triples import Queries
from convnn.screen import print_json
from convnn.train import Recipe, load_checkpoint

ENDS = ("tail", "head")
DEFAULT = "transe"


def add_flags(parser: Parser) -> None:
    """Add the commands to a parser."""
    tasks = parser.add_subparsers(dest="task", metavar="TASK", required=True, parser_class=TaskParser)
    for name, (text, _) in TASKS.items():
        tasks.add_parser(name, hands_over=True, help=text)


def add_ask_flags(ask: Parser) -> None:
    """Add the arguments of `ask` to a parser."""
    add_checkpoint(ask)
    ask.add_argument("entity", metavar="ENTITY", help="name of the head, or with --missing head of the tail")
    ask.add_argument("relation", metavar="RELATION", help="name of the relation")
    ask.add_argument(
        "--qualifier",
        nargs=2,
        action="append",
        metavar=("RELATION", "ENTITY"),
        help="relation and entity of a qualifier; may be repeated",
    )
    ask.add_argument("--missing", default="tail", metavar="{" + ",".join(ENDS) + "}", help="what is asked for")
    ask.add_argument("--top", type=int, default=10, help="number of entities to print")
    add_json_flag(ask)
    add_config_flags(ask, only=["imports", "data_path"])


TASKS: dict[str, tuple[str, Callable[[Parser], None]]] = {
    "train": ("train on triples, as convnn train does", partial(train.add_flags, usual=DEFAULT)),
    "evaluate": ("rank all entities for each triple of a part", evaluate.add_flags),
    "ask": ("print the entities that complete a triple best", add_ask_flags),
}


def run(args: argparse.Namespace, console: Console) -> None:
    """Train, measure or ask."""
    text, add = TASKS[args.task]
    parser = Parser(prog=f"convnn knowledge {args.task}", description=f"{text.capitalize()}.")
    add(parser)
    parser.parse_strictly(args.words, args)
    if args.task == "train":
        train_network(args, console, DEFAULT, check_model)
        return
    recipe = load_checkpoint(args.checkpoint)[1]
    if recipe.dataset not in TRIPLE_SETS:
        raise InputError(
            f"checkpoint '{args.checkpoint}' learned {recipe.dataset}, and convnn knowledge is for triples:"
            f" {', '.join(TRIPLE_SETS)}"
        )
    if args.task == "evaluate":
        evaluate.run(args, console)
    else:
        ask_for(args, console)


def check_model(model: str) -> None:
    """Refuse the name of a network that reads no triples."""
    check_choice("--model", model, [name for name in list_models() if reads_of(name) == "triples"])


def ask_for(args: argparse.Namespace, console: Console) -> None:
    """Print the best entities at the missing end of a triple, and in which part of the data each triple is."""
    check_at_least("--top", args.top, 1)
    check_choice("--missing", args.missing, ENDS)
    network, recipe = load_checkpoint(args.checkpoint)
    graph = graph_of(recipe, args)
    known, relation = (
        _number(graph.entities, "ENTITY", args.entity),
        _number(graph.relations, "RELATION", args.relation),
    )
    is_tail = args.missing == "tail"
    triple = torch.tensor([[known, relation, 0] if is_tail else [0, relation, known]])
    qualifiers = qualifiers_of(graph, args.qualifier or [])
    asked = Queries(triple, torch.tensor([is_tail]), qualifiers=qualifiers, facts=graph.parts["train"])
    with torch.no_grad():
        [scores] = network(asked)
    best = scores.topk(min(args.top, len(graph.entities)))
    rows = [
        {
            "rank": rank,
            "entity": graph.entities[entity],
            "score": score,
            "known": _part_of(graph, asked, entity),
        }
        for rank, (entity, score) in enumerate(zip(best.indices.tolist(), best.values.tolist(), strict=True), 1)
    ]
    if args.json:
        print_json(console, rows)
    else:
        console.print(_as_table(rows))


def qualifiers_of(graph: KnowledgeGraph, pairs: list[list[str]]) -> Tensor | None:
    """Return qualifiers (1, 2 m) by their names; None if there are none.

    Raises:
        InputError: a name is not in the data.
    """
    flag = "--qualifier"
    numbers = [
        (_number(graph.relations, flag, relation), _number(graph.entities, flag, entity)) for relation, entity in pairs
    ]
    return torch.tensor(numbers).view(1, -1) if numbers else None


def graph_of(recipe: Recipe, args: argparse.Namespace) -> KnowledgeGraph:
    """Open the graph that a checkpoint learned.

    Raises:
        InputError: it is not there, or has other entities.
    """
    data = remembered_data(recipe, given_flags(args))
    data_path = getattr(args, "data_path", data.get("data_path", recipe.data_path))
    graph = open_knowledge(recipe.dataset, Path(data_path), data.get("split") or 0)  # at least 0
    if graph.entities != recipe.classes or len(graph.relations) != recipe.input_shape[0]:
        raise InputError(f"--data_path={data_path} has other entities or relations than the checkpoint learned")
    return graph


def _number(names: tuple[str, ...], argument: str, name: str) -> int:
    if name not in names:
        raise InputError(
            f"{argument}={name!r} is not one of the {len(names):,} names in the data{did_you_mean(name, names)}"
        )
    return names.index(name)


def _part_of(graph: KnowledgeGraph, asked: Queries, entity: int) -> str:
    """Return the part that has the triple with this entity, and its qualifiers, or an empty string."""
    [triple], is_tail = asked.triples.clone(), bool(asked.of_tail)
    triple[2 if is_tail else 0] = entity
    wanted = _pairs([] if asked.qualifiers is None else asked.qualifiers[0].tolist())
    for part, rows in graph.parts.items():
        found = rows[(rows[:, :COLUMNS] == triple).all(1), COLUMNS:].tolist()
        if any(_pairs(row) == wanted for row in found):
            return part
    return ""


def _pairs(qualifiers: list[int]) -> list[tuple[int, int]]:
    """Return qualifiers as pairs in one order, without those that are missing."""
    return sorted(pair for pair in zip(qualifiers[::2], qualifiers[1::2], strict=True) if pair[0] >= 0)


def _as_table(rows: list[dict[str, Any]]) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0))
    for heading in rows[0]:
        table.add_column(heading, justify="left" if heading in ("entity", "known") else "right", overflow="fold")
    for row in rows:
        table.add_row(str(row["rank"]), row["entity"], f"{row['score']:.4f}", row["known"])
    return table

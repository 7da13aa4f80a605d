"""Statements, which are triples with qualifiers: what a line of a file says, and statements that are drawn."""

import json
from collections.abc import Sequence
from typing import Any

import torch

from convnn.data.seeds import make_generator
from convnn.words import counted

Statement = tuple[str, ...]
"""Head, relation and tail, and relation and entity of each qualifier."""
NAMES = ("head", "relation", "tail")
HEADS, CLUSTERS, VALUES, TAILS = 80, 10, 6, 40
"""Of the drawn statements: heads, the groups they are in, the values of a qualifier, and the tails."""


def parse_statement(line: str) -> Statement:
    """Return head, relation and tail of a statement, and relation and entity of each qualifier.

    A line has them in this order between tabs or, if it has no tab, between commas, as WD50K has. Or it is a JSON
    object as in WikiPeople: the keys R_h and R_t have head and tail of the relation R, "N" says nothing, and each other
    key is the relation of a qualifier, whose value is an entity or a list of them.

    Raises:
        ValueError: the line is none; the message is the reason.
    """
    names = _of_json(line) if line.lstrip().startswith("{") else _of_fields(line)
    for place, name in enumerate(names):
        if not name:
            number, is_entity = divmod(place - 1, 2)
            what = NAMES[place] if place < len(NAMES) else f"{('relation', 'entity')[is_entity]} of qualifier {number}"
            raise ValueError(f"its {what} is empty")
    return tuple(names)


def _of_fields(line: str) -> list[str]:
    mark, marks = ("\t", "tabs") if "\t" in line else (",", "commas")
    names = [name.strip() for name in line.rstrip("\r").split(mark)]
    if len(names) < len(NAMES) or len(names) % 2 == 0:
        raise ValueError(
            f"it has {counted(len(names), 'field')} between {marks}; it must have head, relation and tail, and then two"
            " for each qualifier"
        )
    return names


def _of_json(line: str) -> list[str]:
    try:
        pairs: list[tuple[str, Any]] = json.loads(line, object_pairs_hook=list)
    except (ValueError, RecursionError):
        raise ValueError("it begins as JSON and is none") from None
    ends = {end: [(key[:-2], value) for key, value in pairs if key.endswith(end)] for end in ("_h", "_t")}
    if any(len(found) != 1 for found in ends.values()) or ends["_h"][0][0] != ends["_t"][0][0]:
        raise ValueError("it must have one key R_h for the head, and one key R_t for the tail, of its relation R")
    [(relation, head)], [(_, tail)] = ends.values()
    names = [head, relation, tail]
    for key, value in pairs:
        if key != "N" and not key.endswith(("_h", "_t")):
            for entity in value if isinstance(value, list) else [value]:
                names += [key, entity]
    if wrong := [name for name in names if not isinstance(name, str)]:
        raise ValueError(f"it names an entity {wrong[0]!r}, which is no text")
    return [name.strip() for name in names]


def draw_statements(seed: int = 0) -> dict[str, list[Statement]]:
    """Draw statements of which a qualifier and the group of the head decide the tail; half of them are to be learned.

    Args:
        seed: seed of the drawing.

    Returns:
        the statements of train, with the group of each head, of val and of test.
    """
    generator = make_generator("qualified", seed)
    group = torch.randint(CLUSTERS, (HEADS,), generator=generator).tolist()
    tails = torch.randint(TAILS, (CLUSTERS, VALUES), generator=generator).tolist()
    groups: list[Statement] = [(f"e{head}", "in", f"group{number}") for head, number in enumerate(group)]
    stated: list[Statement] = [
        (f"e{head}", "has", f"t{tails[number][value]}", "when", f"v{value}")
        for head, number in enumerate(group)
        for value in range(VALUES)
    ]
    parts = split_at_random(stated, generator)
    return parts | {"train": groups + parts["train"]}


def split_at_random(stated: Sequence[Statement], generator: torch.Generator) -> dict[str, list[Statement]]:
    """Return half of what is stated for train, and a quarter each for val and test."""
    order = torch.randperm(len(stated), generator=generator).tolist()
    half, rest = len(order) // 2, 3 * len(order) // 4
    split = {"train": order[:half], "val": order[half:rest], "test": order[rest:]}
    return {part: [stated[i] for i in chosen] for part, chosen in split.items()}

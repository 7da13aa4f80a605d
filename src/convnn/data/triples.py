"""Knowledge graphs as data for training: one end of a triple, or of a statement, is to be completed."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from convnn.data._lines import read_lines
from convnn.data.epochs import EpochLoader, LoaderSettings
from convnn.data.interface import Batch, LabelledData
from convnn.data.options import Options
from convnn.data.seeds import make_generator
from convnn.data.statements import NAMES, draw_statements, parse_statement, split_at_random
from convnn.errors import InputError
from convnn.nn.triples import Queries
from convnn.words import counted

PARTS = {"train": ("train",), "val": ("valid", "val"), "test": ("test",)}
"""How the files of each part may begin."""
OF_TRIPLES, OF_STATEMENTS = (".txt", ".tsv", ""), (".txt", ".tsv", ".csv", ".json", ".jsonl", "")
"""How their names may end."""
COLUMNS, NOTHING = len(NAMES), -1
"""Columns of a triple, and what stands in the others where a statement has fewer qualifiers than another."""
FEW_ENTITIES, FUNCTIONS = 120, 2
"""Of the embedded graph: its entities, and its relations that others paraphrase."""


@dataclass(frozen=True)
class KnowledgeGraph:
    """The triples of a knowledge graph, or its statements, which are triples with qualifiers, in parts.

    Attributes:
        entities: name of each, in the order in which they appear: head, tail, those of qualifiers, head, tail, ...
        relations: name of each, in the order in which they appear.
        parts: (n, 3 + 2 m) int64 for "train", "val" (which may be missing) and "test": head, relation and tail of each,
            and the relation and the entity of up to m qualifiers; -1 stands where there are fewer.
    """

    entities: tuple[str, ...]
    relations: tuple[str, ...]
    parts: Mapping[str, Tensor]

    @property
    def triples(self) -> Tensor:
        """The triples of all parts."""
        return torch.cat(list(self.parts.values()))

    @classmethod
    def of_names(cls, parts: Mapping[str, Iterable[Sequence[str]]]) -> "KnowledgeGraph":
        """Number the names of all parts, so that none of the test is unknown.

        Args:
            parts: head, relation and tail of each triple, and then relation and entity of each of its qualifiers.
        """
        entities: dict[str, int] = {}
        relations: dict[str, int] = {}
        of_place = (entities, relations)  # in turn
        rows = {
            part: [
                [of_place[place % 2].setdefault(name, len(of_place[place % 2])) for place, name in enumerate(names)]
                for names in stated
            ]
            for part, stated in parts.items()
        }
        width = max((len(row) for part in rows.values() for row in part), default=COLUMNS)
        numbered = {
            part: torch.tensor([row + [NOTHING] * (width - len(row)) for row in found]).long().reshape(-1, width)
            for part, found in rows.items()
        }
        return cls(tuple(entities), tuple(relations), numbered)


def read_triples(folder: Path) -> KnowledgeGraph:
    """Read train.*, valid.* or val.*, and test.* in a folder: head, relation and tail on each line, between tabs.

    Raises:
        InputError: a file is missing, or two have the same part; or a line is no triple, and the message names it.
    """
    return _read(folder, OF_TRIPLES, _triple)


def read_statements(folder: Path) -> KnowledgeGraph:
    """Read the same files with a statement on each line: fields between tabs or commas, or JSON as in WikiPeople.

    Raises:
        InputError: a file is missing, or two have the same part; or a line is no statement, and the message names it.
    """
    return _read(folder, OF_STATEMENTS, parse_statement)


def _read(folder: Path, suffixes: Sequence[str], parse: Callable[[str], Sequence[str]]) -> KnowledgeGraph:
    if not folder.is_dir():
        raise InputError(f"data_path='{folder}' is not a folder; name the one that holds train, valid and test")
    files = {part: _file_of(folder, part, starts, suffixes) for part, starts in PARTS.items()}
    return KnowledgeGraph.of_names({part: read_lines(path, parse) for part, path in files.items() if path is not None})


def _file_of(folder: Path, part: str, starts: tuple[str, ...], suffixes: Sequence[str]) -> Path | None:
    stems = [form + start for start in starts for form in ("", "n-ary_")]  # as WikiPeople has them
    found = sorted(p for p in folder.iterdir() if p.is_file() and p.stem in stems and p.suffix in suffixes)
    if len(found) > 1:
        raise InputError(f"data_path='{folder}' has {found[0].name} and {found[1].name}; leave one of them")
    if not found and part != "val":
        raise InputError(f"data_path='{folder}' lacks {starts[0]}.txt, with head, relation and tail on each line")
    return found[0] if found else None


def _triple(line: str) -> tuple[str, str, str]:
    words = [word.strip() for word in line.rstrip("\r").split("\t")]
    if len(words) != COLUMNS:
        raise ValueError(f"it has {counted(len(words), 'field')} between tabs; it must have head, relation and tail")
    if not all(words):
        raise ValueError(f"its {NAMES[words.index('')]} is empty")
    head, relation, tail = words
    return head, relation, tail


def make_paraphrases(seed: int = 0) -> KnowledgeGraph:
    """Draw a small graph: random functions of its entities, all of them known, and paraphrases of which half are asked.

    Args:
        seed: seed of the drawing.
    """
    generator = make_generator("paraphrases", seed)
    values = torch.randint(FEW_ENTITIES, (FUNCTIONS, FEW_ENTITIES), generator=generator)
    facts = [(f"e{x}", f"f{f}", f"e{int(y)}") for f, row in enumerate(values) for x, y in enumerate(row)]
    again = [(head, relation.replace("f", "g"), tail) for head, relation, tail in facts]
    parts = split_at_random(again, generator)
    return KnowledgeGraph.of_names(parts | {"train": facts + parts["train"]})


def open_knowledge(name: str, data_path: Path, seed: int = 0) -> KnowledgeGraph:
    """Open a knowledge graph by the name of its data set, one of `TRIPLE_SETS`; a seed draws those without a file."""
    if name == "paraphrases":
        return make_paraphrases(seed)
    if name == "qualified":
        return KnowledgeGraph.of_names(draw_statements(seed))
    if name == "statements":
        return read_statements(data_path)
    return read_triples(data_path if name == "triples" else data_path / name)


def with_contexts(rows: Tensor, num_entities: int) -> Tensor:
    """Return statements (n, 3 + 2 m) as triples (n, 3) whose relation is a number for relation and qualifiers together.

    The order of the qualifiers says nothing. So what completes a statement is known of those with the same qualifiers.
    """
    if rows.shape[1] == COLUMNS:
        return rows
    pairs = (rows[:, COLUMNS::2] * num_entities + rows[:, COLUMNS + 1 :: 2]).sort(dim=1).values
    _, number = torch.cat([rows[:, 1:2], pairs], dim=1).unique(dim=0, return_inverse=True)
    return torch.stack([rows[:, 0], number, rows[:, 2]], dim=1)


class Known:
    """Which entities complete a triple, by what is known of all parts: those are left out of the ranking of another.

    Args:
        triples: (n, 3) int64, of all parts.
        num_relations: number of relations.
    """

    def __init__(self, triples: Tensor, num_relations: int) -> None:
        self.num_relations = num_relations
        self.tables = {of_tail: self._table(triples, of_tail) for of_tail in (True, False)}

    def _key(self, triples: Tensor, of_tail: bool) -> Tensor:
        return triples[:, 0 if of_tail else 2] * self.num_relations + triples[:, 1]

    def _table(self, triples: Tensor, of_tail: bool) -> tuple[Tensor, Tensor]:
        """Return the known end with the relation as one number, in order, and the other end."""
        pairs = torch.stack([self._key(triples, of_tail), triples[:, 2 if of_tail else 0]]).unique(dim=1)
        return pairs[0].contiguous(), pairs[1]

    def others(self, triples: Tensor, of_tail: bool) -> Tensor:
        """Return the pairs (2, E) of one of the triples (B, 3) and an entity that fits it, other than its own."""
        keys, entities = self.tables[of_tail]
        wanted = self._key(triples, of_tail)
        first, end = torch.searchsorted(keys, wanted), torch.searchsorted(keys, wanted, right=True)
        rows = torch.arange(triples.shape[0], device=triples.device).repeat_interleave(end - first)
        starts = (end - first).cumsum(0) - (end - first)
        found = entities[torch.arange(rows.shape[0], device=rows.device) - starts[rows] + first[rows]]
        is_other = found != triples[rows, 2 if of_tail else 0]
        return torch.stack([rows, found])[:, is_other]


class TripleLoader(EpochLoader):
    """Triples in training; in evaluation queries for the tail of each, and for its head.

    In training the label is 0: what holds comes before what does not.

    Args:
        rows: (n, 3 + 2 m) int64, the triples of this part with their qualifiers.
        asked: (n, 3) int64, the same `with_contexts`.
        facts: (f, 3 + 2 m) int64, those of training, in which networks may read.
        known: all parts `with_contexts`.
        settings: settings of the batches.
    """

    def __init__(self, rows: Tensor, asked: Tensor, facts: Tensor, known: Known, settings: LoaderSettings) -> None:
        super().__init__(len(rows) if settings.shuffle else 2 * len(rows), settings)
        self.rows, self.facts, self._asked, self._known = rows, facts, asked, known

    @property
    def triples(self) -> Tensor:
        """The triples (n, 3) without their qualifiers."""
        return self.rows[:, :COLUMNS]

    def __iter__(self) -> Iterator[Batch]:
        """Yield the batches of the current epoch."""
        for step in self._steps():
            indices = step.indices.to(self._settings.device)
            if self._settings.shuffle:
                queries = self._queries(indices, torch.ones_like(indices, dtype=torch.bool))
                yield Batch(queries, torch.zeros_like(indices), indices)
            else:
                of_tail = indices % 2 == 0
                others = self._others(self._asked[indices // 2], of_tail)
                queries = self._queries(indices // 2, of_tail)._replace(others=others)
                yield Batch(queries, queries.wanted, indices)

    def _queries(self, places: Tensor, of_tail: Tensor) -> Queries:
        rows = self.rows[places]
        qualifiers = rows[:, COLUMNS:] if rows.shape[1] > COLUMNS else None
        return Queries(rows[:, :COLUMNS], of_tail, qualifiers=qualifiers, facts=self.facts)

    def _others(self, asked: Tensor, of_tail: Tensor) -> Tensor:
        parts = []
        for end in (True, False):
            [rows] = torch.where(of_tail == end)
            row, entity = self._known.others(asked[rows], end)
            parts.append(torch.stack([rows[row], entity]))
        return torch.cat(parts, dim=1)


def build_triples(options: Options) -> LabelledData:
    """Build the completion of a knowledge graph, whose classes are entities.

    Raises:
        InputError: a file is missing or has bad lines.
    """
    graph = open_knowledge(options.name, options.data_path, options.split or 0)  # at least 0
    rows = graph.triples.to(options.device)
    asked = with_contexts(rows, len(graph.entities))
    known = Known(asked, int(asked[:, 1].max()) + 1)
    sizes = [len(part) for part in graph.parts.values()]
    parts = dict(zip(graph.parts, zip(rows.split(sizes), asked.split(sizes), strict=True), strict=True))
    loaders = {}
    for part, (own, own_asked) in parts.items():
        subset = options.subset(part, len(own))
        settings = options.settings(part, ((), ()))
        loaders[part] = TripleLoader(own[subset], own_asked[subset], parts["train"][0], known, settings)
    shape = (len(graph.relations),)
    train, test, val = loaders["train"], loaders["test"], loaders.get("val")
    return LabelledData(options.name, train, test, graph.entities, shape, (), (), val, task="completion", kind="triple")

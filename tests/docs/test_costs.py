"""The page of the relatives, and the README, say what the benchmarks measured."""

from itertools import dropwhile, takewhile
from pathlib import Path

from convnn.nn import list_layers
from fences import ROOT

DOCS = ROOT / "docs"


def table(page: Path, heading: str) -> dict[str, dict[str, str]]:
    """Rows of the first table under a heading by their first cell, cells by the heads of their columns."""
    _, below = page.read_text().split(f"# {heading}\n")
    lines = takewhile(is_row, dropwhile(lambda line: not is_row(line), below.splitlines()))
    heads, _, *rows = ([cell.strip(" `") for cell in line.strip("|").split("|")] for line in lines)
    return {row[0]: dict(zip(heads, row, strict=True)) for row in rows}


def is_row(line: str) -> bool:
    return line.startswith("|")


def test_costs_are_those_of_the_benchmarks() -> None:
    here = table(DOCS / "relatives.md", "What they cost, and what they learn")
    measured = table(DOCS / "benchmarks" / "README.md", "All layers on maps, 64->64, 32x32, batch 16")
    compared = here.keys() & measured.keys()
    assert compared >= {"Conv2d", *list_layers("maps")[-8:]}
    for name in compared:
        for column in ("parameters", "GFLOPs", "training, ms", "times Conv2d", "MB"):
            assert here[name][column] == measured[name][column], f"{name}: {column}"


def test_costs_of_the_readme_are_those_of_the_benchmarks() -> None:
    measured = table(DOCS / "benchmarks" / "README.md", "One layer against the size of the map, 64->64, batch 8")
    assert table(ROOT / "README.md", "What it costs") == measured
    assert measured.keys() >= {"Conv2d", "ConvNN, K = 9", "Branching, half ConvNN", "ConvNN_Pos"}

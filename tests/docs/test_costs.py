"""The page of the relatives, and the README, say what the benchmarks measured."""

from itertools import dropwhile, takewhile
from pathlib import Path

import pytest
import torch

from convnn.models import create_model
from convnn.nn import LAYERS, UnpaddedLayer, list_layers
from convnn.train.summary import summarize
from fences import ROOT, blocks_of, commands_of

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
    choosing = [name for name in list_layers("maps") if UnpaddedLayer in getattr(LAYERS[name].build, "__mro__", ())]
    assert compared >= {"Conv2d", *choosing}
    assert len(choosing) == 8
    for name in compared:
        for column in ("parameters", "GFLOPs", "training, ms", "times Conv2d", "MB"):
            assert here[name][column] == measured[name][column], f"{name}: {column}"


def test_costs_of_the_readme_are_those_of_the_benchmarks() -> None:
    measured = table(DOCS / "benchmarks" / "README.md", "One layer against the size of the map, 64->64, batch 8")
    assert table(ROOT / "README.md", "What it costs") == measured
    assert measured.keys() >= {"Conv2d", "ConvNN, K = 9", "Branching, half ConvNN", "ConvNN_Pos"}


def billions(model: str) -> float:
    """Return the operations of one image of 64 x 64 pixels in a network of Branching."""
    with torch.device("meta"):
        network = create_model(model, "Branching", num_classes=2)
    return summarize(network, (3, 64, 64)).gflops


@pytest.mark.parametrize("page", ["README.md", "docs/index.md", "docs/data.md"])
def test_the_first_network_for_pictures_is_within_reach_of_a_cpu(page: str) -> None:
    commands = [words for block in blocks_of(ROOT / page, "sh") for words in commands_of(block)]
    models = [words[words.index("--model") + 1] for words in commands if "imagefolder" in words]
    assert models
    assert all(billions(model) < 2 for model in models)


def test_the_page_on_pictures_says_what_a_network_that_never_downsamples_costs() -> None:
    text = " ".join((DOCS / "data.md").read_text().split())
    published, external = billions("resnet18"), billions("torchvision:resnet18")
    costs = f"{published:.0f} GFLOPs an image with Branching, torchvision's {external:.1f}"
    assert f"at `--resize 64` this `resnet18` takes {costs}." in text

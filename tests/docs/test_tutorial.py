"""The tutorial is a notebook: it runs from top to bottom, and prints what is kept in it."""

import copy
import re
import sys
from pathlib import Path

import pytest

from fences import ROOT

NOTEBOOK = ROOT / "docs" / "tutorial.ipynb"


@pytest.fixture
def notebook(monkeypatch: pytest.MonkeyPatch):
    """The tool of the pages that reads and runs it."""
    monkeypatch.setattr(sys, "path", [str(ROOT / "docs"), *sys.path])
    import generate.notebook

    yield generate.notebook
    for name in [name for name in sys.modules if name.split(".")[0] == "generate"]:
        del sys.modules[name]


def printed(cells: list[dict]) -> list[str]:
    return ["".join(one.get("text", ())) for cell in cells for one in cell.get("outputs", ())]


@pytest.mark.long
def test_the_tutorial_runs_and_prints_what_it_shows(notebook, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    kept = notebook.read(NOTEBOOK)
    run = notebook.run(copy.deepcopy(kept))
    accuracy = re.compile(r"[\d.]+%")  # rounding differs between machines, and learning with it
    before, after = ([accuracy.sub("", text) for text in printed(one["cells"])] for one in (kept, run))
    assert after == before
    last = max(float(found.rstrip("%")) for text in printed(run["cells"]) for found in accuracy.findall(text))
    assert last > 85, "the network of the tutorial learns"


def test_the_tutorial_is_a_notebook_with_a_page(notebook) -> None:
    kept = notebook.read(NOTEBOOK)
    assert (kept["nbformat"], len({cell["id"] for cell in kept["cells"]})) == (4, len(kept["cells"]))
    page = "\n".join(notebook.page("tutorial"))
    for cell in kept["cells"]:
        assert "".join(cell["source"]) in page
    assert page.count("data:image/png;base64,") == 3

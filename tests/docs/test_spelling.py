"""The pages spell the same word the same way: "neighbour" in prose, `neighbor` in code."""

import re
from pathlib import Path

import pytest

from fences import FENCE, PAGES, ROOT, name_of

PROSE = [*PAGES, ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", ROOT / "examples" / "README.md"]
CODE = re.compile(r"`[^`\n]*`|\]\([^)]*\)|^:::.*$|^ +options:.*$|https?://\S+", re.MULTILINE)
"""Code, the targets of links, and what the reference is made of."""


def american(text: str) -> list[str]:
    """Return the words of a page's prose that are spelt as in code; names of classes and titles are capital."""
    return re.findall(r"\bneighbor\w*", CODE.sub(" ", FENCE.sub(" ", text)))


@pytest.mark.parametrize("page", PROSE, ids=name_of)
def test_prose_has_neighbours(page: Path) -> None:
    assert american(page.read_text(encoding="utf-8")) == []


def test_a_neighbor_is_found_in_prose_alone() -> None:
    text = "A neighbor, `neighbor` and [neighbours](neighbors.md).\n\n```python\nneighbor = 1\n```\n"
    assert american(text) == ["neighbor"]

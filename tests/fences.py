"""The fenced blocks of the pages, and the commands in them."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from textwrap import dedent
from typing import NamedTuple

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
FENCE = re.compile(r"^(?P<indent> *)```(?P<language>\w*)\n(?P<text>.*?)^(?P=indent)```", re.MULTILINE | re.DOTALL)
SHELL = ("sh", "bash", "console")


class Block(NamedTuple):
    """A fenced block.

    Attributes:
        line: line of the page on which the block begins.
        language: word after the fence.
        text: text without indentation.
    """

    line: int
    language: str
    text: str


def name_of(page: Path) -> str:
    """Return the test name of a page."""
    return str(page.relative_to(ROOT))


def blocks_of(page: Path, *languages: str) -> list[Block]:
    """Return the blocks of a page in the given languages."""
    text = page.read_text(encoding="utf-8")
    found = (Block(text.count("\n", 0, m.start()) + 1, m["language"], dedent(m["text"])) for m in FENCE.finditer(text))
    return [block for block in found if block.language in languages]


def commands_of(block: Block) -> Iterator[list[str]]:
    """Yield the commands of a block as words; in a console block those after a prompt."""
    for line in block.text.replace("\\\n", " ").splitlines():
        if block.language == "console":
            if not line.startswith("$ "):
                continue
            line = line.removeprefix("$ ")
        lexer = shlex.shlex(line, posix=True, punctuation_chars=";&|")
        lexer.whitespace_split = True
        words: list[str] = []
        for word in lexer:
            if set(word) <= set(";&|"):
                yield words
                words = []
            else:
                words.append(word)
        if words:
            yield words

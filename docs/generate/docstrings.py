"""Docstrings as pages read them: mathematics in roles of reStructuredText becomes that of Markdown."""

import re
from typing import Any

from griffe import Extension, Object

BLOCK = re.compile(r"^\.\. math::\s*(.+(?:\n +\S.*)*)", re.MULTILINE)
INLINE = re.compile(r":math:`([^`]+)`")
PAPER = re.compile(r"arXiv (\d{4}\.\d{5})")
EXAMPLE = re.compile(r"^Example:$", re.MULTILINE)


class Mathematics(Extension):
    """Rewrites each docstring before it is parsed."""

    def on_object(self, *, obj: Object, **_: Any) -> None:
        """Rewrite that of a module, class, function or attribute."""
        if obj.docstring is not None:
            obj.docstring.value = in_markdown(obj.docstring.value)


def in_markdown(text: str) -> str:
    r"""`.. math::` between `$$`, `:math:` between `$`, papers as links, examples under the title that griffe knows."""
    text = BLOCK.sub(lambda match: f"$$\n{match[1]}\n$$", text)
    text = INLINE.sub(r"$\1$", text)
    text = PAPER.sub(r"[arXiv \1](https://arxiv.org/abs/\1)", text)
    return EXAMPLE.sub("Examples:", text)

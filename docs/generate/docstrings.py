"""Docstrings as pages read them: mathematics in roles of reStructuredText becomes that of Markdown."""

import re
from typing import Any

from griffe import Extension, Object

BLOCK = re.compile(r"^\.\. math:: *(.+(?:\n +\S.*)*)", re.MULTILINE)
INLINE = re.compile(r":math:`([^`]+)`")


class Mathematics(Extension):
    """Rewrites each docstring before it is parsed."""

    def on_object(self, *, obj: Object, **_: Any) -> None:
        """Rewrite that of a module, class, function or attribute."""
        if obj.docstring is not None:
            obj.docstring.value = in_markdown(obj.docstring.value)


def in_markdown(text: str) -> str:
    r"""`.. math:: f` as a block between `$$`, and `:math:` roles between `$`."""
    text = BLOCK.sub(lambda match: f"$$\n{match[1]}\n$$", text)
    return INLINE.sub(r"$\1$", text)

"""Mathematics as MathML, which browsers draw themselves: no script, no font and no request to anybody."""

import re
from html import unescape
from xml.etree.ElementTree import Element

from latex2mathml.converter import convert
from markdown import Markdown
from markdown.extensions import Extension
from markdown.treeprocessors import Treeprocessor

LIMITS = re.compile(r"\\operatorname\*\{(?P<name>[^{}]*)\}_\{(?P<below>(?:[^{}]|\{[^{}]*\})*)\}")
r"""`\operatorname*{name}_{below}`, which latex2mathml draws wrongly where the name has a space."""


class MathML(Treeprocessor):
    r"""Turns what `pymdownx.arithmatex` found, `\(inline\)` or `\[block\]`, into MathML."""

    def run(self, root: Element) -> None:
        """Replace the text of every formula."""
        for element in root.iter():
            if element.get("class") == "arithmatex" and element.text:
                element.text = self.md.htmlStash.store(mathml(unescape(element.text)))


def mathml(text: str) -> str:
    r"""A formula between `\(` and `\)` or `\[` and `\]`."""
    latex = text[2:-2].strip().replace(r"\_", "_")
    latex = LIMITS.sub(_with_limits, latex)
    return convert(latex, display="block" if text.startswith(r"\[") else "inline")


def _with_limits(operator: re.Match[str]) -> str:
    """Write the name of an operator upright, and its limit below."""
    name = operator["name"].replace(r"\,", " ")
    return rf"\underset{{{operator['below']}}}{{\text{{{name}}}}} \,"


class MathMLExtension(Extension):
    """Put it behind everything else that changes the page."""

    def extendMarkdown(self, md: Markdown) -> None:
        """Register."""
        md.treeprocessors.register(MathML(md), "mathml", 1)


def makeExtension(**settings: object) -> MathMLExtension:
    """What Markdown calls."""
    return MathMLExtension(**settings)

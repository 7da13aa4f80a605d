"""Mathematics as MathML, which browsers draw themselves: no script, no font and no request to anybody."""

from html import unescape
from xml.etree.ElementTree import Element

from latex2mathml.converter import convert
from markdown import Markdown
from markdown.extensions import Extension
from markdown.treeprocessors import Treeprocessor


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
    return convert(latex, display="block" if text.startswith(r"\[") else "inline")


class MathMLExtension(Extension):
    """Put it behind everything else that changes the page."""

    def extendMarkdown(self, md: Markdown) -> None:
        """Register."""
        md.treeprocessors.register(MathML(md), "mathml", 1)


def makeExtension(**settings: object) -> MathMLExtension:
    """What Markdown calls."""
    return MathMLExtension(**settings)

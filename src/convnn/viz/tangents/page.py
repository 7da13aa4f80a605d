"""Tangent kernels of networks on one self-contained page."""

from collections.abc import Sequence

from convnn.viz._sorted import sorted_page
from convnn.viz.figure import own_style, svg_text, themed
from convnn.viz.tangents.plot import tangent_figure
from convnn.viz.tangents.table import TangentRun, columns_of


@own_style()
def tangent_page(runs: Sequence[TangentRun], title: str) -> str:
    """Return the page as HTML: the picture, and a table that sorts by a click on a heading; it loads no other file."""
    return sorted_page(
        columns_of(runs),
        title=title,
        wide=themed(svg_text(tangent_figure(runs))),
        narrow=themed(svg_text(tangent_figure(runs, is_narrow=True))),
        picture="Spectra and alignments",
        table="Table of the kernels",
        note="Dashed lines and open circles are networks at their start. Alignments are cosines of centred kernels:"
        " with that of the labels, and with the kernel at the start.",
    )

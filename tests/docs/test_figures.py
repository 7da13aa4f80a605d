"""The figures of the pages: drawn anew, by the script that drew those beside the pages."""

import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fences import ROOT

KEPT = ROOT / "docs" / "images" / "steps"


@pytest.fixture
def figures(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(sys, "path", [str(ROOT / "docs"), *sys.path])
    import figures.__main__

    yield figures
    for name in [name for name in sys.modules if name.split(".")[0] == "figures"]:
        del sys.modules[name]


@pytest.mark.slow
def test_every_figure_is_drawn_as_it_is_kept(figures, tmp_path: Path) -> None:
    figures.__main__.main(tmp_path / "steps")
    drawn = {path.name: Image.open(path) for path in (tmp_path / "steps").iterdir()}
    assert set(drawn) == {path.name for path in KEPT.iterdir()}
    for name, picture in drawn.items():
        kept = Image.open(KEPT / name)
        assert picture.size == kept.size
        small = [np.asarray(one.convert("L").resize((98, 25)), dtype=float) for one in (picture, kept)]
        assert np.abs(small[0] - small[1]).max() < 40, name  # letters may differ with the version of matplotlib


def test_the_sum_in_the_figure_is_that_of_its_products(figures) -> None:
    row = figures.steps.summed()
    texts = [text.get_text() for text in row.axes[1].texts]
    values, kernel = [float(t) for t in texts[:9]], [float(t) for t in texts[11:20]]  # a name and a sign between
    total = float(next(text for text in texts if "sum" in text).split()[-1])
    assert total == pytest.approx(np.dot(values, kernel), abs=0.02)

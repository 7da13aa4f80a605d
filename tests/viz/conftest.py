"""The page of a small network, open in a system browser."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from convnn.nn import ConvNN2d
from convnn.viz import LayerNeighbors, find_neighbors, write_page
from open_page import HEIGHT, WIDTH, Open

BROWSERS = ("chromium", "chromium-browser", "google-chrome")


@pytest.fixture(scope="session")  # of a module, it would start again for tests of another
def browser() -> Iterator[Any]:
    playwright = pytest.importorskip("playwright.sync_api")
    chromium = next(filter(None, map(shutil.which, BROWSERS)), None)
    if chromium is None:
        pytest.skip(f"none of {', '.join(BROWSERS)} is installed")
    with playwright.sync_playwright() as tool:
        browser = tool.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def visit(browser: Any) -> Iterator[Callable[..., Open]]:
    """Return a function that opens a page in an offline browser; no request and no error may occur."""
    visits = []

    def visit(path: Path, address: str = "", **settings: object) -> Open:
        context = browser.new_context(**{"offline": True, "viewport": {"width": 1280, "height": 800}} | settings)
        one = Open(context.new_page())
        visits.append((context, one))
        url = path.as_uri()
        one.page.on("request", lambda r: r.url.startswith(("data:", url)) or one.troubles.append(f"fetched {r.url}"))
        one.page.on("console", lambda message: one.troubles.append(f"{message.type}: {message.text}"))
        one.page.on("pageerror", lambda error: one.troubles.append(f"error: {error}"))
        one.page.goto(url + address)
        one.page.wait_for_selector("html[data-ready]")
        one.settle()
        return one

    yield visit
    troubles = [trouble for _, one in visits for trouble in one.troubles]
    for context, _ in visits:
        context.close()
    assert troubles == []


@pytest.fixture(scope="module")
def image() -> torch.Tensor:
    return torch.rand(3, HEIGHT, WIDTH, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def layers(image: torch.Tensor) -> list[LayerNeighbors]:
    """Return maps of 12 x 20, 12 x 20 and 3 x 5; the last must choose some of its 18 neighbours in the padding."""
    torch.manual_seed(0)
    loc_col = {"similarity_type": "Loc_Col", "metric": "euclidean", "padding": 0}
    model = nn.Sequential(ConvNN2d(3, 8, K=9), ConvNN2d(8, 8, K=5, **loc_col), nn.MaxPool2d(4), ConvNN2d(8, 8, K=18))
    return find_neighbors(model, image[None])


@pytest.fixture(scope="module")
def page(image: torch.Tensor, layers: list[LayerNeighbors], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_page(image, layers, tmp_path_factory.mktemp("page") / "page.html", title="A page", pixel=(5, 6))

"""Actions of the tests on the interactive page, and its expected contents."""

import math
from dataclasses import dataclass, field
from fractions import Fraction
from io import BytesIO
from typing import TYPE_CHECKING

import numpy as np
import torch
from PIL import Image

from convnn.viz import LayerNeighbors

if TYPE_CHECKING:
    from playwright.sync_api import Page

HEIGHT, WIDTH = 12, 20
FRAME = 0.07 * WIDTH  # of the strip around the image


@dataclass
class Open:
    """An open page with its actions."""

    page: "Page"
    troubles: list[str] = field(default_factory=list)

    def point(self, row: int, column: int) -> tuple[float, float]:
        """Return the screen position of the centre of a pixel of a HEIGHT x WIDTH image."""
        box = self.page.locator("#picture").bounding_box()
        unit = box["width"] / (WIDTH + 2 * FRAME)
        return box["x"] + (FRAME + column + 0.5) * unit, box["y"] + (FRAME + row + 0.5) * unit

    def hover(self, row: int, column: int) -> None:
        self.page.mouse.move(*self.point(row, column))
        self.settle()

    def press(self, *keys: str) -> None:
        self.page.locator("#map").focus()
        for key in keys:
            self.page.keyboard.press(key)
        self.settle()

    def choose_layer(self, number: int) -> None:
        self.page.locator(f"[name=layer][value='{number}']").check()
        self.settle()

    def settle(self) -> None:
        """Wait two frames, after which everything is drawn."""
        self.page.evaluate("() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")

    def listed(self) -> list[tuple[str, float, float]]:
        """Return place, distance and score of each neighbour."""
        rows = self.page.locator("#list tbody tr").evaluate_all(
            "(rows) => rows.map((row) => Array.from(row.cells, (cell) => cell.innerText.trim()))"
        )
        assert [rank for rank, *_ in rows] == [str(i + 1) for i in range(len(rows))]
        return [(place, number(distance), number(score)) for _, place, distance, score in rows]

    def facts(self) -> dict[str, tuple[str, str]]:
        rows = self.page.locator("#facts tbody tr").evaluate_all(
            "(rows) => rows.map((row) => Array.from(row.cells, (cell) => cell.innerText.trim()))"
        )
        return {name: (pixel, layer) for name, pixel, layer in rows}

    def state(self) -> dict[str, str]:
        """Return layer, row, column and view of the address after it is updated: timers of a page fire in order."""
        self.page.evaluate("() => new Promise((done) => setTimeout(done, 300))")
        return dict(pair.split("=") for pair in self.page.evaluate("location.hash").lstrip("#").split("&"))


def number(text: str) -> float:
    return math.nan if text == "–" else float(text)


@dataclass
class Choice:
    """A neighbour as found in Python: its place on the map and its distance."""

    row: int
    column: int
    score: float
    rows: int
    columns: int
    inside: bool


def nearest_query(layer: LayerNeighbors, pixel: tuple[int, int], size: tuple[int, int]) -> tuple[int, int]:
    """Return the first query whose centre is nearest to that of a pixel of an image of some size."""

    def distance(query: tuple[int, int]) -> Fraction:
        offsets = (Fraction(2 * q + 1, 2 * n) * side for q, n, side in zip(query, layer.size, size, strict=True))
        return sum((offset - p - Fraction(1, 2)) ** 2 for offset, p in zip(offsets, pixel, strict=True))

    return min(map(tuple, layer.queries.tolist()), key=distance)


def expected(layer: LayerNeighbors, pixel: tuple[int, int], height: int = HEIGHT, width: int = WIDTH) -> list[Choice]:
    """Return the neighbours of the query nearest to a pixel except itself, best first, without duplicates."""
    query = nearest_query(layer, pixel, (height, width))
    queries = [tuple(query) for query in layer.queries.tolist()]
    scores = layer.scores[queries.index(query)].tolist()
    slots = sorted(zip(layer.places[queries.index(query)].tolist(), scores, strict=True), key=lambda slot: -slot[1])
    found: dict[tuple[int, int], Choice] = {}
    for (row, column), score in slots:
        inside = 0 <= row < layer.size[0] and 0 <= column < layer.size[1]
        if (row, column) != query:
            found.setdefault((row, column), Choice(row, column, score, row - query[0], column - query[1], inside))
    return list(found.values())


def times_chosen(layer: LayerNeighbors) -> dict[tuple[int, int], int]:
    """Return by how many other queries each place is chosen."""
    counts = {(row, column): 0 for row in range(layer.size[0]) for column in range(layer.size[1])}
    for query, places in zip(layer.queries.tolist(), layer.places.tolist(), strict=True):
        for place in {tuple(place) for place in places} - {tuple(query)}:
            if place in counts:
                counts[place] += 1
    return counts


def color_at(one: Open, row: float, column: float, picture: str = "#picture") -> np.ndarray:
    """Return the visible colour at a place of the image, 0 to 255."""
    seen = np.asarray(Image.open(BytesIO(one.page.locator(picture).screenshot())).convert("RGB"), dtype=float)
    down, across = (FRAME + row) / (HEIGHT + 2 * FRAME), (FRAME + column) / (WIDTH + 2 * FRAME)
    return seen[int(down * len(seen)), int(across * seen.shape[1])]


def by_hand(places: list[tuple[int, int]], size: tuple[int, int], stride: int, **settings: object) -> LayerNeighbors:
    """Make neighbours where every `stride`-th position along both sides chooses the same places, the first most."""
    queries = torch.cartesian_prod(*(torch.arange(0, side, stride) for side in size))
    scores = torch.arange(len(places), 0, -1.0).expand(len(queries), -1)
    return LayerNeighbors(
        "by.hand", size, queries, torch.tensor(places).expand(len(queries), -1, -1), scores, **settings
    )

"""The page in a real browser, without a network: what it says about a pixel is what find_neighbors said."""

import math
import re
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from urllib.parse import unquote

import numpy as np
import pytest
import torch
from matplotlib import colormaps
from PIL import Image
from torch import nn

from convnn.models import create_model
from convnn.nn import ConvNN2d
from convnn.viz import LayerNeighbors, find_neighbors, write_page

playwright = pytest.importorskip("playwright.sync_api")
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no chromium, chromium-browser or google-chrome on the path")

HEIGHT, WIDTH = 12, 20
FRAME = 0.07 * WIDTH  # of the strip around the image
OPACITY = 0.75  # of the marks
HOSTILE = "</script><script>document.title = 'taken'</script><img src=x onerror=alert(1)>"
PIXELS = [(0, 0), (3, 17), (11, 19), (7, 8)]


@dataclass
class Open:
    """A page that is open, and how one uses it."""

    page: "playwright.Page"
    troubles: list[str] = field(default_factory=list)

    def point(self, row: int, column: int) -> tuple[float, float]:
        """The middle of a pixel of a HEIGHT x WIDTH image on the screen."""
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
        """Two frames: what was asked for is drawn."""
        self.page.evaluate("() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")

    def listed(self) -> list[tuple[str, float, float]]:
        """Place, distance and score of each neighbour."""
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
        """Layer, row, column and view of the address, once it has followed: timers of a page fire in their order."""
        self.page.evaluate("() => new Promise((done) => setTimeout(done, 300))")
        return dict(pair.split("=") for pair in self.page.evaluate("location.hash").lstrip("#").split("&"))


def number(text: str) -> float:
    return math.nan if text == "–" else float(text)


@pytest.fixture(scope="module")
def browser() -> Iterator["playwright.Browser"]:
    with playwright.sync_playwright() as tool:
        browser = tool.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def visit(browser: "playwright.Browser") -> Iterator[Callable[..., Open]]:
    """Opens a page from disk in a browser that is offline; in the end nothing may have been fetched or gone wrong."""
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
    """Maps of 12 x 20, 12 x 20 and 3 x 5; the last has 15 positions and must choose some of its 18 in the padding."""
    torch.manual_seed(0)
    loc_col = {"similarity_type": "Loc_Col", "magnitude_type": "euclidean", "padding": 0}
    model = nn.Sequential(ConvNN2d(3, 8, K=9), ConvNN2d(8, 8, K=5, **loc_col), nn.MaxPool2d(4), ConvNN2d(8, 8, K=18))
    return find_neighbors(model, image[None])


@pytest.fixture(scope="module")
def page(image: torch.Tensor, layers: list[LayerNeighbors], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_page(image, layers, tmp_path_factory.mktemp("page") / "page.html", title="A page", pixel=(5, 6))


@dataclass
class Choice:
    """A neighbour as it was found in Python: on the map, and how far."""

    row: int
    column: int
    score: float
    rows: int
    columns: int
    inside: bool


def expected(layer: LayerNeighbors, pixel: tuple[int, int], height: int = HEIGHT, width: int = WIDTH) -> list[Choice]:
    """Whom the query nearest to a pixel chose except itself, best first, each once."""
    place = pixel[0] * layer.size[0] // height, pixel[1] * layer.size[1] // width
    queries = [tuple(query) for query in layer.queries.tolist()]
    query = min(queries, key=lambda one: math.dist(one, place))
    scores = layer.scores[queries.index(query)].tolist()
    slots = sorted(zip(layer.places[queries.index(query)].tolist(), scores, strict=True), key=lambda slot: -slot[1])
    found: dict[tuple[int, int], Choice] = {}
    for (row, column), score in slots:
        inside = 0 <= row < layer.size[0] and 0 <= column < layer.size[1]
        if (row, column) != query:
            found.setdefault((row, column), Choice(row, column, score, row - query[0], column - query[1], inside))
    return list(found.values())


def check_list(open_page: Open, choices: list[Choice], outside: str = "{}, {} padding") -> None:
    listed = open_page.listed()
    assert [place for place, _, _ in listed] == [
        f"{one.row}, {one.column}" if one.inside else outside.format(one.row, one.column) for one in choices
    ]
    for (_, distance, score), one in zip(listed, choices, strict=True):
        assert score == pytest.approx(one.score, rel=2e-3, abs=1e-6)
        if one.inside:
            assert distance == pytest.approx(math.hypot(one.rows, one.columns), abs=0.051)


def test_the_pointer_finds_the_neighbors_of_every_layer(visit, page, layers):
    one = visit(page)
    for number_, layer in enumerate(layers, start=1):
        one.choose_layer(number_)
        for pixel in PIXELS:
            one.hover(*pixel)
            check_list(one, expected(layer, pixel))
            assert f"row {pixel[0]}, column {pixel[1]}" in one.page.locator("#where").inner_text()
    assert one.page.locator("#name").inner_text() == layers[-1].name


def test_facts_are_distances_window_and_padding(visit, page, layers):
    one = visit(page, "#layer=3")
    layer = layers[2]
    for pixel in PIXELS:
        one.hover(*pixel)
        choices = expected(layer, pixel)
        facts = {name: pixel_value for name, (pixel_value, _) in one.facts().items()}
        on_map = [math.hypot(each.rows, each.columns) for each in choices]
        on_image = [math.hypot(each.rows * HEIGHT / 3, each.columns * WIDTH / 5) for each in choices]
        inside = sum(max(abs(each.rows), abs(each.columns)) <= 2 for each in choices)
        assert facts == {
            "Mean distance, map": f"{sum(on_map) / len(on_map):.1f} px",
            "Mean distance, image": f"{sum(on_image) / len(on_image):.1f} px",
            "Farthest, map": f"{max(on_map):.1f} px",
            "In the 5 × 5 window": f"{inside} of {len(choices)}",
            "In the padding": f"{sum(not each.inside for each in choices)} of {len(choices)}",
        }


def test_the_whole_layer_stands_beside_the_pixel(visit, page, layers):
    one = visit(page, "#layer=3")
    all_choices = [
        choice
        for row in range(3)
        for column in range(5)
        for choice in expected(layers[2], (row * 4 + 2, column * 4 + 2))
    ]
    distances = [math.hypot(each.rows, each.columns) for each in all_choices]
    in_padding = sum(not each.inside for each in all_choices) / len(all_choices)
    facts = {name: layer for name, (_, layer) in one.facts().items()}
    assert facts["Mean distance, map"] == f"{sum(distances) / len(distances):.1f} px"
    assert facts["Farthest, map"] == f"{max(distances):.1f} px"
    assert number(facts["In the padding"].removesuffix(" %")) == pytest.approx(100 * in_padding, abs=0.51)


def times_chosen(layer: LayerNeighbors) -> dict[tuple[int, int], int]:
    """By how many other queries each place is chosen."""
    counts = {(row, column): 0 for row in range(layer.size[0]) for column in range(layer.size[1])}
    for query, places in zip(layer.queries.tolist(), layer.places.tolist(), strict=True):
        for place in {tuple(place) for place in places} - {tuple(query)}:
            if place in counts:
                counts[place] += 1
    return counts


def test_a_row_of_the_list_is_pointed_out_on_the_image(visit, page):
    one = visit(page)

    def seen() -> bytes:
        one.settle()
        return one.page.locator("#picture").screenshot()

    before = seen()
    one.page.locator("#list tbody tr").nth(2).hover()
    assert seen() != before
    one.page.locator("h1").hover()
    assert seen() == before


def test_how_often_each_pixel_is_chosen(visit, page, layers):
    one = visit(page)
    one.page.get_by_label("How often chosen").check(force=True)
    for number_, layer in enumerate(layers, start=1):
        one.choose_layer(number_)
        counts = times_chosen(layer)
        most = sorted(counts.values(), reverse=True)
        for row, column in PIXELS:
            one.hover(row, column)
            count = counts[row * layer.size[0] // HEIGHT, column * layer.size[1] // WIDTH]
            facts = one.facts()
            assert facts["Chosen by others"][0] == ("once" if count == 1 else f"{count} times")
            assert facts["Chosen by others"][1] == f"mean {sum(most) / len(most):.1f}"
            assert facts["Never chosen"][1] == f"{most.count(0)} of {len(most)}"
        rows = one.page.locator("#list tbody tr").evaluate_all(
            "(rows) => rows.map((row) => [row.cells[1].innerText, Number(row.cells[2].innerText)])"
        )
        assert [count for _, count in rows] == most[: len(rows)]
        assert all(counts[tuple(map(int, place.split(", ")))] == count for place, count in rows)
        assert one.page.locator("#ticks span").last.inner_text() == f"{most[0]} times"


def test_keys_go_from_position_to_position(visit, page, layers):
    one = visit(page)
    one.press("ArrowRight", "ArrowDown")
    assert one.state() == {"layer": "1", "row": "6", "column": "7", "view": "neighbors"}
    check_list(one, expected(layers[0], (6, 7)))
    one.press("End")
    check_list(one, expected(layers[0], (6, 19)))
    one.press("ArrowRight", "ArrowUp", "ArrowLeft")
    check_list(one, expected(layers[0], (5, 18)))
    one.press("Control+Home", "ArrowUp", "ArrowLeft")
    check_list(one, expected(layers[0], (0, 0)))
    one.press("PageDown", "PageDown", "PageDown", "ArrowRight", "ArrowDown")
    assert one.state() == {"layer": "3", "row": "6", "column": "6", "view": "neighbors"}, "one block on, in its middle"
    check_list(one, expected(layers[2], (4, 4)))
    one.press("v", "Home", "PageUp")
    assert one.state() == {"layer": "2", "row": "6", "column": "0", "view": "chosen"}


def test_layers_are_radio_buttons(visit, page, layers):
    one = visit(page)
    one.page.locator("[name=layer]").first.focus()
    one.page.keyboard.press("ArrowDown")
    one.settle()
    check_list(one, expected(layers[1], (5, 6)))
    assert one.page.get_by_role("radio", name=re.compile("12 × 20")).count() == 2
    assert one.page.get_by_role("application").count() == 1


def test_the_focus_is_seen(visit, page):
    one = visit(page)
    for _ in range(3):
        one.page.keyboard.press("Tab")
        outlines = one.page.evaluate(
            "() => [document.activeElement, ...document.querySelectorAll(':focus + span, .card:has(:focus)')]"
            ".map((each) => getComputedStyle(each)).filter((each) => each.outlineStyle === 'solid')"
            ".map((each) => parseFloat(each.outlineWidth))"
        )
        assert max(outlines) >= 2


def test_a_finger_does_what_the_pointer_does(visit, page, layers):
    one = visit(page, viewport={"width": 390, "height": 844}, has_touch=True, is_mobile=True)
    for pixel in PIXELS:
        one.page.touchscreen.tap(*one.point(*pixel))
        one.settle()
        check_list(one, expected(layers[0], pixel))
    one.page.get_by_label("How often chosen").tap(force=True)
    one.settle()
    assert "Chosen by others" in one.facts()


def test_a_click_holds_the_pixel_until_the_next(visit, page, layers):
    one = visit(page)
    one.hover(3, 17)
    one.page.mouse.down()
    one.page.mouse.up()
    one.hover(7, 8)
    check_list(one, expected(layers[0], (3, 17)))
    assert one.page.locator("#held").is_visible()
    assert one.state()["held"] == "yes"
    one.press("Escape")
    one.hover(7, 9)
    check_list(one, expected(layers[0], (7, 9)))
    assert not one.page.locator("#held").is_visible()


def test_the_address_opens_a_view_and_follows(visit, page, layers):
    one = visit(page, "#layer=2&row=3&column=17&view=neighbors")
    check_list(one, expected(layers[1], (3, 17)))
    one.page.evaluate("location.hash = '#layer=3&row=11&column=0&view=neighbors'")
    one.settle()
    check_list(one, expected(layers[2], (11, 0)))
    for address in ("#layer=99&row=1e9&column=-3&view=<b>", "#&&==", "#row=4000000"):
        other = visit(page, address)
        state = other.state()
        assert 1 <= int(state["layer"]) <= 3
        assert (0 <= int(state["row"]) < HEIGHT, 0 <= int(state["column"]) < WIDTH) == (True, True)
        assert state["view"] == "neighbors"


def test_it_is_said_aloud(visit, page, layers):
    one = visit(page)
    assert one.page.locator("#live").get_attribute("aria-live") == "polite"
    one.hover(3, 17)
    one.page.wait_for_function("() => document.getElementById('live').textContent.includes('Row 3, column 17')")
    said = one.page.locator("#live").text_content()
    assert f"Layer 1 of 3, {layers[0].name}. Row 3, column 17 chooses itself and 8 others: " in said
    places = [(int(row), int(column)) for row, column in re.findall(r"row (\d+) column (\d+)", said)]
    assert places == [(each.row, each.column) for each in expected(layers[0], (3, 17)) if each.inside]
    one.press("v")
    one.page.wait_for_function("() => document.getElementById('live').textContent.includes('by others')")
    count = times_chosen(layers[0])[3, 17]
    assert (
        f"is chosen {'once' if count == 1 else f'{count} times'} by others" in one.page.locator("#live").text_content()
    )


CONTRASTS = """() => {
  const rgb = (color) => color.match(/[\\d.]+/g).map(Number);
  const luminance = (color) => {
    const linear = (v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
    const [r, g, b] = rgb(color).map((v) => linear(v / 255));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const background = (element) => {
    for (; element; element = element.parentElement) {
      const color = getComputedStyle(element).backgroundColor;
      if ((rgb(color)[3] ?? 1) > 0) return color;
    }
  };
  const found = [];
  for (const element of document.querySelectorAll("body *")) {
    const written = [...element.childNodes].some((node) => node.nodeType === 3 && node.textContent.trim());
    if (!written || !element.checkVisibility() || element.closest("script, .unseen, noscript")) continue;
    const lights = [luminance(getComputedStyle(element).color), luminance(background(element))];
    found.push([element.textContent.trim(), (Math.max(...lights) + 0.05) / (Math.min(...lights) + 0.05)]);
  }
  return found;
}"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("view", ["neighbors", "chosen"])
def test_text_is_readable_in_light_and_dark(visit, page, scheme, view):
    one = visit(page, f"#layer=3&row=0&column=0&view={view}&held=yes", color_scheme=scheme)
    contrasts = one.page.evaluate(CONTRASTS)
    assert len(contrasts) > 40
    assert any("held" in text for text, _ in contrasts)
    assert [(text, ratio) for text, ratio in contrasts if ratio < 4.5] == []
    background = one.page.evaluate("getComputedStyle(document.documentElement).backgroundColor")
    assert (sum(map(int, re.findall(r"\d+", background)[:3])) > 384) == (scheme == "light")


@pytest.mark.parametrize("width", [320, 390, 820, 1280, 1920])
def test_nothing_is_cut_off_at_any_width(visit, page, width):
    one = visit(page, viewport={"width": width, "height": 800})
    assert one.page.evaluate("document.documentElement.scrollWidth") <= width
    box = one.page.locator("#picture").bounding_box()
    assert box["x"] >= 0
    assert box["x"] + box["width"] <= width
    assert box["width"] / box["height"] == pytest.approx((WIDTH + 2 * FRAME) / (HEIGHT + 2 * FRAME), rel=0.02)


def test_hostile_names_are_text(visit, image, layers, tmp_path):
    named = [LayerNeighbors(f"{HOSTILE}{i}", *list(vars(one).values())[1:]) for i, one in enumerate(layers)]
    one = visit(write_page(image, named, tmp_path / "a #?% b.html", title=HOSTILE))
    assert one.page.locator("h1").inner_text() == HOSTILE
    assert one.page.title() == HOSTILE
    assert one.page.locator("#name").text_content() == f"{HOSTILE}0"
    assert one.page.locator("img").count() == 0
    assert unquote(one.page.url).split("#layer")[0].endswith("a #?% b.html")


def color_at(one: Open, row: float, column: float, picture: str = "#picture") -> np.ndarray:
    """What is seen at a place of the image, 0 to 255."""
    seen = np.asarray(Image.open(BytesIO(one.page.locator(picture).screenshot())).convert("RGB"), dtype=float)
    down, across = (FRAME + row) / (HEIGHT + 2 * FRAME), (FRAME + column) / (WIDTH + 2 * FRAME)
    return seen[int(down * len(seen)), int(across * seen.shape[1])]


def by_hand(places: list[tuple[int, int]], size: tuple[int, int], stride: int, **settings: object) -> LayerNeighbors:
    """Every `stride`-th position along both sides chooses the same places, the first most."""
    queries = torch.cartesian_prod(*(torch.arange(0, side, stride) for side in size))
    scores = torch.arange(len(places), 0, -1.0).expand(len(queries), -1)
    return LayerNeighbors(
        "by.hand", size, queries, torch.tensor(places).expand(len(queries), -1, -1), scores, **settings
    )


def test_marks_lie_where_the_neighbors_are(visit, tmp_path):
    """A black image, a map of 3 x 5 blocks: the nearest in yellow, the farthest in violet, one in the padding."""
    layer = by_hand([(1, 1), (0, 4), (-1, 2), (2, 0)], (3, 5), stride=1)
    one = visit(write_page(torch.zeros(1, HEIGHT, WIDTH), [layer], tmp_path / "page.html", pixel=(6, 6)))
    palette = 255 * colormaps["plasma"](np.linspace(0.97, 0.3, 4))[:, :3]  # other positions choose four others
    strip = np.array([0xDC, 0xDC, 0xD7])
    for color, place, under in zip(palette, [(2, 18), (-FRAME / 2, 10), (10, 2)], [0, strip, 0], strict=False):
        np.testing.assert_allclose(color_at(one, *place), OPACITY * color + (1 - OPACITY) * under, atol=8)
    assert color_at(one, 2, 2).max() == color_at(one, 10, 18).max() == 0
    frame = [color_at(one, 6, 4 + step / 20).min() for step in range(-10, 10)]
    assert max(frame) > 250, "a white frame around the position that chooses"
    small = color_at(one, 2, 18, ".card:not(.plain) canvas")
    np.testing.assert_allclose(small, OPACITY * palette[0], atol=8)


def test_colors_of_the_counts_grow_with_them(visit, tmp_path):
    layer = by_hand([(1, 1), (0, 4), (-1, 2), (2, 0)], (3, 5), stride=1)
    page = write_page(torch.zeros(1, HEIGHT, WIDTH), [layer], tmp_path / "page.html", pixel=(6, 14))
    one = visit(page, "#view=chosen")
    viridis = 255 * colormaps["viridis"]([0.0, 1.0])[:, :3]
    np.testing.assert_allclose(color_at(one, 1, 19), viridis[1], atol=8, err_msg="chosen by all others")
    np.testing.assert_allclose(color_at(one, 10, 18), viridis[0], atol=8, err_msg="never chosen")
    assert one.facts()["Never chosen"][1] == "12 of 15"
    assert one.facts()["Chosen by others"] == ("0 times", f"mean {3 * 14 / 15:.1f}")


def test_where_only_some_positions_choose_the_nearest_answers(visit, image, tmp_path):
    """Queries on every second row and column of the full map; each chooses itself and the place to its right."""
    queries = torch.cartesian_prod(torch.arange(0, HEIGHT, 2), torch.arange(0, WIDTH, 2))
    places = torch.stack([queries, queries + torch.tensor([0, 1])], dim=1)
    layer = LayerNeighbors(
        "strided", (HEIGHT, WIDTH), queries, places, torch.tensor([1.0, 0.5]).expand(len(queries), 2)
    )
    one = visit(write_page(image, [layer], tmp_path / "page.html"))
    for pixel in [(4, 6), (5, 6), (5, 7), (11, 19), (0, 1)]:
        one.hover(*pixel)
        row, column = (place // 2 * 2 for place in pixel)
        assert (
            f"Row {row}, column {column} of the map chooses itself and 1 other" in one.page.locator("h3").inner_text()
        )
        check_list(one, expected(layer, pixel))
    assert "60 choose" in one.page.locator("#map-size").inner_text()
    one.hover(4, 6)
    one.press("ArrowRight", "ArrowDown")
    assert (one.state()["row"], one.state()["column"]) == ("6", "8")
    one.press("v", "ArrowRight")
    assert one.facts()["Chosen by others"][0] == "once", "in this view every place answers for itself"
    assert (one.state()["row"], one.state()["column"]) == ("6", "9")
    one.press("ArrowRight")
    assert one.facts()["Chosen by others"][0] == "0 times"


def test_heads_are_shown_together_and_the_class_token_by_its_name(visit, tmp_path):
    torch.manual_seed(0)
    picture = torch.rand(3, HEIGHT, WIDTH)
    network = create_model("vit", "ConvNNAttention", K=4, num_heads=3, patch_size=4, num_layers=2, d_hidden=12, d_mlp=8)
    layers = find_neighbors(network, picture[None])
    assert any((layer.places < 0).any() for layer in layers)
    one = visit(write_page(picture, layers, tmp_path / "page.html"))
    assert "K = 4 in each of 3 heads" in one.page.locator("#map-size").inner_text()
    for number_, layer in enumerate(layers, start=1):
        one.choose_layer(number_)
        for pixel in PIXELS:
            one.hover(*pixel)
            choices = expected(layer, pixel)
            check_list(one, choices, outside="class token")
            tokens = sum(not each.inside for each in choices)
            assert one.facts()["Class token"][0] == f"{tokens} of {len(choices)}"


def test_one_position_that_sees_only_itself(visit, tmp_path):
    layer = by_hand([(0, 0)], (1, 1), stride=1)
    one = visit(write_page(torch.zeros(1, HEIGHT, WIDTH), [layer], tmp_path / "page.html"))
    assert one.listed() == []
    assert one.facts()["Mean distance, map"] == ("– px", "– px")
    one.press("ArrowRight", "ArrowDown", "End", "PageDown", "v")
    assert one.facts()["Chosen by others"][0] == "0 times"

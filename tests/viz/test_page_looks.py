"""The appearance of the page: readable, nothing cut off, every mark in its place."""

import re
from urllib.parse import unquote

import numpy as np
import pytest
import torch
from matplotlib import colormaps

from convnn.viz import LayerNeighbors, write_page
from open_page import FRAME, HEIGHT, WIDTH, by_hand, color_at

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("browser")]  # starting one takes seconds

OPACITY = 0.75  # of the marks
HOSTILE = "</script><script>document.title = 'taken'</script><img src=x onerror=alert(1)>"


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


def test_marks_lie_where_the_neighbors_are(visit, tmp_path):
    """Check a black image with a map of 3 x 5 blocks: the nearest is yellow, the farthest violet."""
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


@pytest.mark.slow
def test_colors_of_the_counts_grow_with_them(visit, tmp_path):
    layer = by_hand([(1, 1), (0, 4), (-1, 2), (2, 0)], (3, 5), stride=1)
    page = write_page(torch.zeros(1, HEIGHT, WIDTH), [layer], tmp_path / "page.html", pixel=(6, 14))
    one = visit(page, "#view=chosen")
    viridis = 255 * colormaps["viridis"]([0.0, 1.0])[:, :3]
    np.testing.assert_allclose(color_at(one, 1, 19), viridis[1], atol=8, err_msg="chosen by all others")
    np.testing.assert_allclose(color_at(one, 10, 18), viridis[0], atol=8, err_msg="never chosen")
    assert one.facts()["Never chosen"][1] == "12 of 15"
    assert one.facts()["Chosen by others"] == ("0 times", f"mean {3 * 14 / 15:.1f}")


@pytest.mark.slow
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

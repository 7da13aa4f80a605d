"""The page in a real browser, offline: it shows for a pixel what find_neighbors returned."""

import math
import re
from importlib.resources import files
from itertools import product

import pytest
import torch

from convnn.models import create_model
from convnn.viz import LayerNeighbors, find_neighbors, write_page
from open_page import HEIGHT, WIDTH, Choice, Open, by_hand, expected, nearest_query, number, times_chosen

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("browser")]  # starting one takes seconds

PIXELS = [(0, 0), (3, 17), (11, 19), (7, 8)]


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


def test_where_only_some_positions_choose_the_nearest_answers(visit, image, tmp_path):
    """Make queries on every second row and column of the full map; each chooses itself and the place to its right."""
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


def test_on_a_coarser_map_the_nearest_answers_too(visit, image, tmp_path):
    layer = by_hand([(1, 1)], (3, 5), stride=2)
    one = visit(write_page(image, [layer], tmp_path / "page.html"))
    for pixel in [(0, 0), (5, 7), (6, 8), (7, 15), (11, 10)]:
        one.hover(*pixel)
        row, column = nearest_query(layer, pixel, (HEIGHT, WIDTH))
        assert f"Row {row}, column {column} of the map chooses" in one.page.locator("h3").inner_text()
    assert nearest_query(layer, (6, 8), (HEIGHT, WIDTH)) == (2, 2), "which the place under the pixel, (1, 2), is not"


@pytest.mark.parametrize("stride", [1, 2, 3])
def test_no_query_is_nearer_to_a_pixel_than_the_one_that_answers(browser, stride):
    code = (files("convnn.viz.neighbors") / "_page" / "layers.js").read_text()
    ask = "(layer, pixels) => pixels.map(([row, column]) => Layer.prototype.queryAt.call(layer, { row, column }))"
    cases = list(product([(4, 4), (5, 3), (1, 7), (6, 9)], [(8, 8), (5, 12)]))
    page = browser.new_page()
    for size, (height, width) in cases:
        layer = by_hand([(0, 0)], size, stride)
        pixels = list(product(range(height), range(width)))
        rows, columns = layer.queries.T.tolist()
        image = {"height": height, "width": width}
        known = {"image": image, "height": size[0], "width": size[1], "queries": len(rows)}
        known |= {"queryRows": rows, "queryColumns": columns}
        found = page.evaluate(f"([layer, pixels]) => {{ {code}\nreturn ({ask})(layer, pixels); }}", [known, pixels])
        expected = [nearest_query(layer, pixel, (height, width)) for pixel in pixels]
        assert [tuple(layer.queries[query].tolist()) for query in found] == expected
    page.close()


@pytest.mark.slow
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


@pytest.mark.slow
def test_one_position_that_sees_only_itself(visit, tmp_path):
    layer = by_hand([(0, 0)], (1, 1), stride=1)
    one = visit(write_page(torch.zeros(1, HEIGHT, WIDTH), [layer], tmp_path / "page.html"))
    assert one.listed() == []
    assert one.facts()["Mean distance, map"] == ("– px", "– px")
    one.press("ArrowRight", "ArrowDown", "End", "PageDown", "v")
    assert one.facts()["Chosen by others"][0] == "0 times"

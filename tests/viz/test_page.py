"""The page as a file; test_page_in_browser.py opens it."""

import dataclasses
import json
import re
import zlib
from base64 import b64decode
from io import BytesIO

import numpy as np
import pytest
import torch
from PIL import Image

from convnn.errors import InputError, OutputError, UnsupportedError
from convnn.nn import ConvNN2d
from convnn.viz import LayerNeighbors, find_neighbors, write_page

HOSTILE = "</script><script>alert(1)</script>\"'&amp;<!--$data${title}"
COLORS = torch.rand(3, 6, 4, generator=torch.Generator().manual_seed(0))


def layers_on(image: torch.Tensor) -> list[LayerNeighbors]:
    return find_neighbors(ConvNN2d(len(image), 4, K=5), image[None])


def read(path) -> dict:
    [data] = re.findall(r'<script type="application/json" id="data">(.*?)</script>', path.read_text(), flags=re.DOTALL)
    return json.loads(data)


def unpack(record: dict) -> tuple[np.ndarray, ...]:
    packed, N, K = zlib.decompress(b64decode(record["packed"])), record["queries"], record["slots"]
    shorts = np.frombuffer(packed, "<i2", count=2 * N + 2 * N * K)
    rows, columns = shorts[2 * N :].reshape(2, N, K)
    return shorts[: 2 * N].reshape(2, N).T, np.stack([rows, columns], -1), np.frombuffer(packed, "<f4")[-N * K :]


def test_writes_a_page_and_nothing_else(tmp_path):
    path = write_page(COLORS, layers_on(COLORS), tmp_path / "new" / "page.html", title="A page")
    assert path == tmp_path / "new" / "page.html"
    assert list(path.parent.iterdir()) == [path]
    text = path.read_text()
    assert text.startswith("<!doctype html>")
    assert "<h1>A page</h1>" in text


def test_everything_is_inside(tmp_path):
    text = write_page(COLORS, layers_on(COLORS), tmp_path / "page.html").read_text()
    assert "default-src 'none'" in text
    assert "://" not in text
    assert set(re.findall(r'(?:src|href|url)\s*[=(]\s*"?([a-z]+:)', text)) == {"data:"}
    assert text.count("<script") == text.count("</script>") == 2


def test_image_is_the_picture(tmp_path):
    source = read(write_page(COLORS, layers_on(COLORS), tmp_path / "page.html"))["image"]["source"]
    pixels = np.asarray(Image.open(BytesIO(b64decode(source.removeprefix("data:image/png;base64,")))))
    assert np.abs(pixels / 255 - COLORS.permute(1, 2, 0).numpy()).max() <= 0.5 / 255 + 1e-6


def test_two_channels_are_gray(tmp_path):
    image = COLORS[:2]
    source = read(write_page(image, layers_on(image), tmp_path / "page.html"))["image"]["source"]
    pixels = np.asarray(Image.open(BytesIO(b64decode(source.removeprefix("data:image/png;base64,")))))
    assert np.abs(pixels / 255 - image.mean(0).numpy()[..., None]).max() <= 0.5 / 255 + 1e-6


def test_neighbors_stand_best_first(tmp_path):
    [layer] = layers_on(COLORS)
    scores = layer.scores.clone()
    scores[3] = torch.tensor([0.25, torch.nan, torch.inf, -torch.inf, 0.25])
    [record] = read(write_page(COLORS, [dataclasses.replace(layer, scores=scores)], tmp_path / "page.html"))["layers"]
    queries, places, packed = unpack(record)
    assert (record["height"], record["width"], record["window"], record["heads"]) == (6, 4, 3, 1)
    assert np.array_equal(queries, layer.queries.numpy())
    for query in range(24):
        key = [(score if score == score else -float("inf")) for score in scores[query].tolist()]
        order = sorted(range(5), key=lambda slot: -key[slot])
        assert places[query].tolist() == layer.places[query, order].tolist()
        expected = scores[query, order].numpy()
        np.testing.assert_allclose(packed[5 * query : 5 * query + 5], expected, rtol=1e-5)
    assert [places[3, slot].tolist() for slot in range(3)] == layer.places[3, [2, 0, 4]].tolist()


def test_hostile_names_stay_text(tmp_path):
    layers = [dataclasses.replace(layer, name=HOSTILE) for layer in layers_on(COLORS)]
    path = write_page(COLORS, layers, tmp_path / "page.html", title=HOSTILE)
    assert path.read_text().count("<script") == path.read_text().count("</script>") == 2
    assert read(path)["layers"][0]["name"] == HOSTILE
    assert "<title>&lt;/script&gt;&lt;script&gt;alert(1)&lt;/script&gt;&quot;&#x27;&amp;amp;" in path.read_text()
    assert write_page(COLORS, layers, path, title="name of \udcff bytes").read_text().count("name of ? bytes") == 2


@pytest.mark.slow
def test_large_maps_are_compact(tmp_path):
    """Check a layer of 224 x 224 and K = 9 with random neighbours, which compress least."""
    generator = torch.Generator().manual_seed(0)
    queries = torch.cartesian_prod(torch.arange(224), torch.arange(224))
    places = torch.randint(0, 224, (len(queries), 9, 2), generator=generator)
    layer = LayerNeighbors("0", (224, 224), queries, places, torch.rand(places.shape[:2], generator=generator))
    path = write_page(torch.zeros(1, 224, 224), [layer], tmp_path / "page.html", pixel=(0, 0))
    assert path.stat().st_size < 4e6


@pytest.mark.parametrize("pixel", [(6, 0), (0, -1)])
def test_pixel_outside_is_refused(tmp_path, pixel):
    with pytest.raises(InputError, match=rf"pixel \({pixel[0]}, {pixel[1]}\) lies outside the 6x4 image"):
        write_page(COLORS, layers_on(COLORS), tmp_path / "page.html", pixel=pixel)
    assert not list(tmp_path.iterdir())


def test_other_wrong_input_is_refused(tmp_path):
    path, [layer] = tmp_path / "page.html", layers_on(COLORS)
    with pytest.raises(InputError, match=r"layers=\[\] must not be empty"):
        write_page(COLORS, [], path)
    with pytest.raises(InputError, match=r"image of shape \(6, 4\) must be \(C, H, W\)"):
        write_page(COLORS[0], [layer], path)
    with pytest.raises(InputError, match=r"suffix of the page='.png'"):
        write_page(COLORS, [layer], tmp_path / "page.png")
    with pytest.raises(UnsupportedError, match=r"holds sides up to 32767"):
        write_page(COLORS, [dataclasses.replace(layer, places=layer.places + 40_000)], path)
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OutputError, match="cannot be created"):
        write_page(COLORS, [layer], tmp_path / "file" / "page.html")
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]

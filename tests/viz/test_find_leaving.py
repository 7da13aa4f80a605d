"""Which patches leave in each block, and to whom they pass on their features."""

import re
from pathlib import Path

import pytest
import torch
from torch import Tensor

from convnn.errors import InputError
from convnn.models import create_model
from convnn.nn import token_graph
from convnn.viz import draw_neighbors, find_leaving, find_neighbors, write_page

SIZES = {"num_layers": 3, "d_hidden": 24, "d_mlp": 32, "patch_size": 4, "token_neighbors": 3, "keep_tokens": 0.25}


@pytest.fixture
def image() -> Tensor:
    return torch.rand(1, 3, 16, 16, generator=torch.Generator().manual_seed(0))


def _network(reducer: str, **settings: object) -> torch.nn.Module:
    torch.manual_seed(0)
    return create_model("vit", reduce_tokens=reducer, **SIZES | settings)


def test_receivers_are_the_neighbours_that_stay(image: Tensor) -> None:
    network = _network("gtp").eval()
    layers = find_leaving(network, image)
    assert [(layer.name, layer.size, len(layer.gone)) for layer in layers] == [
        ("blocks.0", (4, 4), 4),
        ("blocks.1", (4, 4), 8),
        ("blocks.2", (4, 4), 12),
    ]
    inputs: list[Tensor] = []
    network.blocks.register_forward_pre_hook(lambda _, given: inputs.append(given[0]))
    network(image)
    graph = token_graph(inputs[0][:, 1:], (4, 4), "mixed", 3)
    left: set[int] = set()
    for layer in layers:
        leaving = [4 * row + column for row, column in layer.queries.tolist()]
        left |= {*leaving}
        assert {4 * row + column for row, column in layer.gone.tolist()} == left
        for place, receivers, shares in zip(leaving, layer.places.tolist(), layer.scores.tolist(), strict=True):
            expected = {
                k: weight
                for k in range(16)
                if k not in left
                for j, weight, absent in zip(*(part[0, k].tolist() for part in graph), strict=True)
                if j == place and not absent
            }
            found = {4 * row + column: share for (row, column), share in zip(receivers, shares, strict=True) if share}
            assert found == pytest.approx(expected)
            assert shares == sorted(shares, reverse=True)


@pytest.mark.parametrize("reducer", ["drop", "mean"])
def test_those_that_pass_nothing_on_have_nobody(image: Tensor, reducer: str) -> None:
    for layer in find_leaving(_network(reducer), image):
        assert torch.equal(layer.places, layer.queries[:, None])
        assert not layer.scores.any()


def test_pictures_and_page_say_who_has_left(image: Tensor, tmp_path: Path) -> None:
    layers = find_leaving(_network("gtp"), image)
    sheet = draw_neighbors(image[0], layers, [(3, 3)], tmp_path / "leaving.svg")
    assert [f"{count} of 16 have left" in sheet.read_text() for count in (4, 8, 12)] == [True] * 3
    page = write_page(image[0], layers, tmp_path / "leaving.html").read_text()
    gone = [record.count("[") - 1 for record in re.findall(r'"gone":(\[\[.*?\]\])', page)]
    assert gone == [4, 8, 12]


def test_what_is_refused(image: Tensor) -> None:
    with pytest.raises(InputError, match=r"^tokens leave ViT from block to block, .* `find_leaving` finds which$"):
        find_neighbors(_network("gtp"), image)
    with pytest.raises(InputError, match=r"^no patch leaves ViT; let some leave, by keep below 1$"):
        find_leaving(_network("gtp", keep_tokens=1.0), image)

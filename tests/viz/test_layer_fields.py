"""Tests of the receptive fields of all layers: against prefixes of networks, neighbours, patches, and the picture."""

import re
from pathlib import Path

import pytest
import torch
from torch import nn

from convnn import nn as cnn
from convnn.errors import InputError
from convnn.models import create_model
from convnn.viz import draw_fields, field_sides, layer_fields, receptive_field
from convnn.viz.fields.table import COLUMNS, csv_rows, readable_markdown, values_of


def test_each_layer_has_the_field_of_the_network_up_to_it() -> None:
    network = nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1),
        nn.ReLU(inplace=True),
        nn.Conv2d(8, 8, 1),
        nn.Conv2d(8, 8, 3, padding=1, stride=2),
        nn.BatchNorm2d(8),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
    ).double()
    network.train()
    images = torch.randn(5, 3, 12, 10, dtype=torch.double)
    fields = layer_fields(network, [[images[:3]], [images[3:]]], max_images=4)
    assert [(field.name, field.height, field.width) for field in fields] == [
        ("0", 12, 10),
        ("3", 6, 5),
        ("features", 6, 5),
    ]
    for field, end in zip(fields, (1, 4, 5), strict=True):
        expected = sum(receptive_field(network[:end], image[None]) for image in images[:4]) / 4
        torch.testing.assert_close(field.scores, expected)
        assert field.sides == tuple(field_sides(expected))
        assert field.reached == pytest.approx((expected > 0).double().mean().item())
    assert network.training
    assert not any(module._forward_hooks for module in network.modules())


def test_the_field_of_convnn_is_where_its_neighbours_are() -> None:
    layer = cnn.ConvNN2d(3, 16, K=5, padding=0).double()
    image = torch.rand(1, 3, 9, 9, dtype=torch.double)
    indices = layer.neighbors(image).indices[0, 4 * 9 + 4]
    expected = {(row, column) for row, column in layer.field(image).places(indices).tolist()}
    reached = {(row, column) for row, column in layer_fields(layer, [[image]])[0].scores.nonzero().tolist()}
    assert reached <= expected
    assert len(reached) > 3


def test_patches_are_the_positions_of_tokens() -> None:
    network = create_model("vit", "LocalAttention", patch_size=4, num_layers=1, num_heads=1, d_hidden=8, d_mlp=8)
    fields = layer_fields(network, [[torch.rand(1, 3, 12, 16)]])
    assert [(field.name, field.height, field.width) for field in fields] == [
        ("embed.project", 3, 4),
        ("blocks.0.attention", 3, 4),
        ("features", 3, 4),
    ]
    rows, columns = fields[0].scores.nonzero().unbind(1)
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (4, 7, 8, 11), "the pixels of the middle patch"


def test_a_layer_that_is_called_twice_has_two_fields_and_one_without_contribution_no_square() -> None:
    conv = nn.Conv2d(1, 1, 3, padding=1)
    conv.weight.data.fill_(-1.0)
    fields = layer_fields(nn.Sequential(conv, conv), [[torch.rand(1, 1, 9, 9)]])
    assert [field.name for field in fields] == ["0", "0#2", "features"]
    assert fields[0].reached == 0
    assert [side.side for side in fields[0].sides] == [None] * 4
    assert csv_rows(fields)[0] == ["0", "9", "9", "0", *[""] * 8]
    assert tuple(values_of(fields[0])) == COLUMNS
    assert "| 1 | 0 | 9×9 | – | – | – | – | 0.0% |" in readable_markdown(fields)


def test_many_and_few_fields_are_drawn(tmp_path: Path) -> None:
    deep = nn.Sequential(*(nn.Conv2d(1, 1, 3, padding=1) for _ in range(10)))
    for network in (deep, deep[:1]):
        fields = layer_fields(network, [[torch.rand(1, 1, 20, 12)]])
        path = draw_fields(fields, tmp_path / "field.svg", title="_a $ and " + "words " * 40)
        assert path.read_text().count("<image ") == min(len(fields), 8) + 1  # and the bar of colours


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: layer_fields(nn.Conv2d(3, 3, 1), []), "model Conv2d has no layer that mixes positions"),
        (lambda: layer_fields(nn.Conv2d(3, 3, 3), []), "batches hold no image"),
        (lambda: draw_fields([], "field.png"), "fields=[] must not be empty"),
    ],
)
def test_refuses(call, message: str) -> None:
    with pytest.raises(InputError, match=re.escape(message)):
        call()

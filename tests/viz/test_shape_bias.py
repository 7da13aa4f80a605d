"""Tests of shape bias: decisions counted by hand, categories, and published names of pictures."""

import math
import re

import pytest
import torch
from torch import Tensor, nn

from convnn.errors import InputError
from convnn.viz import shape_bias
from convnn.viz.statistics.shape_bias import cues_of

CLASSES = ["bear", "cat", "dog"]


def decided(*names: str) -> Tensor:
    """Return images that `nn.Flatten` classifies so."""
    return torch.eye(3)[[CLASSES.index(name) for name in names]].view(-1, 3, 1, 1)


def test_bias_is_the_share_of_shape_among_correct_decisions() -> None:
    first = decided("cat", "dog", "bear"), [("cat", "dog")] * 3
    second = decided("dog", "bear"), [("dog", "bear"), ("bear", "dog")]
    model = nn.Sequential(nn.Flatten(), nn.Dropout(0.9)).train()
    found = shape_bias(model, [first, second], CLASSES)
    assert found.images == {"bear": 1, "cat": 3, "dog": 1}
    assert found.shape == {"bear": 1, "cat": 1, "dog": 1}
    assert found.texture == {"bear": 0, "cat": 1, "dog": 0}
    assert found.bias == 3 / 4
    assert found.correct == 4 / 5
    assert found.bias_of("cat") == 1 / 2
    assert model.training
    assert math.isnan(shape_bias(nn.Flatten(), [(decided("bear"), [("cat", "dog")])], CLASSES).bias)


def test_a_category_has_the_mean_probability_of_its_classes() -> None:
    images = torch.tensor([[3.0, 2.9, 2.8, 0.0]]).view(1, 4, 1, 1)
    members = {"cat": [0, 3], "dog": [1, 2]}  # the most probable class is a cat, the more probable category a dog
    found = shape_bias(nn.Flatten(), [(images, [("cat", "dog")])], ["cat", "dog"], members=members)
    assert (found.shape["cat"], found.texture["cat"]) == (0, 1)


@pytest.mark.parametrize(
    ("path", "cues"),
    [
        ("cue/cat/cat7-bear1.png", ("cat", "bear")),
        ("dog-cat.jpg", ("dog", "cat")),
        ("cat1-cat2.png", None),
        ("cat1-truck2.png", None),
    ],
)
def test_names_of_pictures(path: str, cues: tuple[str, str] | None) -> None:
    assert cues_of(path, CLASSES) == cues


def test_classes_that_begin_alike_or_are_numbers_are_told_apart() -> None:
    assert cues_of("cat-fish3-cat1.png", ["cat", "cat-fish"]) == ("cat-fish", "cat")
    assert cues_of("3-71.png", ["3", "7"]) == ("3", "7")


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: cues_of("cats/cat7.png", CLASSES),
            "picture 'cats/cat7.png' must be named after its shape and texture",
        ),
        (lambda: shape_bias(nn.Flatten(), [], CLASSES), "batches hold no image"),
        (
            lambda: shape_bias(nn.Flatten(), [(decided("cat"), [("cat", "cow")])], CLASSES),
            "cue 'cow' is not one of the classes bear, cat, dog",
        ),
        (
            lambda: shape_bias(nn.Flatten(), [(decided("cat"), [("cat", "cat")])], CLASSES),
            "shape and texture are both 'cat'",
        ),
    ],
)
def test_refuses(call, message: str) -> None:
    with pytest.raises(InputError, match=re.escape(message)):
        call()

"""Tests that layers take widths by position and settings by name, and say what to write instead of anything else."""

import copy
import inspect
import pickle
import re

import pytest
import torch

import convnn.nn as cnn
from convnn.errors import InputError
from convnn.nn._layer import TokenLayer

LAYERS = [
    layer
    for layer in vars(cnn).values()
    if isinstance(layer, type) and issubclass(layer, cnn.MapLayer | TokenLayer) and "Layer" not in layer.__name__
]
ONLY_CHANNELS = "only in_channels and out_channels may be given without a name"


@pytest.mark.parametrize("layer", LAYERS, ids=lambda layer: layer.__name__)
def test_no_setting_goes_by_position(layer: type) -> None:
    parameters = inspect.signature(layer).parameters.values()
    assert layer.__signature__.parameters.keys() == inspect.signature(layer.__init__).parameters.keys() - {"self"}
    assert not [p.name for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD and p.default is not p.empty]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: cnn.ConvNN2d(8, 16, 3, padding=1),
            f"ConvNN2d(8, 16, 3, ...): {ONLY_CHANNELS}; write K=9 for as many neighbours as a window of 3 x 3 has",
        ),
        (lambda: cnn.ConvNN1d(8, 16, 3), "write K=3 for as many neighbours as a window of 3 has"),
        (lambda: cnn.ViG2d(8, 16, (3, 5)), "write K=15 for as many neighbours as a window of 3 x 5 has"),
        (lambda: cnn.ConvNNAttn3d(8, 16, kernel_size=3), "ConvNNAttn3d has no setting kernel_size=3; write K=27 for"),
        (lambda: cnn.ConvNNPos2d(8, 16, 3), f"ConvNNPos2d(8, 16, 3): {ONLY_CHANNELS}; write kernel_size=3"),
        (lambda: cnn.Conv2dNew(8, 16, 3, 1, 1), "Conv2dNew(8, 16, 3, ...): "),
        (lambda: cnn.SVGA2d(8, 16, 2), "write step=2"),
        (lambda: cnn.NonLocal2d(8, 16, 2), "write NAME=2"),
        (lambda: cnn.layer_factory("ConvNN")(8, 16, 3), "write K=9"),
        (lambda: cnn.KvtAttention(12, 3, 4), "only dim and num_heads may be given without a name; write K=4"),
        (lambda: cnn.ConvNN2d(8, 16, k=5), "ConvNN2d has no setting k=5; write K=5"),
        (lambda: cnn.ConvNNAttention(12, 3, num_neighbors=5), "has no setting num_neighbors=5; write K=5"),
        (lambda: cnn.BranchAttention(12, 3, k=5), "write K=5"),
        (
            lambda: cnn.ConvNN2d(8, 16, magnitude_type="cosine"),
            "ConvNN2d has no setting magnitude_type='cosine'; write metric='cosine'",
        ),
        (lambda: cnn.ViG2d(8, 16, metric="cosine"), "ViG2d has no setting metric='cosine'; it has K, graph_conv, "),
        (lambda: cnn.SVGA2d(8, 16, K=9), "SVGA2d has no setting K=9; it has step, "),
        (lambda: cnn.ConvNN2d(8, 16, paddin=1), "did you mean 'padding'?"),
        (
            lambda: cnn.Branching2d(8, 16, K=9),
            "Branching2d has no setting K=9; write Branching2d.with_convnn(in_channels, out_channels, K=9)",
        ),
        (lambda: cnn.Branching1d(8, 16, k=5), "write Branching1d.with_convnn(in_channels, out_channels, K=5)"),
        (lambda: cnn.Branching2d(8, 16, size=9), "those of ConvNN are read by its constructor with_convnn"),
        (
            lambda: cnn.ConvNNPos2d(8, 16, K=9),
            "ConvNNPos2d has no setting K=9; write kernel_size=SIDE, which takes as many as a window of that side has",
        ),
        (lambda: cnn.NeighborhoodAttention2d(8, 16, num_neighbors=9), "write kernel_size=SIDE"),
        (lambda: cnn.layer_factory("ConvNN", magnitude_type="cosine"), "unknown; did you mean 'metric'?"),
        (lambda: cnn.layer_factory("ConvNN", num_neighbors=9), "unknown; did you mean 'K'?"),
    ],
)
def test_the_answer_says_what_to_write(make, message: str) -> None:
    with pytest.raises(InputError, match=re.escape(message)) as caught:
        make()
    assert "\n" not in str(caught.value)


def test_a_layer_of_ones_own_may_take_what_its_constructor_names() -> None:
    class Own(cnn.MapLayer):
        spatial_dims = 2

        def __init__(self, channels: int, side: int = 3) -> None:
            super().__init__(channels, channels)
            self.side = side

    assert Own(4, 5).side == Own(4, side=5).side == 5
    with pytest.raises(InputError, match=r"^Own\(4, 5, 6\): only channels and side may be given"):
        Own(4, 5, 6)


def test_copies_and_pickles_are_made_without_arguments() -> None:
    layer, x = cnn.ConvNN2d(3, 4, K=5), torch.randn(1, 3, 6, 6)
    for other in (copy.deepcopy(layer), copy.copy(layer), pickle.loads(pickle.dumps(layer))):
        assert torch.equal(other(x), layer(x))

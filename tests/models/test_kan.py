"""Tests of the stacks of KAN convolutions: their numbers of parameters are the published ones."""

import pytest
import torch

from convnn.errors import InputError
from convnn.models import create_model
from convnn.nn.windows.expanded import KANConv


def count(name: str, layer: str, channels: int, classes: int = 10, **settings: object) -> int:
    with torch.device("meta"):
        network = create_model(name, layer, in_channels=channels, num_classes=classes, **settings)
    return sum(parameter.numel() for parameter in network.parameters())


@pytest.mark.parametrize(
    ("basis", "settings", "mnist", "cifar100", "eight"),
    [
        ("spline", {}, 3_489_774, 3_518_088, 40_696_610),
        ("rbf", {}, 3_489_260, 3_517_578, 40_695_584),
        ("legendre", {}, 1_940_330, 1_966_340, 22_613_082),
        ("chebyshev", {}, 1_552_970, 1_578_404, 18_092_202),
        ("chebyshev", {"degree": 6, "kan_groups": 4}, 682_922, 710_084, None),
        ("gram", {}, 1_940_346, 1_966_356, 22_613_114),
        ("gram", {"kan_groups": 4}, 488_826, 514_836, None),
        ("wavelet", {}, 951_370, 975_780, 10_732_202),
    ],
)
def test_parameters(
    monkeypatch: pytest.MonkeyPatch, basis: str, settings: dict, mnist: int, cifar100: int, eight: int | None
) -> None:
    """The published FastKAN counts the 8 fixed centres of every layer, which are no parameters here."""
    monkeypatch.setattr(KANConv, "reset_parameters", lambda _: None)  # drawing on the meta device takes seconds
    settings = settings | {"basis": basis}
    assert count("kan4", "KANConv", 1, **settings) == mnist
    assert count("kan4", "KANConv", 3, 100, **settings) == cifar100
    if eight:
        assert count("kan8", "KANConv", 3, **settings) == eight


def test_other_layers_are_normalised_and_halve_the_map() -> None:
    network = create_model("kan4", "Conv2d", in_channels=1, width=0.125).eval()
    x = torch.randn(2, 1, 9, 12)
    assert network.forward_features(x).shape == (2, 32, 3, 3)
    kan = create_model("kan4", in_channels=1, width=0.125, layer_dropout=0.25)
    assert kan.forward_features(x).shape == (2, 32, 3, 3)
    assert [layer.dropout for layer in kan.layers] == [0.0, 0.25, 0.25, 0.25]


def test_refuses() -> None:
    with pytest.raises(InputError, match=r"^kan_groups=3 must divide"):
        create_model("kan4", kan_groups=3)
    with pytest.raises(InputError, match=r"^layer_dropout=2 must lie between 0 and 1$"):
        create_model("kan4", layer_dropout=2)

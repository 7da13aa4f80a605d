"""Hierarchical networks: inference form, gradients, sizes of images, other layers, initial weights."""

import pytest
import torch
from torch import nn
from torchvision.ops import SqueezeExcitation

from convnn.errors import InputError
from convnn.models import create_model, layer_defaults
from convnn.models.hierarchical._parts import ResponseNorm
from convnn.nn import LAYERS, ConvNN2d, LKA2d, RepLK2d, ShiftedSum2d
from hierarchical_networks import SMALLEST, TINY, tiny
from kernel_layers import KERNELS, check_merged, maps, with_statistics
from pairwise import one_in

SCALED = {
    family: {"layer_scale": 0.5}
    for family in ("InceptionNeXt", "VAN", "LSKNet", "UniRepLKNet", "Shiftwise", "ShiftwiseV1")
}
"""So that blocks add something."""


def _active(model: nn.Module) -> nn.Module:
    """Let responses, which are initially without effect, count, and squeeze and excitation be above its ReLU."""
    for part in model.modules():
        if isinstance(part, ResponseNorm):
            nn.init.normal_(part.weight)
            nn.init.normal_(part.bias)
        if isinstance(part, SqueezeExcitation):
            nn.init.ones_(part.fc1.bias)
    return model


@pytest.mark.parametrize("family", TINY)
def test_the_inference_form_computes_the_same(family: str) -> None:
    torch.manual_seed(0)
    model = _active(tiny(family, **SCALED.get(family, {})))
    check_merged(model, maps(3, 37, 35), tolerance=1e-9)


@pytest.mark.parametrize("family", TINY)
def test_gradients_reach_every_parameter(family: str) -> None:
    torch.manual_seed(0)
    model = with_statistics(_active(tiny(family, **SCALED.get(family, {}))))
    model(maps(3, 37, 35)).square().sum().backward()
    assert not [name for name, parameter in model.named_parameters() if not parameter.grad.any()]


@pytest.mark.parametrize("family", TINY)
def test_a_training_step_changes_every_parameter(family: str) -> None:
    torch.manual_seed(0)
    model = tiny(family, **SCALED.get(family, {}))
    before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    for _ in range(2):
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(torch.randn(4, 3, 33, 40)), torch.tensor([0, 1, 2, 3]))
        loss.backward()
        optimizer.step()
    assert loss.isfinite()
    assert not [name for name, parameter in model.named_parameters() if torch.equal(parameter, before[name])]


UNPADDED = ("InceptionNeXt", "ShiftwiseV1")


@pytest.mark.parametrize("family", TINY)
def test_images_of_any_size(family: str) -> None:
    model = tiny(family).eval()
    for height, width in ((33, 47), (32, 97)) if family in UNPADDED else ((9, 31), (1, 2)):
        assert model(torch.randn(1, 3, height, width)).shape == (1, 5)
        up = (lambda n: n // 2) if family in UNPADDED else lambda n: -(-n // 2)
        maps_of_stages = model.forward_stages(torch.randn(1, 3, height, width))
        sides = up(up(height)), up(up(width))
        for one in maps_of_stages:
            assert one.shape[2:] == sides
            sides = up(sides[0]), up(sides[1])
        assert len(maps_of_stages) == 4


@pytest.mark.parametrize("family", UNPADDED)
def test_images_that_are_too_small_are_named(family: str) -> None:
    with pytest.raises(InputError, match=rf"images of 31x40 pixels are too small for {family}.*resize=32"):
        tiny(family)(torch.randn(1, 3, 31, 40))


@pytest.mark.parametrize("layer", one_in(4, [name for name, entry in LAYERS.items() if entry.reads == "maps"]))
@pytest.mark.parametrize("family", one_in(3, TINY))
def test_any_layer_stands_in_the_blocks(family: str, layer: str) -> None:
    model = tiny(family, layer, settings={"K": 4} | KERNELS.get(layer, {}))
    logits = model(torch.randn(2, 3, 40, 40))
    logits.sum().backward()
    assert logits.shape == (2, 5)
    assert not [name for name, parameter in model.named_parameters() if parameter.grad is None]


@pytest.mark.parametrize("family", TINY)
def test_convnn_stands_in_every_block(family: str) -> None:
    model = tiny(family, "ConvNN", settings={"K": 3})
    layers = [module for module in model.modules() if isinstance(module, ConvNN2d)]
    assert len(layers) == 5
    assert {(one.search.K, one.in_channels == one.out_channels) for one in layers} == {(3, True)}
    assert not model.is_published
    assert model.eval()(torch.randn(1, 3, 32, 48)).shape == (1, 5)


def test_another_layer_keeps_its_own_initial_weights_and_its_1x1_convolution() -> None:
    model = tiny("InceptionNeXt", "RepLK", settings={"kernel_size": 5})
    layer = next(module for module in model.modules() if isinstance(module, RepLK2d))
    assert layer.kernel_size == 5
    assert layer.pointwise.weight.std() > 0.1  # not 0.02, which the network draws
    assert layer.pointwise.bias.any()


def test_a_layer_of_ones_own_stands_there_too() -> None:
    model = TINY["UniRepLKNet"](lambda inputs, outputs: nn.Conv2d(inputs, outputs, 1), num_classes=5)
    assert sum(isinstance(module, nn.Conv2d) and module.groups > 1 for module in model.modules()) == 0
    assert model(torch.randn(2, 3, 32, 32)).shape == (2, 5)


def test_settings_of_the_own_layer_have_defaults_of_the_network_and_can_be_given() -> None:
    def band(name: str, **settings: object) -> tuple[int, int]:
        with torch.device("meta"):
            mixer = create_model(name, **settings).stages[0].blocks[0].inner.mixer
        return mixer.wide.kernel_size[1], mixer.wide.out_channels

    assert band("inceptionnext_atto") == (9, 10)
    assert band("inceptionnext_atto", band_kernel_size=7) == (7, 10)
    assert band("inceptionnext_tiny") == (11, 12)
    assert layer_defaults("inceptionnext_atto", "InceptionDW")["branch_ratio"] == 0.25
    assert layer_defaults("inceptionnext_atto", "Branching")["branch_ratio"] == 0.5
    assert layer_defaults("vgg11", "InceptionDW")["branch_ratio"] == 0.125


def test_kernels_of_stages_are_the_networks_own_and_those_of_other_layers_are_not() -> None:
    def sides(layer: str, **settings: object) -> list[int]:
        with torch.device("meta"):
            blocks = [stage.blocks[0] for stage in create_model("replknet_31b", layer, **settings).stages]
        mixers = [block.mixing.inner.mixer for block in blocks]
        return [m.kernel_size[0] if layer == "Conv2d" else m.branches[0].conv.kernel_size[0] for m in mixers]

    assert sides("RepLK") == sides("RepLK", kernel_size=3) == [31, 29, 27, 13]
    assert sides("Conv2d") == [3] * 4


def test_rates_of_stochastic_depth() -> None:
    def rates(family: str, **settings: float) -> list[float]:
        return [part.drop.p for part in tiny(family, **settings).modules() if hasattr(part, "drop")]

    assert rates("UniRepLKNet", drop_path=0.4) == pytest.approx([0, 0.1, 0.2, 0.3, 0.4])
    assert rates("VAN", drop_path=0.4) == pytest.approx([0, 0, 0.1, 0.1, 0.2, 0.2, 0.3, 0.3, 0.4, 0.4])
    downsampling = [0.0]
    constant = [0.4, *downsampling, 0.4, *downsampling, 0.4, 0.4, *downsampling, 0.4]
    assert rates("RecNeXt", drop_path=0.4) == pytest.approx(constant)


@pytest.mark.parametrize(
    ("name", "drop_path"),
    [
        ("inceptionnext_tiny", 0.1),
        ("inceptionnext_small", 0.3),
        ("inceptionnext_base", 0.4),
        ("replknet_31b", 0.5),
        ("unireplknet_a", 0.0),
        ("unireplknet_s", 0.4),
        ("recnext_m4", 0.2),
    ],
)
def test_the_last_block_has_the_published_rate(name: str, drop_path: float) -> None:
    with torch.device("meta"):
        rates = [part.drop.p for part in create_model(name).modules() if hasattr(part, "drop")]
    assert rates[-1] == drop_path


def test_initial_weights_are_as_published() -> None:
    torch.manual_seed(0)
    small = tiny("UniRepLKNet")
    assert small.stem[0].weight.detach().std() == pytest.approx(0.02, rel=0.3)
    assert not small.stem[0].bias.any()
    assert small.stages[1].blocks[0].inner.mixer.branches[2].conv.weight.detach().std() == pytest.approx(0.02, rel=0.3)
    assert torch.equal(small.stages[0].blocks[0].inner.mlp.scale, torch.full((8, 1, 1), 1e-6))
    gated = tiny("VAN")
    assert gated.stem.proj.weight.detach().std() == pytest.approx((2 / (49 * 8)) ** 0.5, rel=0.2)
    assert torch.equal(gated.stages[0].blocks[0].mixing.scale, torch.full((8, 1, 1), 1e-2))
    sums = next(part for part in tiny("Shiftwise").modules() if isinstance(part, ShiftedSum2d))
    assert sums.weight.detach().std() == pytest.approx(0.02, rel=0.3)
    plain = tiny("RepLKNet")
    bound = 1 / plain.stem[0][0].conv.weight[0].numel() ** 0.5
    assert plain.stem[0][0].conv.weight.detach().abs().max() == pytest.approx(bound, rel=0.2)


def test_the_gated_layers_are_those_of_the_layers() -> None:
    mixer = tiny("VAN").stages[0].blocks[0].mixing.inner.mixer
    assert isinstance(mixer, LKA2d)
    assert mixer.gated.has_shortcut


@pytest.mark.parametrize("name", SMALLEST)
def test_width_scales_channels(name: str) -> None:
    with torch.device("meta"):
        whole, half = (sum(p.numel() for p in create_model(name, width=w).parameters()) for w in (1.0, 0.5))
    assert half < whole / 2.5


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"name": "van_b0", "drop_path": 1.5}, "drop_path=1.5 must lie between 0 and 1"),
        ({"name": "recnext_m0", "drop_path": -0.1}, "drop_path=-0.1 must lie between 0 and 1"),
        ({"name": "inceptionnext_tiny", "dropout": 2.0}, "dropout=2.0 must lie between 0 and 1"),
        ({"name": "inceptionnext_tiny", "width": 0.05}, "branch_ratio=0.125 leaves no channel for a kernel of 5"),
        ({"name": "unireplknet_aa"}, "model='unireplknet_aa' is not one of .* convnn models .*mean 'unireplknet_a'"),
    ],
)
def test_bad_arguments_are_named(settings: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        create_model(**settings)

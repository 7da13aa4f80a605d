"""Networks whose kernels reach over all of their input, on sequences and images."""

import pytest
import torch
from torch import nn

from convnn.errors import InputError
from convnn.models import CKCNN, create_model, layers_for, list_models, reads_of
from convnn.nn import set_rate

SMALL = {"ckcnn": {}, "flexnet7_1d": {}, "smpnet_1d": {}, "ccnn4_1d": {}, "sgnet": {}, "longconvnet": {}}
"""One network of each kind on sequences."""

OF_LENGTH = {"l_max": 16, "kernel_dim": 4}


def _count(model: str, **settings: object) -> int:
    with torch.device("meta"):
        return sum(p.numel() for p in create_model(model, **settings).parameters())


def _small(model: str, layer: str | None = None, **settings: object) -> nn.Module:
    given = {"width": 1 / 16, "K": 4, "radius": 0.3} | OF_LENGTH | SMALL.get(model, {}) | settings
    return create_model(model, layer, in_channels=2, num_classes=3, **given).eval()


@pytest.mark.parametrize(
    ("model", "settings", "published"),
    [
        ("ckcnn", {"in_channels": 1}, 98_286),
        ("ckcnn_1m", {"in_channels": 1}, 1_030_546),
        ("ckcnn", {}, 100_386),
        ("ckcnn_1m", {}, 1_037_546),
        ("ckcnn", {"num_classes": 20}, 100_696),
        ("ckcnn", {"in_channels": 75, "num_classes": 1}, 175_707),
        ("smpnet", {}, 489_646),
        ("smpnet_1d", {"in_channels": 1}, 370_960),
        ("smpnet_1d", {"layer_bias": True}, 373_480),
        ("smpnet_1d", {"layer_bias": True, "in_channels": 20}, 391_840),
        ("flexnet7", {}, 671_650),
        ("flexnet7", {"in_channels": 1}, 670_066),
        ("flexnet7", {"num_classes": 100}, 676_060),
        ("flexnet7", {"layer": "CKConv"}, 627_910),
        ("flexnet5", {"num_classes": 1000}, 498_596),
        ("ccnn4", {}, 201_042),
        ("ccnn4", {"num_classes": 100}, 213_732),
        ("ccnn6", {"in_channels": 1}, 1_998_474),
        ("ccnn4_1d", {"in_channels": 1}, 198_769),
        ("ccnn6_1d", {}, 1_993_983),
        ("ccnn6_1d", {"in_channels": 1, "num_classes": 1}, 1_989_662),
        ("longconvnet", {}, 7_877_130),
        ("longconvnet", {"d_hidden": 512}, 18_899_978),
        ("longconvnet_lra", {}, 12_608_522),
        ("longconvnet_lra", {"in_channels": 1}, 12_607_498),
        ("sgnet", {"d_hidden": 512}, 2_765_824 + (3 + 1) * 512 + 513 * 10),
        ("sgnet", {"l_max": 4096}, 1_186_304 + (3 + 1) * 256 + 257 * 10),
    ],
)
def test_the_published_number_of_parameters(model: str, settings: dict, published: int) -> None:
    assert _count(model, **settings) == published


@pytest.mark.parametrize("layer", layers_for("ckcnn"))
def test_any_layer_with_a_form_for_one_axis_is_trained(layer: str) -> None:
    network = _small("ckcnn", layer)
    network(torch.randn(2, 2, 16)).sum().backward()
    assert all(p.grad is not None for p in network.parameters())


@pytest.mark.parametrize("model", SMALL)
@pytest.mark.parametrize("layer", ["Conv2d", "CKConv", "SGConv"])
def test_every_kind_takes_other_layers_and_lengths(model: str, layer: str) -> None:
    network = _small(model, layer)
    assert [network(torch.randn(2, 2, length)).shape for length in (1, 5, 16)] == [(2, 3)] * 3


@pytest.mark.parametrize("model", SMALL)
def test_the_head_sees_all_samples(model: str) -> None:
    network, x = _small(model).double(), torch.randn(1, 2, 16, dtype=torch.double, requires_grad=True)
    (gradient,) = torch.autograd.grad(network(x).square().sum(), x)
    assert gradient.abs().sum((0, 1)).gt(0).sum() > 8


@pytest.mark.parametrize("model", ["ckcnn", "flexnet7_1d", "smpnet_1d", "ccnn4_1d"])
def test_features_are_causal_but_for_ckcnn_whose_norm_reads_all_samples(model: str) -> None:
    network = _small(model).double()
    x = torch.randn(1, 2, 16, dtype=torch.double)
    changed = x.clone()
    changed[..., 9:] += 1
    before = network.forward_features(x)[..., :9] - network.forward_features(changed)[..., :9]
    assert (before.abs().max() > 1e-9) == (model == "ckcnn")


def test_a_slower_signal_is_the_same_to_a_network_that_is_told_the_rate() -> None:
    """A smooth signal with every second sample has nearly the same logits; as a short signal it has not."""
    torch.manual_seed(1)
    network = create_model("ccnn4_1d", in_channels=1, width=0.1, omega_0=1.0, mask_init_value=0.5).eval()
    time = torch.linspace(0, 3, 129)
    signal = torch.stack([time.sin(), (2 * time).cos()])[:, None]
    with torch.no_grad():
        full, short = network(signal), network(signal[..., ::2])
        set_rate(network, 65 / 129)
        slow = network(signal[..., ::2])
    assert (slow - full).norm() < 0.1 * full.norm()
    assert (slow - full).norm() <= (short - full).norm()


def test_blocks_add_their_input() -> None:
    block = _small("longconvnet", prenorm=True).blocks[0]
    nn.init.zeros_(block.mix.mix.weight)
    nn.init.zeros_(block.mix.mix.bias)
    x = torch.randn(2, 16, 8)
    assert torch.equal(block(x), x)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"name": "ckcnn", "num_layers": 0}, "num_layers=0 must be an integer of at least 1"),
        ({"name": "ccnn4", "dropout": 2.0}, "dropout=2.0 must lie between 0 and 1"),
        ({"name": "sgnet", "norm": "group"}, "norm='group' is not one of layer, batch"),
        ({"name": "longconvnet", "heads": 0}, "heads=0 must be an integer of at least 1"),
        ({"name": "ckcnn", "layer": "ViG"}, "layer='ViG' reads images only; model='ckcnn' is built of .* sequences: C"),
    ],
)
def test_bad_arguments_are_named(given: dict, message: str) -> None:
    with pytest.raises(InputError, match=f"^{message}"):
        create_model(**given)


def test_images_are_no_sequences() -> None:
    network = _small("ckcnn")
    for shape in ((1, 2, 4, 4), (1, 3, 16), (2, 16)):
        with pytest.raises(InputError, match=r"^sequences of shape \(.*\) must be \(B, 2, T\)$"):
            network(torch.randn(shape))


def test_networks_say_what_they_read() -> None:
    of_sequences = [name for name in list_models() if reads_of(name) == "sequences"]
    assert {*SMALL, "ckcnn_1m", "ccnn6_1d", "longconvnet_lra"} == set(of_sequences)
    assert (reads_of("vgg11"), reads_of("vit"), reads_of("torchvision:resnet18")) == ("maps", "tokens", "maps")


def test_a_layer_of_ones_own_takes_what_the_network_decides() -> None:
    def plain(channels: int, outputs: int, **_: object) -> nn.Module:
        return nn.Conv1d(channels, outputs, 3, padding=1)

    assert CKCNN(plain, in_channels=1, num_classes=4)(torch.randn(2, 1, 9)).shape == (2, 4)

"""Kernels of networks, and their pictures."""

import math
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from convnn import nn as cnn
from convnn.errors import InputError
from convnn.viz import LayerKernel, draw_kernels, find_kernels
from convnn.viz.kernels import read_sizes


@pytest.fixture(scope="module")
def layers() -> list[LayerKernel]:
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Conv2d(3, 4, 3, stride=2, padding=1),
        nn.Conv2d(4, 4, 1),
        cnn.FlexConv2d(4, 4, mask_init_value=0.3),
        cnn.UniRepLK2d(4, 4, kernel_size=5),
        cnn.SGConv2d(4, 4, l_max=64, kernel_dim=4),
        cnn.ConvNN2d(4, 4, K=5),
    )
    found = find_kernels(network, torch.randn(1, 3, 16, 16))
    assert network.training, "the mode is restored"
    assert not any(part._forward_hooks for part in network.modules())
    return found


def test_every_kind_of_kernel_is_found(layers: list[LayerKernel]) -> None:
    assert [(one.kind, one.sides, one.horizon) for one in layers] == [
        ("Conv2d", (3, 3), None),
        ("MaskedKernel", (15, 15), None),
        ("ParallelConv", (5, 5), None),
        ("PyramidKernel", (127,), None),
        ("ConvNN2d", (5,), None),
    ]
    narrow = find_kernels(nn.Sequential(cnn.FlexConv2d(3, 4)), torch.randn(1, 3, 40, 40))
    assert (narrow[0].sides, narrow[0].horizon) == ((5, 5), (33, 33))


def test_a_spectrum_is_the_root_mean_square_of_sums_of_waves() -> None:
    values = torch.randn(2, 3, 5, generator=torch.Generator().manual_seed(0))
    spectrum = LayerKernel("one", "Conv1d", values).spectrum(points=8)
    for place, frequency in enumerate(range(-4, 4)):
        wave = [complex(math.cos(a), -math.sin(a)) for a in (2 * math.pi * frequency * n / 8 for n in range(5))]
        power = [abs(sum(v * w for v, w in zip(row, wave, strict=True))) ** 2 for row in values.flatten(0, 1).tolist()]
        assert spectrum[place].item() == pytest.approx(math.sqrt(sum(power) / 6), abs=1e-5)


def test_the_strongest_come_first() -> None:
    values = torch.tensor([1.0, -3, 2, 0]).view(2, 2, 1) * torch.ones(3)
    assert LayerKernel("one", "Conv1d", values).strongest(3)[:, 0].tolist() == [-3, 2, 1]


@pytest.mark.parametrize("sides", [(7,), (5, 3), (3, 5, 3)])
def test_kernels_of_any_axes_are_drawn(sides: tuple[int, ...], tmp_path: Path) -> None:
    kernel = LayerKernel("a_$layer", "Conv", torch.randn(2, 2, *sides))
    assert draw_kernels([kernel], tmp_path / "kernels.svg", title="one").read_text().count("a_$layer") >= 1


def test_a_picture_of_a_network(layers: list[LayerKernel], tmp_path: Path) -> None:
    assert draw_kernels(layers, tmp_path / "kernels.png", num_kernels=2).stat().st_size > 10_000


def test_sizes_over_the_epochs_are_read_and_drawn(layers: list[LayerKernel], tmp_path: Path) -> None:
    table = tmp_path / "kernels.csv"
    table.write_text("epoch,layer,axis,taps\n1,a,0,3\n1,a,1,5\n1,b,0,9\n2,a,0,5\n2,a,1,7\n2,b,0,7\n")
    sizes = read_sizes(table)
    assert sizes == {"a": [4.0, 6.0], "b": [9.0, 7.0]}
    text = draw_kernels(layers[:1], tmp_path / "kernels.svg", sizes=sizes).read_text()
    assert "taps along an axis over the epochs" in text
    table.write_text("epoch,layer,axis\n1,a,0\n")
    with pytest.raises(InputError, match=r"kernels.csv' cannot be read: KeyError\('taps'\)"):
        read_sizes(table)


def test_refuses(tmp_path: Path) -> None:
    image: Tensor = torch.zeros(1, 3, 4, 4)
    with pytest.raises(InputError, match="model=Sequential has no layer with a kernel of more than one tap"):
        find_kernels(nn.Sequential(nn.Conv2d(3, 3, 1)), image)
    with pytest.raises(InputError, match=r"layers=\[\] must not be empty"):
        draw_kernels([], tmp_path / "kernels.png")
    with pytest.raises(InputError, match="num_kernels=0"):
        draw_kernels([], tmp_path / "kernels.png", num_kernels=0)

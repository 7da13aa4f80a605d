"""Tests of merging: what is trained in parts computes the same in one, and the report says what was done."""

import re

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import convnn
from convnn import nn as cnn
from convnn.errors import InputError
from convnn.models import create_model
from convnn.nn.kernels import taps
from convnn.nn.kernels.convolution import BATCH_NORMS, ConvMaker
from kernel_layers import KERNELS, check_merged, maps, with_statistics
from pairwise import only

IMAGES = ConvMaker(2)


@pytest.mark.parametrize("axes", [1, 2, 3])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("groups", [1, 2, 4])
def test_parallel_convolutions_are_one(axes: int, stride: int, groups: int) -> None:
    branches = [(7, 1), (5, 1), (3, 2), (3, 3), (1, 1)]
    layer = cnn.ParallelConv(ConvMaker(axes), 4, 8, branches, stride=stride, groups=groups)
    report = check_merged(layer, maps(4, *(5, 8, 6)[:axes]))
    assert report.model.kernel_size == (7,) * axes
    assert report.model.weight.dtype == torch.double


def test_a_dilated_kernel_is_the_one_with_zeros_between_its_taps() -> None:
    weight = torch.randn(4, 2, 3, 2, dtype=torch.double)
    spread = taps.spread(weight, (2, 3))
    assert spread.shape == (4, 2, 5, 4)
    torch.testing.assert_close(F.conv2d(maps(2, 9, 8), spread), F.conv2d(maps(2, 9, 8), weight, dilation=(2, 3)))
    upsampled = F.conv_transpose2d(weight, weight.new_ones(1, 1, 1, 1).expand(2, 1, 1, 1), stride=(2, 3), groups=2)
    assert torch.equal(spread, upsampled)  # as arXiv 2311.15599 writes it


@pytest.mark.parametrize("groups", [1, 2, 4])
def test_the_identity_is_a_kernel(groups: int) -> None:
    conv = IMAGES.conv(4, 4, (3, 5), groups=groups).double()
    same = taps.as_convolution(taps.identity(taps.kernel_of(conv)), conv)
    assert torch.equal(same(maps(4, 5, 6)), maps(4, 5, 6))


def test_a_branch_that_reaches_farther_is_refused() -> None:
    with pytest.raises(InputError, match="side 3 with dilation 4 reaches farther than kernel_size=7"):
        cnn.ParallelConv(IMAGES, 2, 2, [(7, 1), (3, 4)])


def test_normalisation_goes_into_the_convolution_before_it() -> None:
    model = nn.Sequential(
        nn.Conv2d(3, 4, 4, stride=2, padding=2, dilation=2, padding_mode="reflect", bias=False),
        nn.BatchNorm2d(4),
        nn.ReLU(),
        nn.Sequential(nn.Conv2d(4, 6, 1), nn.BatchNorm2d(6, affine=False)),
    )
    with_statistics(model[:2])
    model[3][1].running_mean.fill_(0.3)
    model.double().eval()
    report = convnn.merge(model)
    torch.testing.assert_close(report.model(maps(3, 9, 12)), model(maps(3, 9, 12)), rtol=0, atol=1e-12)
    assert [part.name for part in report.merged] == ["0", "3.0"]
    assert str(report).splitlines()[1] == "0    Conv2d and BatchNorm2d -> Conv2d"
    assert not [part for part in report.model.modules() if isinstance(part, nn.BatchNorm2d)]


@pytest.mark.parametrize("inplace", [True, False])
def test_a_network_is_merged_in_place_or_as_a_copy(inplace: bool) -> None:
    model = with_statistics(create_model("resnet18", "UniRepLK", kernel_size=5, width=1 / 16))
    x, before = maps(3, 6, 6), {name: value.clone() for name, value in model.state_dict().items()}
    expected = model(x)
    report = convnn.merge(model, inplace=inplace)
    torch.testing.assert_close(report.model(x), expected, rtol=0, atol=1e-9)
    assert (report.model is model) == inplace
    assert report.parameters[1] == sum(p.numel() for p in report.model.parameters()) < report.parameters[0]
    kinds = [part.old for part in report.merged]
    assert kinds.count("ParallelConv") == 16
    assert kinds.count("Conv2d and BatchNorm2d") == 1  # the stem
    assert kinds.count("UniRepLK2d and BatchNorm2d") == 16
    assert not [part for part in report.model.modules() if isinstance(part, nn.BatchNorm2d)]
    if not inplace:
        assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_what_has_two_names_has_them_afterwards() -> None:
    one = cnn.ParallelConv(IMAGES, 2, 2, [(5, 1), (3, 1)])
    report = check_merged(nn.Sequential(one, nn.ReLU(), one), maps(2, 5, 5))
    assert report.model[0] is report.model[2]
    assert [part.name for part in report.merged] == ["0", "2"]


def test_what_cannot_be_merged_is_left_and_named() -> None:
    watched, twice = cnn.ParallelConv(IMAGES, 2, 2, [(3, 1)]), nn.Conv2d(2, 2, 1)
    model = nn.Sequential(watched, nn.ReLU(), twice, nn.BatchNorm2d(2), twice)
    watched.register_forward_hook(lambda *_: None)
    report = convnn.merge(model.eval())
    assert not report.merged
    assert "0  ParallelConv left: something listens to it" in str(report)
    assert "2  Conv2d and BatchNorm2d left: it is used elsewhere" in str(report)


@pytest.mark.parametrize(
    ("model", "settings", "message"),
    [
        (nn.Sequential(cnn.RepLK2d(2, 2)), {}, "0.operator is in training mode, in which nothing can be merged"),
        (nn.Sequential(nn.Conv2d(2, 2, 1), nn.BatchNorm2d(2)), {}, "1 is in training mode"),
        (cnn.ConvNorm(IMAGES, 2, 2).eval(), {"inplace": True}, "inplace=True cannot turn a ConvNorm"),
        ("vgg11", {}, "model='vgg11' must be a torch.nn.Module"),
    ],
    ids=["parallel", "sequence", "itself", "name"],
)
def test_refuses(model: nn.Module, settings: dict, message: str) -> None:
    with pytest.raises(InputError, match=re.escape(message)):
        convnn.merge(model, **settings)


def test_half_precision_is_rounded_once() -> None:
    layer = with_statistics(cnn.ParallelConv(IMAGES, 4, 4, [(5, 1), (3, 1)], groups=4)).to(torch.bfloat16)
    exact = cnn.merge(layer.double()).model.weight.to(torch.bfloat16)
    assert torch.equal(cnn.merge(layer.to(torch.bfloat16)).model.weight, exact)


@pytest.mark.parametrize("name", KERNELS)
def test_every_layer_takes_in_the_normalisation_after_it(name: str) -> None:
    layer = cnn.layer_factory(name, **KERNELS[name])(4, 6)
    model = with_statistics(nn.Sequential(layer, nn.BatchNorm2d(6), nn.ReLU()))
    report = cnn.merge(model)
    torch.testing.assert_close(report.model(maps(4, 6, 5)), model(maps(4, 6, 5)), rtol=0, atol=1e-11)
    does_not_end_in_a_convolution = name in ("MultiKernelDW", "CKConv", "SMPConv", "FlexConv")
    assert isinstance(report.model[1], nn.BatchNorm2d if does_not_end_in_a_convolution else nn.Identity)


def test_what_comes_after_a_shortcut_or_a_kernel_is_left() -> None:
    for layer in (cnn.LKA2d(4, 4), cnn.InceptionDW2d(3, 8)):
        model = with_statistics(nn.Sequential(layer, nn.BatchNorm2d(layer.out_channels)))
        report = cnn.merge(model)
        assert isinstance(report.model[1], nn.BatchNorm2d)
        x = maps(layer.in_channels, 5, 5)
        torch.testing.assert_close(report.model(x), model(x), rtol=0, atol=1e-12)


def test_a_refusal_leaves_the_model_as_it_was() -> None:
    model = nn.Sequential(cnn.RepLK2d(2, 2), nn.ReLU(), nn.BatchNorm2d(2)).eval()
    model[2].train()
    with pytest.raises(InputError, match=r"^2 is in training mode"):
        cnn.merge(model, inplace=True)
    assert isinstance(model[0].operator, cnn.ParallelConv)


def normalisations(model: nn.Module) -> int:
    return sum(isinstance(part, BATCH_NORMS) for part in model.modules())


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "before", "after"),
    only(
        lambda case: case[0] in ("torchvision:resnet18", "timm:regnety_002"),
        [
            ("torchvision:resnet18", 20, 0),
            ("torchvision:mobilenet_v3_small", 34, 0),
            ("torchvision:efficientnet_b0", 49, 0),
            ("torchvision:densenet121", 121, 62),
            ("timm:convnext_atto", 0, 0),
            ("timm:regnety_002", 44, 0),
        ],
    ),
)
def test_networks_of_other_libraries_lose_their_normalisation(name: str, before: int, after: int) -> None:
    if name.startswith("timm"):
        pytest.importorskip("timm")
    model = with_statistics(create_model(name, "Conv2d"))
    report = convnn.merge(model)
    assert (normalisations(model), normalisations(report.model)) == (before, after)
    assert len(report.merged) == before - after
    assert len(report.left) == after
    x = maps(3, 40, 40, batch=1)
    expected = model(x)
    torch.testing.assert_close(report.model(x), expected, rtol=0, atol=1e-9 * expected.abs().max().item())


class Block(nn.Module):
    """A convolution and its normalisation as attributes, with something else between or beside them."""

    def __init__(self, form: str) -> None:
        super().__init__()
        self.conv, self.bn, self.form = nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3), form
        if form == "checked":
            self.inner = Block("plain")
        if form == "tapped":
            self.tap = nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv(x)
        if self.form == "checked":
            return self.inner(y) if x.sum() > 0 else y
        if self.form == "tapped":
            return self.bn(self.tap(y)) + y
        others = {
            "read twice": lambda: y,
            "called twice": lambda: self.conv(y),
            "weight": lambda: self.conv.weight.sum(),
        }
        return self.bn(y) + others.get(self.form, lambda: 0)()


@pytest.mark.parametrize(
    ("form", "merged", "left"),
    [
        ("plain", ["conv"], []),
        ("read twice", [], [("conv", "it is used elsewhere, or something listens to it")]),
        ("called twice", [], [("conv", "it is used elsewhere, or something listens to it")]),
        ("weight", [], [("conv", "it is used elsewhere, or something listens to it")]),
        ("tapped", [], [("bn", "it does not follow a convolution")]),
        ("checked", ["inner.conv"], [("bn", "the part around it cannot be traced")]),
    ],
)
def test_only_what_nothing_else_reads_is_merged(form: str, merged: list[str], left: list[tuple[str, str]]) -> None:
    model = with_statistics(Block(form))
    report = convnn.merge(model)
    assert [part.name for part in report.merged] == merged
    assert [(part.name, part.reason) for part in report.left] == left
    x = maps(3, 4, 5)
    torch.testing.assert_close(report.model(x), model(x), rtol=0, atol=1e-12)


def test_a_network_of_blocks_that_cannot_be_traced_is_merged_around_and_in_them() -> None:
    parts = nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3), Block("checked"), nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3)
    report = check_merged(nn.Sequential(*parts), maps(3, 4, 5))
    assert [part.name for part in report.merged] == ["0", "2.inner.conv", "3"]


def test_a_hook_on_what_is_around_sees_the_same_as_before() -> None:
    seen: list[Tensor] = []
    model = with_statistics(nn.Sequential(nn.Sequential(nn.Conv2d(3, 3, 1)), nn.BatchNorm2d(3), Block("plain")))
    model[0].register_forward_hook(lambda _, __, output: seen.append(output))
    model[2].register_forward_hook(lambda _, __, output: seen.append(output))
    report = convnn.merge(model)
    assert [part.name for part in report.merged] == ["2.conv"]
    for one in (model, report.model):
        one(maps(3, 4, 5))
    for before, after in zip(seen[:2], seen[2:], strict=True):
        torch.testing.assert_close(after, before, rtol=0, atol=1e-12)

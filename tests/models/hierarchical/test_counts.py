"""Published numbers of parameters of all sizes, trained and in inference form, for 1000 classes."""

import math

import pytest
import torch
from torch import nn

import convnn
from convnn.models import create_model
from convnn.nn import PointsAndSmall, ShiftedSum2d
from hierarchical_networks import HIERARCHICAL
from pairwise import one_in

COUNTS = {
    "gcvit_xxtiny": 11_995_428,
    "gcvit_xtiny": 19_981_294,
    "gcvit_tiny": 28_221_974,
    "gcvit_small": 51_092_173,
    "gcvit_base": 90_320_836,
    "inceptionnext_atto": 4_156_520,
    "inceptionnext_tiny": 28_055_680,
    "inceptionnext_small": 49_374_016,
    "inceptionnext_base": 86_672_136,
    "van_b0": 4_105_800,
    "van_b1": 13_861_800,
    "van_b2": 26_578_472,
    "van_b3": 44_765_608,
    "van_b4": 60_283_176,
    "van_b5": 89_967_688,
    "van_b6": 199_829_416,
    "lsknet_t": 3_990_190,
    "lsknet_s": 13_840_892,
    "replknet_31b": 79_864_168,
    "replknet_31l": 172_671_016,
    "replknet_xl": 335_435_752,
    "smpconv_t": 26_705_248,
    "smpconv_b": 79_546_520,
    "unireplknet_a": 4_649_060,
    "unireplknet_f": 6_489_328,
    "unireplknet_p": 11_080_520,
    "unireplknet_n": 18_818_880,
    "unireplknet_t": 31_693_420,
    "unireplknet_s": 56_456_704,
    "unireplknet_b": 99_089_416,
    "unireplknet_l": 220_076_056,
    "unireplknet_xl": 388_690_984,
    "shiftwise_tiny": 31_790_260,
    "shiftwise_small": 57_312_892,
    "shiftwise_base": 100_250_380,
    "shiftwise_v1_tiny": 30_231_064,
    "recnext_m0": 2_832_420,
    "recnext_m1": 5_561_384,
    "recnext_m2": 7_326_828,
    "recnext_m3": 8_752_368,
    "recnext_m4": 14_630_128,
    "recnext_m5": 23_592_120,
    "recnext_a0": 3_115_220,
    "recnext_a1": 6_313_976,
    "recnext_a2": 8_376_436,
    "recnext_a3": 9_586_944,
    "recnext_a4": 16_342_304,
    "recnext_a5": 26_433_020,
}
"""Trained; LSKNet's without the head, which is ours."""

MERGED = {
    "replknet_31b": 79_438_952,
    "replknet_31l": 172_033_192,
    "replknet_xl": 335_210_984,
    "unireplknet_a": 4_437_300,
    "unireplknet_f": 6_235_216,
    "unireplknet_p": 10_741_704,
    "unireplknet_n": 18_318_560,
    "unireplknet_t": 31_037_980,
    "unireplknet_s": 55_645_984,
    "unireplknet_b": 98_008_456,
    "unireplknet_l": 218_454_616,
    "unireplknet_xl": 386_529_064,
    "recnext_m0": 2_502_400,
    "recnext_m1": 5_160_520,
    "recnext_m2": 6_859_320,
    "recnext_m3": 8_219_752,
    "recnext_m4": 14_084_072,
    "recnext_m5": 22_902_600,
    "recnext_a0": 2_775_200,
    "recnext_a1": 5_892_712,
    "recnext_a2": 7_885_128,
    "recnext_a3": 9_030_416,
    "recnext_a4": 15_750_496,
    "recnext_a5": 25_674_610,
}
"""In the inference form of the published code, if there is one."""

WITH_ONE_KERNEL = {"smpconv_t": 28_808_968, "smpconv_b": 85_536_104}
"""With one depthwise convolution in the place of each pair of points and a small kernel: more."""

RECNEXT = {
    0: ((2, 2, 9, 1), 40),
    1: ((3, 3, 15, 2), 48),
    2: ((3, 3, 15, 2), 56),
    3: ((3, 3, 13, 2), 64),
    4: ((5, 5, 25, 4), 64),
    5: ((7, 7, 35, 2), 80),
}
"""Depths, and width of the first stage, of RecNeXt's sizes."""

SUMMED = {
    "shiftwise_tiny": 31_002_670,
    "shiftwise_small": 55_990_108,
    "shiftwise_base": 98_477_182,
    "shiftwise_v1_tiny": 29_259_814,
}
"""With the sums of the two paths, the published inference form of ShiftwiseConv; ours goes further."""


def _count(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def _build(name: str, **settings: object) -> nn.Module:
    with torch.device("meta"):
        return create_model(name, num_classes=1000, **settings).eval()


def _taken_in_too(name: str) -> int:
    """Return how many parameters of RecNeXt `merge` takes in that the published code leaves.

    These are the normalisation after each downsampling and, in the M series, after each recursive convolution, which
    gets a bias instead.
    """
    if not name.startswith("recnext"):
        return 0
    depths, width = RECNEXT[int(name[-1])]
    widths = [width << stage for stage in range(4)]
    return 2 * sum(widths[1:]) + (name[-2] == "m") * sum(map(math.prod, zip(depths, widths, strict=True)))


def test_every_size_has_a_published_number() -> None:
    assert set(COUNTS) == set(HIERARCHICAL)


@pytest.mark.parametrize("name", one_in(6, COUNTS))
def test_parameters_are_as_many_as_published(name: str) -> None:
    model = _build(name)
    if name.startswith("lsknet"):
        model.head = nn.Identity()
    assert _count(model) == COUNTS[name]


@pytest.mark.parametrize("name", one_in(8, MERGED))
def test_inference_forms_have_as_many_as_published(name: str) -> None:
    with torch.device("meta"):
        merged = convnn.merge(_build(name), inplace=True).parameters
    assert merged == (COUNTS[name], MERGED[name] - _taken_in_too(name))


@pytest.mark.parametrize("name", SUMMED)
def test_paths_of_small_kernels_are_as_many_as_published(name: str) -> None:
    model = _build(name)
    paths = [module.weight[0].numel() for module in model.modules() if isinstance(module, ShiftedSum2d)]
    assert _count(model) - sum(paths) == SUMMED[name]


@pytest.mark.parametrize("name", WITH_ONE_KERNEL)
def test_kernels_of_points_become_tables_of_as_many_weights_as_measured(name: str) -> None:
    model = _build(name)
    pairs = [module for module in model.modules() if isinstance(module, PointsAndSmall)]
    added = [_count(pair.merge()) - _count(pair) for pair in pairs]
    assert _count(model) + sum(added) == WITH_ONE_KERNEL[name]


def test_a_shiftwise_network_without_ghosts() -> None:
    assert _count(_build("shiftwise_v1_tiny", ghost_ratio=0.0)) == 30_817_672

"""Sparse voxels against sets of Python."""

import importlib.util
from itertools import product

import pytest
import torch

from convnn.errors import InputError
from convnn.ops.voxels import Voxels, cell_of, local, offsets, splat, unique, voxel_of


def _some(count: int, seed: int = 0) -> list[tuple[int, int, int]]:
    draws = torch.randint(-4, 5, (count, 3), generator=torch.Generator().manual_seed(seed))
    return list(dict.fromkeys(map(tuple, draws.tolist())))


@pytest.mark.parametrize("count", [1, 2, 40])
def test_voxels_are_found_where_a_dictionary_has_them(count: int) -> None:
    rows = {ijk: row for row, ijk in enumerate(_some(count))}
    voxels = Voxels(torch.tensor(list(rows)))
    asked = torch.tensor([*product(range(-6, 7), repeat=3), (10**9, 0, -(10**9))])
    assert voxels.find(asked).tolist() == [rows.get(tuple(ijk), -1) for ijk in asked.tolist()]
    cell, voxel, step = voxels.around(asked[:300])
    steps = list(product((-1, 0, 1), repeat=3))
    wanted = [
        (number, rows[near], which)
        for number, ijk in enumerate(asked[:300].tolist())
        for which, move in enumerate(steps)
        if (near := tuple(a + b for a, b in zip(ijk, move, strict=True))) in rows
    ]
    assert list(zip(cell.tolist(), voxel.tolist(), step.tolist(), strict=True)) == wanted
    spread = {tuple(a + b for a, b in zip(ijk, move, strict=True)) for ijk in rows for move in steps}
    assert list(map(tuple, voxels.spread().ijk.tolist())) == sorted(spread)


def test_centres_are_whole_and_rounding_does_not_choose_the_side() -> None:
    x = torch.tensor([[0.15, 0.25, -0.05]], dtype=torch.double)  # centres of voxels of 0.1, up to rounding
    for error in (-1e-9, 0, 1e-9):
        places = local(x + error, 0.1)
        assert cell_of(places).tolist() == [[1, 2, -1]]
        assert voxel_of(places).tolist() == [[1, 2, -1]]
    assert cell_of(torch.tensor([[0.5, -0.5, 0.999]])).tolist() == [[0, -1, 0]]
    assert voxel_of(torch.tensor([[0.5, 1.5, -0.5]])).tolist() == [[1, 2, 0]]  # half goes up, not to even


def test_points_are_splatted_to_eight_voxels() -> None:
    assert splat(torch.tensor([[0.3, 0.3, 0.3]]), 0.5).ijk.tolist() == list(map(list, product((0, 1), repeat=3)))
    assert offsets(0, 1).tolist() == list(map(list, product((0, 1), repeat=3)))


def test_tables_are_on_the_cpu_whatever_device_the_module_is_imported_for() -> None:
    spec = importlib.util.find_spec("convnn.ops.voxels")
    again = importlib.util.module_from_spec(spec)
    with torch.device("meta"):  # where the networks of checkpoints are first built
        spec.loader.exec_module(again)
    assert (again.NEAREST.device.type, again.CORNERS.device.type) == ("cpu", "cpu")


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: Voxels(torch.ones(0, 3).long()), r"ijk of shape \(0, 3\)"),
        (lambda: Voxels(torch.ones(2, 3)), "must be .* of integers"),
        (lambda: Voxels(torch.ones(2, 3).long()), "each voxel once"),
        (lambda: unique(torch.tensor([[0, 0, 0], [1 << 31, 1 << 31, 1 << 31]])), "too many to number; take a larger"),
        (lambda: local(torch.ones(1, 3), 1e-30), "voxel_size=1e-30 is too small for points at 1"),
    ],
    ids=range(5),
)
def test_bad_input_is_told_in_a_sentence(call, message: str) -> None:
    with pytest.raises(InputError, match=message):
        call()

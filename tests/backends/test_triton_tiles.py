"""The words of all kernels, and the kernels that need float64, against published numbers; and how long kernels are."""

import ast
from pathlib import Path

import pytest
import torch

from convnn.backends import triton
from golden.case import read_case
from golden.check import Verdict, check
from triton_kernels import needs_kernels, poisoned, rows  # noqa: F401  fixtures

KERNELS = sorted(Path(triton.__file__).parent.glob("*.py"))
NUMBERS = sorted((Path(__file__).parents[1] / "golden" / "files" / "110-thunderkittens").iterdir())

needs_double = pytest.mark.skipif(not triton.INTERPRETS, reason="only the interpreter computes in float64")
pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning")  # of NumPy, in the interpreter


@needs_double
@pytest.mark.parametrize("path", NUMBERS, ids=lambda path: path.stem)
def test_kernels_are_the_published(path: Path) -> None:
    assert check(read_case(path)) == Verdict("agrees")


@needs_double
@pytest.mark.parametrize(("size", "height"), [((5, 3), 2), ((1, 7), 4), ((13, 2), 12), ((3, 3), 12)])
def test_task_order_visits_every_block_once_in_groups(size: tuple[int, int], height: int) -> None:
    from tile_kernels import order

    blocks = order(*size, height)
    assert sorted(map(tuple, blocks.tolist())) == [(i, j) for i in range(size[0]) for j in range(size[1])]
    groups = blocks[:, 0] // height
    assert groups.equal(groups.sort().values)
    assert blocks[: min(height, size[0]), 1].eq(0).all()


@needs_kernels
def test_persistent_programs_compute_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    from convnn.backends.triton import _dense

    indices = torch.randint(7, (1, 130, 2), generator=torch.Generator().manual_seed(0)).to(rows(1).device)
    arguments = (rows(1, 7, 3), indices, None, rows(70, 3, 2, seed=1), None, 1)
    once = triton.convolve(*arguments)
    monkeypatch.setattr(_dense, "PERSISTENT", True)
    assert triton.convolve(*arguments).equal(once)


def jitted() -> list[tuple[str, ast.FunctionDef]]:
    """Return all functions that Triton compiles, with the files they are in."""
    trees = [(path.stem, ast.parse(path.read_text())) for path in KERNELS]
    functions = [(name, one) for name, tree in trees for one in tree.body if isinstance(one, ast.FunctionDef)]
    return [(name, one) for name, one in functions if any("jit" in ast.unparse(how) for how in one.decorator_list)]


def test_kernels_are_short() -> None:
    for file, kernel in jitted():
        first = kernel.body[1] if ast.get_docstring(kernel) else kernel.body[0]
        assert kernel.end_lineno - first.lineno + 1 <= 40, f"{file}.{kernel.name}"


def test_each_word_has_several_users() -> None:
    uses = [{node.id for node in ast.walk(one) if isinstance(node, ast.Name)} for _, one in jitted()]
    for file, word in jitted():
        if file == "_tiles" and word.name not in ("task_block", "softmax_step"):  # one product, one softmax
            assert sum(word.name in used for used in uses) >= 2, word.name

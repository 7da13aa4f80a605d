from pathlib import Path

import pytest
import torch
from scipy.sparse import csr_array

from convnn.backends import cpu
from convnn.errors import InputError
from convnn.learners import direct
from convnn.learners.kernels import ArcCosine, ExponentialPower, Gaussian, Laplace, Linear, Polynomial
from convnn.learners.matrix import Matrix
from convnn.learners.products import Chunked, KernelMatrix
from launch import start, wait
from peak_memory import print_product_peak
from small_graphs import features

X, Y = features(70, 3), features(45, 3, seed=2)
TINY = Chunked(megabytes=0.0005)


@pytest.fixture(params=["core", "blocks"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Multiply as the machine can, and without the core."""
    if request.param == "blocks":
        monkeypatch.setattr(direct, "FORMULAS", {})


KERNELS = [Gaussian(1.5), Laplace(0.7), ArcCosine(1), Polynomial(4, 0.2), Linear(), ExponentialPower(power=0.5)]


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("kernel", KERNELS, ids=str)
@pytest.mark.parametrize("shape", [(45,), (45, 1), (45, 4)])
def test_blocks_make_the_whole_product(kernel, shape) -> None:
    v = features(*shape, *([] if len(shape) == 2 else [1])).reshape(shape)
    for product in (Chunked(), TINY):
        assert torch.allclose(product(kernel, X, Y, v), kernel.block(X, Y) @ v)


def test_no_block_is_larger_than_stated() -> None:
    seen = []

    class Watched(Gaussian):
        def block(self, X, Y):
            seen.append(len(X) * len(Y) * X.element_size())
            return super().block(X, Y)

    TINY(Watched(), X, Y, features(45, 2))
    assert max(seen) <= 500 / 3
    assert len(seen) > 100


@pytest.mark.skipif(cpu.core is None, reason="the core is not compiled")
def test_the_core_multiplies_what_it_knows(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_) -> None:
        raise AssertionError("a block of PyTorch")

    class Mine(Laplace):
        """A kernel of which the core knows nothing."""

    for kind in (Gaussian, Laplace, Polynomial, ArcCosine):
        monkeypatch.setattr(kind, "block", refuse)
        for dtype in (torch.float32, torch.float64):
            assert (KernelMatrix(kind(), X.to(dtype), Y.to(dtype)) @ Y.to(dtype)).dtype == dtype
            assert KernelMatrix(kind(), X.to(dtype), Y.to(dtype)).dense().shape == (70, 45)
    for unknown in (lambda: KernelMatrix(Mine(), X, Y) @ Y, lambda: Chunked()(Laplace(), X, Y.float(), Y.float())):
        with pytest.raises(AssertionError, match="a block of PyTorch"):
            unknown()


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="the peak is read from Linux's /proc")
def test_a_tenth_of_the_memory_of_the_matrix_is_enough(tmp_path: Path) -> None:
    log = tmp_path / "log"
    assert wait(start(print_product_peak, 9000, log=log)) == 0, log.read_text()
    assert float(log.read_text()) < 9000**2 * 4 / 2**20 / 10


def test_gradients_are_those_of_the_whole_matrix() -> None:
    leaves = [one.clone().requires_grad_() for one in (X, Y, features(45, 2))]
    Chunked(megabytes=0.01)(Gaussian(), *leaves).sin().sum().backward()
    whole = [one.detach().clone().requires_grad_() for one in leaves]
    (torch.exp(-torch.cdist(whole[0], whole[1]).square() / 2) @ whole[2]).sin().sum().backward()
    assert all(torch.allclose(a.grad, b.grad) for a, b in zip(leaves, whole, strict=True))


def test_matrix_reads_as_in_formulas() -> None:
    kernel, v, w = Laplace(), features(45, 2), features(70, 2)
    whole, rows = kernel.block(X, Y), torch.tensor([5, 1, 69])
    for K in (KernelMatrix(kernel, X, Y, TINY), KernelMatrix(kernel, X, Y).kept()):
        assert torch.allclose(K @ v, whole @ v)
        assert torch.allclose(K.T @ w, whole.T @ w)
        assert torch.allclose(K[rows] @ v, whole[rows] @ v)
        assert torch.allclose(K[:10] @ v, whole[:10] @ v)
        assert K.T.shape == (45, 70)


def test_large_matrices_are_never_whole() -> None:
    K = KernelMatrix(Laplace(), X, Y, TINY)
    assert K.kept().values is None
    with pytest.raises(InputError, match=r"megabytes=0\.0005"):
        K.dense()


def test_sparse_matrices_stay_sparse() -> None:
    values = (torch.rand(30, 30, generator=torch.Generator().manual_seed(0)) < 0.1).double()
    values = values + values.T
    rows, columns, v = torch.arange(3.0, 20)[:, None], torch.tensor([[4.0], [29.0], [4.0]]), features(3, 2)
    found = Chunked()(Matrix(csr_array(values.numpy())), rows.double(), columns.double(), v)
    assert torch.allclose(found, values[3:20][:, [4, 29, 4]] @ v)


def test_empty_and_bad_input() -> None:
    assert Chunked()(Gaussian(), X[:0], Y, features(45, 2)).shape == (0, 2)
    assert torch.equal(Chunked()(Gaussian(), X, Y[:0], features(45, 2)[:0]), torch.zeros(70, 2).double())
    with pytest.raises(InputError, match="45 rows"):
        Chunked()(Gaussian(), X, Y, features(44, 2))
    with pytest.raises(InputError, match="megabytes=0"):
        Chunked(0)
    with pytest.raises(InputError, match="kernel=None"):
        KernelMatrix(None, X, Y).dense()

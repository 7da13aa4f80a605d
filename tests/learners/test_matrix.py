import numpy as np
import pytest
import torch
from scipy.sparse import csr_array

from convnn.errors import InputError
from convnn.learners.matrix import Matrix
from small_graphs import features


def test_matrix_has_rows_by_number_dense_and_sparse() -> None:
    values = features(6, 6)
    values = values @ values.T
    rows, columns = torch.tensor([[4], [0], [4]]).double(), torch.tensor([[1], [5]]).double()
    for kept in (values, values.numpy(), csr_array(values.numpy())):
        assert torch.equal(Matrix(kept).block(rows, columns), values[[4, 0, 4]][:, [1, 5]])
        assert torch.equal(Matrix(kept).diagonal(rows), values.diagonal()[[4, 0, 4]])


def test_kernel_of_a_graph_is_its_normalised_adjacency() -> None:
    weights = np.array([[0, 2, 0, 0], [2, 0, 1, 0], [0, 1, 0, 0], [0, 0, 0, 0]])
    nodes = torch.arange(4.0, dtype=torch.float64)[:, None]
    found = Matrix.of_graph(weights).block(nodes, nodes) / 4
    assert found[0, 1] == pytest.approx(2 / 6**0.5)
    assert found[1, 2] == pytest.approx(1 / 3**0.5)
    assert not found[3].any()
    lazy = Matrix.of_graph(weights, lazy=True).block(nodes, nodes) / 4
    assert torch.allclose(lazy, (torch.eye(4, dtype=torch.float64) + found) / 2)
    assert torch.linalg.eigvalsh(lazy)[0] > -1e-12


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Matrix(torch.ones(2, 3)), r"\(2, 3\)"),
        (lambda: Matrix(torch.ones(2, 2)).block(torch.tensor([[2.0]]), torch.tensor([[0.0]])), "row 2"),
        (lambda: Matrix(torch.ones(2, 2)).block(torch.tensor([[0.5]]), torch.tensor([[0.0]])), "row numbers"),
    ],
)
def test_bad_input(make, words: str) -> None:
    with pytest.raises(InputError, match=words):
        make()

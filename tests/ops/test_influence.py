"""Powers of the row-normalised graph: torch's matrix power, walks counted in loops, and bad input."""

import pytest
import torch

from convnn.errors import InputError
from convnn.ops.influence import influence_matrix
from small_graphs import directed


def test_powers_are_those_of_the_matrix() -> None:
    edges = torch.cat([directed(6, 14), torch.tensor([[2, 2], [2, 3]])], 1)  # with self-loops, repeated edges
    adjacency = torch.zeros(8, 8, dtype=torch.double)  # two nodes without edges
    for source, target in edges.T.tolist():
        adjacency[source, target] = adjacency[target, source] = 1
    adjacency += torch.eye(8)
    adjacency /= adjacency.sum(1, keepdim=True)
    for order in (1, 2, 4):
        powers = [torch.linalg.matrix_power(adjacency, k) for k in range(1, order + 1)]
        for cumulative, expected in ((False, powers[-1]), (True, torch.stack(powers).sum(0))):
            found = influence_matrix(edges, 8, order, cumulative=cumulative, dtype=torch.double)
            torch.testing.assert_close(found, expected, rtol=0, atol=1e-15)
            assert found.sum(1).tolist() == pytest.approx([order if cumulative else 1] * 8)
            assert found[7].tolist() == [0] * 7 + [order if cumulative else 1]
    assert influence_matrix(edges, 8).dtype == torch.float32


def test_bad_input() -> None:
    with pytest.raises(InputError, match=r"^order=0 must be an integer of at least 1$"):
        influence_matrix(directed(), 7, 0)
    with pytest.raises(InputError, match=r"^edge_index has sources from 0 to 6; they must lie between 0 and 3$"):
        influence_matrix(directed(7), 4)

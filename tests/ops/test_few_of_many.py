"""The highest few of many scores, which are found without sorting all, against the sorted list."""

import pytest
import torch

from convnn.ops import edges, select


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_highest_few_are_those_of_a_stable_sort(dtype: torch.dtype) -> None:
    generator = torch.Generator().manual_seed(0)
    scores = torch.randint(0, 50, (3, 100, 900), generator=generator).to(dtype)  # many are equal
    assert scores.numel() >= select.MANY
    scores[0, 0], scores[0, 1, :890], scores[1, 2, ::2] = torch.nan, -torch.inf, torch.inf
    excluded = torch.rand(scores.shape, generator=generator) < 0.3
    excluded[2, 5] = True
    last = scores.masked_fill(scores.isnan() | excluded, -torch.inf)
    expected = last.sort(dim=-1, descending=True, stable=True).indices[..., :20]
    assert torch.equal(select.highest(scores, 20, excluded=excluded), expected)


def test_rows_of_edges_are_those_of_the_matrix() -> None:
    index = torch.tensor([[0, 2, 2, 1, 2], [3, 0, 1, 3, 0]])
    matrix = torch.zeros(4, 5, dtype=torch.bool)
    matrix[tuple(index)] = True
    sources = torch.tensor([2, 0, 3, 2])
    assert torch.equal(edges.edge_rows(index, sources, (4, 5)), matrix[sources])
    with pytest.raises(ValueError, match=r"^sources from 4 to 4 must lie between 0 and 3$"):
        edges.edge_rows(index, torch.tensor([4]), (4, 5))

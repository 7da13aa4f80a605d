"""Filters of graphs under `torch.compile`: one graph, but where SciPy finds the bases."""

import pytest
import torch

from pairwise import one_in
from small_graphs import features, random_directed

pytest.importorskip("torch_geometric")
from convnn.nn import graphs


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "fullgraph"), one_in(3, [("ChebGibbs", True), ("Holo", True), ("GCORN", True), ("PDF", False)])
)
def test_compiled(name: str, fullgraph: bool) -> None:
    torch.manual_seed(0)
    layer, x, edge_index = getattr(graphs, name)(4, 3).double().eval(), features(12, 4), random_directed(12, 0.3)
    compiled = torch.compile(layer, fullgraph=fullgraph, backend="eager")
    torch.testing.assert_close(compiled(x, edge_index), layer(x, edge_index), rtol=0, atol=1e-14)

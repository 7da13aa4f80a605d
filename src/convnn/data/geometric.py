"""PyTorch Geometric, of which the graph data sets are made: an extra, imported where it is used."""

import warnings
from types import ModuleType

from convnn.packages import need


def geometric(part: str) -> ModuleType:
    """A module of it, such as "datasets".

    Raises:
        InputError: it is not installed, or does not load.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it calls what newer torch deprecates
        return need(f"torch_geometric.{part}", "load_graph", "graph")

"""Import of PyTorch Geometric, an optional dependency that provides the graph data sets."""

import warnings
from types import ModuleType

from convnn.packages import need


def import_geometric(part: str) -> ModuleType:
    """Import a module of PyTorch Geometric, such as "datasets".

    Raises:
        InputError: PyTorch Geometric is not installed or cannot be imported.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it calls functions that newer torch deprecates
        return need(f"torch_geometric.{part}", "load_graph", "graph")

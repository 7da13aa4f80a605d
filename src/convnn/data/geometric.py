"""PyTorch Geometric, of which the graph data sets are made: an extra, imported where it is used."""

import importlib
import warnings
from typing import Any

from convnn.errors import InputError


def geometric(part: str) -> Any:
    """A module of it, such as "datasets".

    Raises:
        InputError: it is not installed.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it calls what newer torch deprecates
            return importlib.import_module(f"torch_geometric.{part}")
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != "torch_geometric":
            raise
        raise InputError("graph data sets need the package torch_geometric: pip install 'convnn[graph]'") from None

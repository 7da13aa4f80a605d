"""The modules whose public names the reference has."""

import re
from types import ModuleType

import convnn.bench
import convnn.data
import convnn.graphs
import convnn.learners
import convnn.nn
import convnn.ops
import convnn.runs
import convnn.study
import convnn.tangent
import convnn.viz

MODULES = (
    convnn.bench,
    convnn.nn,
    convnn.graphs,
    convnn.graphs.embed,
    convnn.graphs.fetch,
    convnn.graphs.sample,
    convnn.learners,
    convnn.ops.edges,
    convnn.ops.scan,
    convnn.ops.select,
    convnn.ops.weigh,
    convnn.ops.aggregate,
    convnn.data,
    convnn.runs,
    convnn.study,
    convnn.tangent,
    convnn.viz,
)
CONSTANTS = re.compile(r"[A-Z_]+")


def public_names(module: ModuleType) -> list[str]:
    """Return what `__all__` has, or else what the module defines, without modules and constants."""
    names = getattr(module, "__all__", None) or [
        name for name, value in vars(module).items() if getattr(value, "__module__", "") == module.__name__
    ]
    names = [name for name in names if not name.startswith("_") and not CONSTANTS.fullmatch(name)]
    return [name for name in names if not isinstance(getattr(module, name), ModuleType)]

"""Facts of the layers on a graph, which each room registers, in the order in which they are listed.

Layers are not imported for it, since most need PyTorch Geometric: `Deferred` names the module and the settings.
"""

# isort: off
from convnn.nn.graphs.sums import _systems as _sums  # noqa: F401
from convnn.nn.graphs.spectra import _systems as _spectra  # noqa: F401
from convnn.nn.graphs.messages import _systems as _messages  # noqa: F401
from convnn.nn.graphs.multisets import _systems as _multisets  # noqa: F401
from convnn.nn.graphs.temporal import _systems as _temporal  # noqa: F401
from convnn.nn.graphs.patches import _systems as _patches  # noqa: F401
from convnn.nn.graphs.found import _systems as _found  # noqa: F401
# isort: on

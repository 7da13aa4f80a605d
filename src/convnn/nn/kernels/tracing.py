"""Which module computes the input of which: the calls of a network, traced by `torch.fx`."""

import warnings
from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple

from torch import fx, nn

from convnn.nn._depthwise import DEPTHWISE
from convnn.nn._layer import MapLayer

Graph = tuple[nn.Module, fx.Graph]


class Step(NamedTuple):
    """A module, and the one whose output it reads.

    Attributes:
        before: path of the module whose output it reads; empty if it is no module's.
        after: its own path.
        is_alone: nothing else reads that output, and neither of the two is called again, or read without a call.
    """

    before: str
    after: str
    is_alone: bool


Kinds = tuple[type[nn.Module], ...]


def steps_to(model: nn.Module, kinds: Kinds, whole: Kinds) -> list[Step]:
    """Return a step for every module of some kinds in the parts of a model that can be traced, in their order.

    The inside of `whole` kinds is not looked at.

    A part whose calls depend on its input cannot be traced: around it, it is one module, and what is inside is traced
    for itself, as are our layers and parts with hooks. Parts are taken to be called as wholes.
    """
    names: dict[nn.Module, str] = {}
    for name, module in model.named_modules():
        names.setdefault(module, name)
    opaque = {module for module in names if isinstance(module, (MapLayer, *kinds, *whole)) or has_hooks(module)}
    closed, steps = set(opaque), dict[str, Step]()
    for part in (model, *(module for module in names if module in closed)):
        for root, graph in _graphs(part, opaque, kinds, whole):
            for step in _steps(root, graph, kinds, f"{names[root]}." if names[root] else ""):
                steps.setdefault(step.after, step)  # the outermost part, which was traced first, knows most
    order = {name: number for number, name in enumerate(names.values())}
    return sorted(steps.values(), key=lambda step: order[step.after])


def has_hooks(module: nn.Module) -> bool:
    """Return whether something listens to the calls of a module."""
    return bool(module._forward_pre_hooks or module._forward_hooks)


def _graphs(module: nn.Module, opaque: set[nn.Module], kinds: Kinds, whole: Kinds) -> list[Graph]:
    """Return the graph of a module, or of what is inside, and add modules without a graph to the opaque ones."""
    if isinstance(module, whole) or not any(isinstance(part, kinds) for part in module.modules()):
        return []
    graph = _traced(module, opaque)
    if graph is not None:
        return [(module, graph)]
    before = len(opaque)
    inside = [found for child in module.children() for found in _graphs(child, opaque, kinds, whole)]
    graph = _traced(module, opaque) if len(opaque) > before else None
    if graph is not None:
        return [(module, graph), *inside]
    opaque.add(module)
    return inside


def _traced(module: nn.Module, opaque: set[nn.Module]) -> fx.Graph | None:
    """Return the graph of the calls in a module, or None if it has none."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return _Tracer(opaque).trace(module)
    except Exception:  # whatever code does with a symbol instead of a tensor
        return None


class _Tracer(fx.Tracer):
    """A tracer that does not look into some modules."""

    def __init__(self, opaque: set[nn.Module]) -> None:
        super().__init__()
        self.opaque = opaque

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return m in self.opaque or isinstance(m, DEPTHWISE) or super().is_leaf_module(m, module_qualified_name)


def _steps(root: nn.Module, graph: fx.Graph, kinds: Kinds, prefix: str) -> Sequence[Step]:
    """Return the steps of one graph, with paths in the model."""
    calls = {node: str(node.target) for node in graph.nodes if node.op == "call_module"}
    times = Counter(root.get_submodule(path) for path in calls.values())
    read = [str(node.target) for node in graph.nodes if node.op == "get_attr"]
    steps = []
    for node, after in calls.items():
        if not isinstance(root.get_submodule(after), kinds):
            continue
        source: Any = node.args[0] if len(node.args) == 1 and not node.kwargs else None
        if source not in calls:
            steps.append(Step("", prefix + after, is_alone=False))
            continue
        before = calls[source]
        is_read = any(name.startswith((f"{before}.", f"{after}.")) for name in read)
        is_once = all(times[root.get_submodule(path)] == 1 for path in (before, after))
        steps.append(Step(prefix + before, prefix + after, is_once and not is_read and len(source.users) == 1))
    return steps

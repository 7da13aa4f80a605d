"""Layers that a page or an example writes are of any batch: they can be exported, and compiled as one graph."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import nn

from convnn.export import trace
from convnn.nn._layer import TokenLayer
from fences import PAGES, ROOT, blocks_of, name_of
from pairwise import one_in

EXAMPLES = ROOT / "examples"
SOURCES = [path for room in ("nn", "ops", "models") for path in (ROOT / "src" / "convnn" / room).rglob("*.py")]
DEFINITIONS = (ast.Import, ast.ImportFrom, ast.ClassDef, ast.FunctionDef)
NETWORKS = {
    "plain_loop": (1, 8, 8),
    "segmentation": (4, 16, 16),
    "signal_1d": (1, 64),
    "volume_3d": (1, 8, 8, 8),
}
"""Examples with a network of layers, and the shape of what it reads."""


def code_of(path: Path) -> str:
    """The Python of a page, or of a file of it."""
    if path.suffix == ".py":
        return path.read_text(encoding="utf-8")
    return "\n".join(block.text for block in blocks_of(path, "python"))


NO_LAYERS = {"Objective", "OwnLoss"}
"""What classes of a page may derive from that are modules and no layers."""


def defines_layers(path: Path) -> bool:
    classes = [node for node in ast.parse(code_of(path)).body if isinstance(node, ast.ClassDef)]
    return any(not NO_LAYERS & {*map(ast.unparse, one.bases)} for one in classes)


def layers_of(page: Path) -> Iterator[tuple[nn.Module, torch.Tensor]]:
    """The layers whose classes stand in a page, small, and three inputs."""
    tree = ast.parse(code_of(page))
    definitions = ast.Module([node for node in tree.body if isinstance(node, DEFINITIONS)], type_ignores=[])
    namespace: dict[str, object] = {"__name__": "page"}
    exec(compile(definitions, page, "exec"), namespace)
    for node in definitions.body:
        kind = namespace[node.name] if isinstance(node, ast.ClassDef) else None
        if isinstance(kind, type) and issubclass(kind, TokenLayer):
            yield kind(12, 3), torch.randn(3, 10, 12)
        elif isinstance(kind, type) and issubclass(kind, nn.Module):
            yield kind(3, 4), torch.randn(3, 3, 6, 5)


def check(layer: nn.Module, x: torch.Tensor) -> None:
    """It is exported of one input, and compiled as one graph, and computes the same of three."""
    expected = layer.eval()(x)
    torch.testing.assert_close(trace(layer, x[:1]).module()(x), expected, atol=1e-5, rtol=1e-5)
    compiled = torch.compile(layer, fullgraph=True, backend="eager")
    torch.testing.assert_close(compiled(x), expected)


@pytest.mark.slow
@pytest.mark.parametrize("page", one_in(3, (page for page in PAGES if defines_layers(page))), ids=name_of)
def test_layers_of_a_page_are_exported_and_compiled(page: Path) -> None:
    cases = list(layers_of(page))
    assert cases, "a class of a page that is no layer: say here what it is"
    for layer, x in cases:
        check(layer, x)


@pytest.mark.long
@pytest.mark.parametrize("name", NETWORKS)
def test_the_network_of_an_example_is_exported_and_compiled(name: str) -> None:
    body = ast.parse(code_of(EXAMPLES / f"{name}.py")).body
    network = next(node for node in body if isinstance(node, ast.Assign) and ast.unparse(node.targets) == "network")
    namespace: dict[str, object] = {}
    of_network = [node for node in body if isinstance(node, ast.Import | ast.ImportFrom)] + [network]
    exec(compile(ast.Module(of_network, type_ignores=[]), name, "exec"), namespace)
    check(namespace["network"], torch.randn(3, *NETWORKS[name]))


def lengths_of_tensors(code: str, *, annotated: bool) -> list[str]:
    """Where a function takes the length of a parameter: one that is a tensor, or any of a method of a class."""
    found: list[str] = []
    for function in ast.walk(ast.parse(code)):
        if not isinstance(function, ast.FunctionDef):
            continue
        arguments = [*function.args.posonlyargs, *function.args.args, *function.args.kwonlyargs]
        names = {
            one.arg
            for one in arguments
            if not annotated or ast.unparse(one.annotation or ast.Constant("")) in ("Tensor", "Tensor | None")
        }
        calls = [ast.unparse(node) for node in ast.walk(function) if isinstance(node, ast.Call)]
        found += [f"{function.name}: {call}" for call in calls if call in {f"len({name})" for name in names}]
    return found


def test_nothing_takes_the_length_of_a_tensor_where_a_trace_would_fix_it() -> None:
    hits = {name_of(path): lengths_of_tensors(code_of(path), annotated=True) for path in SOURCES}
    for path in (*PAGES, *sorted(EXAMPLES.glob("*.py"))):
        classes = [node for node in ast.walk(ast.parse(code_of(path))) if isinstance(node, ast.ClassDef)]
        hits[name_of(path)] = [hit for one in classes for hit in lengths_of_tensors(ast.unparse(one), annotated=False)]
    assert {name: found for name, found in hits.items() if found} == {}, "a size is x.shape[0]"


def test_a_length_is_found_where_there_is_one() -> None:
    method = "class A:\n    def select(self, queries, keys):\n        return f(len(keys), len(self.parts))\n"
    assert lengths_of_tensors(method, annotated=False) == ["select: len(keys)"]
    function = "def f(x: Tensor, y: list[int], z: Tensor | None):\n    return len(x), len(y), len(z)\n"
    assert lengths_of_tensors(function, annotated=True) == ["f: len(x)", "f: len(z)"]

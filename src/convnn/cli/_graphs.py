"""Nodes and graphs of the data set of a checkpoint, for the commands that show single ones."""

import argparse
from collections.abc import Sequence
from pathlib import Path

import torch
from rich.console import Console
from torch import Tensor

from convnn.cli._images import config_like
from convnn.cli.evaluate import load_part_like
from convnn.data import LabelledPart
from convnn.errors import InputError
from convnn.files import check_new, make_folder
from convnn.models import Network
from convnn.nn.graphs.batch import GraphBatch, side_by_side
from convnn.screen import print_line, show_activity
from convnn.train import Recipe


def chosen_samples(recipe: Recipe, part: LabelledPart, numbers: Sequence[int], flag: str) -> GraphBatch:
    """Return the network's input for nodes by their numbers in the graph, or for graphs by their numbers in the part.

    Raises:
        InputError: there is no such node or graph.
    """
    (batch, *others) = list(part.loader)
    inputs: GraphBatch = batch.inputs
    count = len(inputs.x) if part.kind == "node" else part.loader.num_samples
    for number in numbers:
        if not 0 <= number < count:
            raise InputError(f"{flag}={number} must lie between 0 and {count - 1}, a {part.kind} of {recipe.dataset}")
    if part.kind == "node":
        return inputs._replace(nodes=torch.tensor(numbers, device=inputs.x.device))
    graphs = [graph for one in (batch, *others) for graph in apart(one.inputs)]
    return side_by_side([graphs[number] for number in numbers], recipe.input_shape[0])


def apart(batch: GraphBatch) -> list[GraphBatch]:
    """Return the graphs of a batch one by one, the reverse of `side_by_side`."""
    graph_of = batch.graph_of
    if graph_of is None:
        return [batch]
    sizes = graph_of.bincount(minlength=batch.num_graphs)
    starts = (sizes.cumsum(0) - sizes).tolist()
    of_edges = graph_of[batch.edge_index[0]]
    return [
        GraphBatch(x, batch.edge_index[:, of_edges == number] - starts[number])
        for number, x in enumerate(batch.x.split(sizes.tolist()))
    ]


def parse_numbers(words: Sequence[str]) -> list[int]:
    """Parse the numbers of nodes or graphs.

    Raises:
        InputError: a word is not a number.
    """
    for word in words:
        if not word.isdecimal():
            raise InputError(f"{word!r} is not the number of a node or graph, which this checkpoint classifies")
    return [int(word) for word in words]


def part_of_graphs(args: argparse.Namespace, recipe: Recipe) -> LabelledPart:
    """Open the test part of the checkpoint's data set on the CPU."""
    return load_part_like(recipe, config_like(args, recipe, device="cpu"), "test")


def draw_graphs(args: argparse.Namespace, network: Network, recipe: Recipe, console: Console) -> None:
    """Draw for each `--index` the graph with its predictions, and the neighbours of that node; or that test graph."""
    if args.images or args.query:
        raise InputError(f"checkpoint '{args.checkpoint}' reads graphs, not pictures; give nodes or graphs by --index")
    part = part_of_graphs(args, recipe)
    numbers = list(dict.fromkeys(args.index))
    inputs = chosen_samples(recipe, part, numbers, "--index")
    names = [f"{part.kind}_{recipe.dataset}_{number}.png" for number in numbers]
    check_new(Path(args.out), names, overwrite=args.overwrite)
    folder = make_folder(Path(args.out), "--out")
    for number, graph, name in zip(numbers, apart(inputs) * len(numbers), names, strict=False):
        with show_activity(console, f"drawing {part.kind} {number}"):
            path = _draw(network.cpu(), recipe, part, number, graph, folder / name)
        print_line(console, str(path))


def _draw(network: Network, recipe: Recipe, part: LabelledPart, number: int, graph: GraphBatch, path: Path) -> Path:
    from convnn.viz.graphs import draw_graph  # imports Matplotlib

    title, about = f"{recipe.model} of {recipe.layer} on {recipe.dataset}", f"{part.kind} {number}"
    if part.kind == "node":
        everything = graph._replace(nodes=torch.arange(len(graph.x)))
        guesses = _classes(network, everything)
        wrong = torch.zeros(len(graph.x), dtype=torch.bool)
        for batch in part.loader:
            wrong[batch.inputs.nodes] = guesses[batch.inputs.nodes] != batch.labels
        return draw_graph(
            graph.edge_index, guesses, path, names=recipe.classes, title=f"{title}, predicted", wrong=wrong, node=number
        )
    guess = _classes(network, side_by_side([graph], recipe.input_shape[0]))[0]
    label = torch.cat([batch.labels for batch in part.loader])[number]
    kinds = [f"feature {column}" for column in range(recipe.input_shape[0])]
    text = f"{title}, {about}: {recipe.classes[guess]}, labelled {recipe.classes[label]}"
    return draw_graph(graph.edge_index, graph.x.argmax(1), path, names=kinds, title=text)


def _classes(network: Network, graph: GraphBatch) -> Tensor:
    with torch.no_grad():
        logits: Tensor = network(graph)
    return logits.argmax(1)

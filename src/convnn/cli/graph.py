"""Embed the nodes of a graph, or make the graph smaller."""

import argparse
import io
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.progress import Progress
from torch import Tensor

from convnn.cli._flags import add_out_flags
from convnn.cli._parser import Parser, PathAction
from convnn.errors import InputError, check_at_least
from convnn.files import check_new, make_folder, write_atomically
from convnn.graphs.edge_file import EdgeFile, read_edges
from convnn.screen import print_line
from convnn.tables import csv_text
from convnn.words import counted

SUPERNODES, COARSE_EDGES = "supernodes.csv", "edges.csv"
DENSE = 20_000  # nodes of a graph whose matrix fits into memory

EMBED = {
    "dim": (int, "length of the vectors (default: 128)"),
    "epochs": (float, "pairs for each edge (default: 10)"),
    "walk_length": (int, "edges in a walk (default: 40)"),
    "augmentation": (int, "a pair is at most so many steps apart on a walk (default: 5)"),
    "num_parts": (int, "parts of the nodes that are trained at once (default: 1)"),
    "lr": (float, "first learning rate (default: 0.025)"),
    "num_negative": (int, "wrong pairs for each right one (default: 1)"),
    "p": (float, "how unlikely walks return at once (default: 1)"),
    "q": (float, "how unlikely walks move away (default: 1)"),
}
COARSEN = {
    "n": (int, "number of supernodes (default: by --ratio)"),
    "ratio": (float, "of supernodes to nodes (default: 0.2)"),
    "kernel": (str, "normalized or unnormalized (default: normalized)"),
    "init": (str, "k-means++ or multilevel (default: k-means++)"),
    "n_init": (int, "number of starts (default: 10)"),
}


def add_flags(parser: Parser) -> None:
    """Add the arguments to a parser."""
    parser.add_argument("task", choices=("embed", "coarsen"), metavar="TASK", help="embed or coarsen")
    parser.add_argument(
        "edges", action=PathAction, metavar="EDGES.csv", help="an edge a line: source,target or source,target,weight"
    )
    add_out_flags(parser, f"file for vectors, as .npy; or folder for {SUPERNODES} and {COARSE_EDGES}", required=True)
    parser.add_argument("--directed", action="store_true", help="edges lead from source to target only")
    parser.add_argument("--skip_bad_lines", action="store_true", help="report lines that are no edges, and go on")
    parser.add_argument("--seed", type=int, default=0, help="seed of everything random")
    for title, flags in (("embed", EMBED), ("coarsen", COARSEN)):
        group = parser.add_argument_group(title)
        for name, (kind, text) in flags.items():
            group.add_argument(f"--{name}", type=kind, default=None, help=text)


def run(args: argparse.Namespace, console: Console) -> int:
    """Read, compute and write; return 1 if lines were skipped, else 0."""
    ours, others, other = (EMBED, COARSEN, "coarsen") if args.task == "embed" else (COARSEN, EMBED, "embed")
    for name in others:
        if getattr(args, name) is not None:
            raise InputError(f"--{name} is a flag of convnn graph {other}, not of convnn graph {args.task}")
    settings = {name: value for name in ours if (value := getattr(args, name)) is not None}
    check_at_least("--seed", args.seed, 0)
    out = Path(args.out)
    check_new(out, () if args.task == "embed" else (SUPERNODES, COARSE_EDGES), overwrite=args.overwrite)
    with _progress(console, "reading edges") as told:
        found = read_edges(Path(args.edges), told)
    if not args.skip_bad_lines or not found.edge_index.numel():
        found.check(Path(args.edges))
    for line in found.bad:
        print(f"convnn: '{args.edges}', {line}", file=sys.stderr)
    (embed if args.task == "embed" else coarsen)(found, args, settings, out, console)
    return 1 if found.bad else 0


def embed(found: EdgeFile, args: argparse.Namespace, settings: dict[str, Any], out: Path, console: Console) -> None:
    """Write the vectors (N, dim) of the nodes, float32."""
    from convnn.graphs.embed import GraphVite

    edges, weights = _both_ways(found, args.directed)
    with _progress(console, "training") as told:
        vectors = GraphVite(**settings, seed=args.seed, progress=told).fit(edges, weights).embedding_
    buffer = io.BytesIO()
    np.save(buffer, vectors.numpy())
    write_atomically(out, buffer.getbuffer())
    nodes, dim = vectors.shape
    edges_read = counted(found.edge_index.shape[1], "edge")
    print_line(console, f"{out}: {counted(nodes, 'node')} of {edges_read}, {dim} numbers each")


def coarsen(found: EdgeFile, args: argparse.Namespace, settings: dict[str, Any], out: Path, console: Console) -> None:
    """Write the supernode of each node, and the edges between supernodes with their weights."""
    from convnn.graphs.coarsen import GWCoarsen

    if args.directed:
        raise InputError("--directed must not be given: an undirected graph is coarsened")
    nodes = found.num_nodes
    if nodes > DENSE:
        raise InputError(f"'{args.edges}' has {nodes:,} nodes; a graph that is coarsened must have at most {DENSE:,}")
    edges, weights = _both_ways(found, directed=False)
    adjacency = torch.zeros(nodes, nodes, dtype=torch.float64)
    each = torch.ones(edges.shape[1], dtype=torch.float64) if weights is None else weights
    adjacency.index_put_(tuple(edges), each, accumulate=True)
    coarsening = GWCoarsen(**settings, random_state=args.seed).fit(adjacency).coarsening_
    coarse = coarsening.adjacency(adjacency)
    ends = coarse.triu().nonzero().tolist()
    folder = make_folder(out, "--out")
    labels = enumerate(coarsening.labels.tolist())
    rows = [(p, q, coarse[p, q].item()) for p, q in ends]
    write_atomically(folder / SUPERNODES, csv_text(("node", "supernode"), labels))
    write_atomically(folder / COARSE_EDGES, csv_text(("source", "target", "weight"), rows))
    print_line(console, f"{folder}: {counted(nodes, 'node')} in {counted(len(coarse), 'supernode')}")


def _both_ways(found: EdgeFile, directed: bool) -> tuple[Tensor, Tensor | None]:
    """Return the edges, of an undirected graph the other way too, but for self-loops."""
    edges, weights = found.edge_index, found.edge_weight
    if directed:
        return edges, weights
    others = edges[0] != edges[1]
    both = torch.cat([edges, edges[:, others].flip(0)], 1)
    return both, None if weights is None else torch.cat([weights, weights[others]])


@contextmanager
def _progress(console: Console, text: str) -> Iterator[Callable[[int, int], None]]:
    """Show a bar on a terminal; write nothing into a pipe or a file."""
    if not console.is_terminal:
        yield lambda *_: None
        return
    with Progress(console=console, transient=True) as bar:
        task = bar.add_task(text)
        yield lambda done, total: bar.update(task, completed=done, total=total)

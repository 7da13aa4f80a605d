"""Embed the nodes of a graph, describe them by random features, or make the graph smaller."""

import argparse
import hashlib
import io
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from rich.console import Console
from rich.progress import Progress
from torch import Tensor

from convnn.cli._flags import add_out_flags, flag_names
from convnn.cli._parser import Parser, PathAction
from convnn.cli._unfinished import Unfinished
from convnn.cli._unfinished import add_flags as add_resume_flags
from convnn.errors import InputError, check_at_least
from convnn.files import check_new, make_folder, write_atomically
from convnn.graphs.edge_file import EdgeFile, read_edges
from convnn.screen import print_line
from convnn.tables import csv_text
from convnn.words import counted

SUPERNODES, COARSE_EDGES = "supernodes.csv", "edges.csv"

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
FEATURES = {
    "modulation": (str, "kernel: regularized_1 or _2, random_walk_2, diffusion or cosine (default: regularized_2)"),
    "walks": (int, "walks from each node (default: 16)"),
    "p_halt": (float, "probability to halt before a step (default: 0.1)"),
    "normalization": (str, "laplacian or adjacency (default: laplacian)"),
    "sigma2": (float, "scale of the weights (default: 1)"),
    "max_length": (int, "the most steps of a walk (default: as chance wills)"),
    "antithetic": (bool, "halt walks in pairs, one early if the other goes far"),
}
TASKS = {"embed": EMBED, "features": FEATURES, "coarsen": COARSEN}


class Job(NamedTuple):
    """A graph, and what is to be done to it.

    Attributes:
        found: the edges read.
        args: the flags.
        settings: those of the task that are given.
        out: where the result goes.
        unfinished: the file of a run that has not ended.
        console: where it is told.
    """

    found: EdgeFile
    args: argparse.Namespace
    settings: dict[str, Any]
    out: Path
    unfinished: Unfinished
    console: Console

    def finish(self, run: Any, text: str) -> None:
        """Run to the end, with a bar, from where it was killed."""
        edges = hashlib.sha256(self.found.edge_index.numpy().tobytes())
        if self.found.edge_weight is not None:
            edges.update(self.found.edge_weight.numpy().tobytes())
        settings = dict.fromkeys(TASKS[self.args.task]) | self.settings
        flags = {name: getattr(self.args, name) for name in ("task", "seed", "directed")}
        with _progress(self.console, text) as told:
            facts = flags | settings | {"edges": edges.hexdigest()}
            self.unfinished.finish(run, facts, lambda: told(min(run.done, run.total), run.total))


def add_flags(parser: Parser) -> None:
    """Add the arguments to a parser."""
    parser.add_argument("task", choices=tuple(TASKS), metavar="TASK", help="embed, features or coarsen")
    parser.add_argument(
        "edges", action=PathAction, metavar="EDGES.csv", help="an edge a line: source,target or source,target,weight"
    )
    text = f"file for vectors, as .npy, or sparse features, as .npz; or folder for {SUPERNODES} and {COARSE_EDGES}"
    add_out_flags(parser, text, required=True)
    add_resume_flags(parser)
    parser.add_argument("--directed", action="store_true", help="edges lead from source to target only")
    parser.add_argument("--skip_bad_lines", action="store_true", help="report lines that are no edges, and go on")
    parser.add_argument("--seed", type=int, default=0, help="seed of everything random")
    for title, flags in TASKS.items():
        group = parser.add_argument_group(title)
        for name, (kind, text) in flags.items():
            if kind is bool:
                group.add_argument(f"--{name}", action="store_true", default=None, help=text)
            else:
                group.add_argument(f"--{name}", type=kind, default=None, help=text)


def run(args: argparse.Namespace, console: Console) -> int:
    """Read, compute and write; return 1 if lines were skipped, else 0."""
    for other in TASKS:
        for name in TASKS[other].keys() - TASKS[args.task].keys():
            if getattr(args, name) is not None:
                raise InputError(f"--{name} is a flag of convnn graph {other}, not of convnn graph {args.task}")
    settings = {name: value for name in TASKS[args.task] if (value := getattr(args, name)) is not None}
    check_at_least("--seed", args.seed, 0)
    out = Path(args.out)
    check_new(out, (SUPERNODES, COARSE_EDGES) if args.task == "coarsen" else (), overwrite=args.overwrite)
    unfinished = Unfinished(out, args)
    with _progress(console, "reading edges") as told:
        found = read_edges(Path(args.edges), told)
    if not args.skip_bad_lines or not found.edge_index.numel():
        found.check(Path(args.edges))
    for line in found.bad:
        print(f"convnn: '{args.edges}', {line}", file=sys.stderr)
    job = Job(found, args, settings, out, unfinished, console)
    with flag_names({name: name for name in TASKS[args.task]}):
        {"embed": embed, "features": features, "coarsen": coarsen}[args.task](job)
    unfinished.remove()
    return 1 if found.bad else 0


def embed(job: Job) -> None:
    """Write the vectors (N, dim) of the nodes, float32."""
    from convnn.graphs.embed import GraphVite

    edges, weights = _both_ways(job.found, job.args.directed)
    training = GraphVite(**job.settings, seed=job.args.seed).begin(edges, weights)
    job.finish(training, "training")
    vectors = training.model.vertex.weight.data
    buffer = io.BytesIO()
    np.save(buffer, vectors.numpy())
    write_atomically(job.out, buffer.getbuffer())
    nodes, dim = vectors.shape
    edges_read = counted(job.found.edge_index.shape[1], "edge")
    print_line(job.console, f"{job.out}: {counted(nodes, 'node')} of {edges_read}, {dim} numbers each")


def features(job: Job) -> None:
    """Write the features (N, N) of the nodes, sparse, as scipy's `load_npz` reads them."""
    from scipy.sparse import save_npz

    from convnn.graphs.random_features import GraphRandomFeatures

    if job.args.directed:
        raise InputError("--directed must not be given: features are of an undirected graph")
    edges, weights = _both_ways(job.found, directed=False)
    model = GraphRandomFeatures(**job.settings, output="scipy", random_state=job.args.seed)
    run = model.begin(edges, weights)
    job.finish(run, "walking")
    found, buffer = model.finish(run).transform(), io.BytesIO()
    save_npz(buffer, found)
    write_atomically(job.out, buffer.getbuffer())
    edges_read = counted(job.found.edge_index.shape[1], "edge")
    each = found.nnz / found.shape[0]
    print_line(
        job.console,
        f"{job.out}: {counted(found.shape[0], 'node')} of {edges_read}, {each:.1f} numbers each that are not 0",
    )


def coarsen(job: Job) -> None:
    """Write the supernode of each node, and the edges between supernodes with their weights."""
    from convnn.graphs.adjacency import adjacency_matrix, entries
    from convnn.graphs.coarsen import GWCoarsen

    if job.args.directed:
        raise InputError("--directed must not be given: an undirected graph is coarsened")
    nodes = job.found.num_nodes
    edges, weights = _both_ways(job.found, directed=False)
    adjacency = adjacency_matrix(edges, torch.ones(edges.shape[1]) if weights is None else weights, nodes)
    model = GWCoarsen(**job.settings, random_state=job.args.seed)
    run = model.begin(adjacency)
    job.finish(run, "coarsening")
    coarsening = model.finish(run).coarsening_
    rows, columns, sums = entries(coarsening.adjacency(adjacency))
    once = rows <= columns
    folder = make_folder(job.out, "--out")
    coarse = zip(rows[once].tolist(), columns[once].tolist(), sums[once].tolist(), strict=True)
    write_atomically(folder / SUPERNODES, csv_text(("node", "supernode"), enumerate(coarsening.labels.tolist())))
    write_atomically(folder / COARSE_EDGES, csv_text(("source", "target", "weight"), coarse))
    print_line(job.console, f"{folder}: {counted(nodes, 'node')} in {counted(len(coarsening.mass), 'supernode')}")


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

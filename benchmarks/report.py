"""The page: Markdown tables, and a plot of time and memory over the size of the map."""

from functools import partial
from pathlib import Path
from typing import Any

from benchmarks import generated, learners, scans, sliding, suggestions, tangent, triples
from benchmarks.contestants import Case

CONTESTANTS = ("Conv2d", "ours", "reference", "matmul+topk+gather")


def tables(results: dict[str, Any]) -> str:
    """Return all tables of the results as Markdown."""
    parts = {
        "map_sizes": [_map_sizes],
        "clustered": [_clustered],
        "networks": [_networks],
        "family": [_family],
        "layers": [partial(_layers, phase="training"), partial(_layers, phase="forward")],
        "searches": [_searches],
        "tokens": [_tokens],
        "vits": [_vits],
        "routed": [_routed],
        "structured": [_structured],
        "generated": [generated.lengths_table, generated.generation_table],
        "depthwise": [_depthwise],
        "large_kernels": [_large_kernels],
        "graphs": [_graphs, _graph_searches],
        "walks": [_walks],
        "scans": [scans.table],
        "caches": [_caches],
        "learners": [learners.table],
        "triples": [triples.table],
        "suggestions": [suggestions.table],
        "sliding": [sliding.sliding_table, sliding.reductions_table],
        "tangent": [tangent.table],
    }
    return "\n".join(table(results) for group, makers in parts.items() if group in results for table in makers)


def _map_sizes(results: dict[str, Any]) -> str:
    """A row a layer, a column a size: times Conv2d, forward; forward and backward."""
    sizes, names = results["map_sizes"], list(results["map_sizes"][0]["forward"])
    head = ["layer", *(f"{one['case']['side']} x {one['case']['side']}" for one in sizes)]
    rows = ["| " + " | ".join(head) + " |", "|---" * len(head) + "|"]
    for name in names:
        cells = []
        for one in sizes:
            pair = [one[phase][name] for phase in ("forward", "training")]
            figures = (f"{p['ms']:.0f} ms" if name == "Conv2d" else f"{p['times Conv2d']:.1f}" for p in pair)
            cells.append("; ".join(figures))
        rows.append("| " + " | ".join([name, *cells]) + " |")
    case = Case(**sizes[0]["case"])
    return (
        f"### One layer against the size of the map, {case.inputs}->{case.outputs}, batch {case.batch}\n\n"
        "On features of photographs. Forward; forward and backward. Conv2d in milliseconds, the others in units of"
        " Conv2d.\n\n" + "\n".join(rows) + "\n"
    )


def _clustered(results: dict[str, Any]) -> str:
    measured = results["clustered"]
    head = ["map", "exact search, ms", "clustered, ms", "times faster than exact", "found", "Faiss, ms", "found by it"]
    head += ["Conv2d, ms", "ConvNN exact, times Conv2d", "ConvNN clustered, times Conv2d"]
    rows = ["| " + " | ".join(head) + " |", "|---" * len(head) + "|"]
    for one in measured["rows"]:
        ms, found, slower = one["ms"], one["found"], one["times clustered"]
        layers = [one["times Conv2d"].get(f"ConvNN, {name}") for name in ("exact", "clustered")]
        cells = [f"{one['side']} x {one['side']}", _known(ms.get("exact")), f"{ms['clustered']:.1f}"]
        cells += [_known(slower.get("exact")), f"{found['clustered']:.3f}"]
        cells += [f"{ms['Faiss']:.1f} ({slower['Faiss']:.1f}x ours)", f"{found['Faiss']:.3f}"]
        cells += [f"{ms['Conv2d']:.1f}", *map(_known, layers)]
        rows.append("| " + " | ".join(cells) + " |")
    return (
        f"### The clustered search, recall {measured['recall']}\n\n"
        "One image of 64 channels of features of photographs, K = 9, cosine, 64 outputs, forward. The lists are built"
        " anew in every search, and the recall is measured in it; Faiss's inverted lists are as many, trained as"
        " briefly, and know the number of probes beforehand. The time of the clustered search grows with the number of"
        f" positions to the power of {measured['exponent']:.2f}.\n\n" + "\n".join(rows) + "\n"
    )


def _routed(results: dict[str, Any]) -> str:
    """A row a layer, a column a shape: times Conv2d and times the published form, forward; with both gradients."""
    cases = results["routed"]
    head = ["layer", *(str(Case(**one["case"])) for one in cases)]
    rows = ["| " + " | ".join(head) + " |", "|---" * len(head) + "|"]
    for name in cases[0]["forward"]:
        cells = ["; ".join(_routed_cell(one[phase][name], name) for phase in ("forward", "training")) for one in cases]
        rows.append("| " + " | ".join([name, *cells]) + " |")
    return (
        "### Kernels mixed for every sample\n\n"
        "Forward; forward and backward. Conv2d in milliseconds, the others in units of Conv2d, and in brackets in units"
        " of the published form. CondConv has 4 experts, FDConv 64 groups of frequencies unless named.\n\n"
        + "\n".join(rows)
        + "\n"
    )


def _routed_cell(figures: dict[str, float], name: str) -> str:
    if name == "Conv2d":
        return f"{figures['ms']:.0f} ms"
    published = f" ({figures['times published']:.2f})" if "times published" in figures else ""
    return f"{figures['times Conv2d']:.2f}{published}"


def _walks(results: dict[str, Any]) -> str:
    """A row for each thing done to a graph, a column for each size."""
    rows, exponents = results["walks"]["rows"], results["walks"]["exponents"]
    head = ["", *(f"{one['nodes']:,} nodes, ms" for one in rows), "grows as N to the power", "times faster", "MB"]
    lines = ["| " + " | ".join(head) + " |", "|---" * len(head) + "|"]
    last = rows[-1]
    for name, exponent in exponents.items():
        cells = [f"{one['ms'][name]:.0f}" for one in rows]
        cells += [f"{exponent:.2f}", _known(last["times faster"].get(name)), _whole(last.get("MB", {}).get(name))]
        lines.append("| " + " | ".join([name, *cells]) + " |")
    return (
        "### Walks and embeddings on large graphs\n\n"
        "Random graphs with ten edges a node. A walk of 20 steps from every node, uniform and with p = 0.5, q = 4;"
        " random features by four walks that halt with probability 0.3, with the scaling of the graph; GraphSAINT's"
        " batches of 3000 roots and two steps, the subgraphs of their nodes, and these with all sources of their edges;"
        " core numbers; pairs of nodes with one wrong pair each, and GraphVite, of 64 numbers; coarsening to a fifth of"
        " the nodes. PyTorch Geometric does the same work: `Data.subgraph`, `k_hop_subgraph`, and the loss of Node2Vec"
        " with Adam for sparse gradients; its walks and samplers need compiled extensions. How many times faster, and"
        " the memory above the graph: on the largest.\n\n" + "\n".join(lines) + "\n"
    )


def _caches(results: dict[str, Any]) -> str:
    """A row for each cache, and three columns for each length of the prompt."""
    measured = results["caches"]
    head = ["tokens that stay or are chosen"]
    for one in measured["rows"]:
        head += [f"{one['length']:,} tokens, ms", "one more token, ms", "slowest, ms", "times faster than all", "read"]
    rows = ["| " + " | ".join(head) + " |", "|---" * len(head) + "|"]
    for name in measured["rows"][0]["ms"]:
        cells = [name]
        for one in measured["rows"]:
            cells += [f"{one['prompt ms'][name]:.0f}", f"{one['ms'][name]:.2f}", f"{one['slowest ms'][name]:.2f}"]
            cells += [f"{one['times faster'][name]:.1f}", f"{one['read'][name]:.0f}"]
        rows.append("| " + " | ".join(cells) + " |")
    return (
        f"### Caches of keys and values, {measured['budget']} tokens\n\n"
        "One layer of 8 heads of width 64, of which four share their keys: the time in which a cache takes in a prompt,"
        " above the attention of the prompt itself, and the median and the slowest of"
        f" {measured['tokens']} tokens after it, whose queries turn every twelve.\n\n" + "\n".join(rows) + "\n"
    )


def _known(number: float | None) -> str:
    return "" if number is None else f"{number:.1f}"


def _networks(results: dict[str, Any]) -> str:
    rows = ["| layer | backend | ms | MB | times Conv2d | faster than reference |", "|---|---|---|---|---|---|"]
    for one in results["networks"]:
        faster = f"{one['faster than reference']:.1f}x" if one["agrees"] else "parity failed"
        ours = one["backend"] == "auto" and one["layer"] != "Conv2d"
        cells = [one["layer"], "ours" if ours else one["backend"].replace("auto", "torch"), f"{one['ms']:.0f}"]
        cells += [_whole(one.get("MB")), f"{one['times Conv2d']:.2f}", faster if ours else ""]
        rows.append("| " + " | ".join(cells) + " |")
    batch = results["networks"][0]["batch"]
    return f"### Features of VGG11, forward and backward, batch {batch}\n\n" + "\n".join(rows) + "\n"


def _family(results: dict[str, Any]) -> str:
    tables = (
        f"### All layers on maps, {Case(**one['case'])}\n\n{_cost_table(one['rows'])}" for one in results["family"]
    )
    return "\n".join(tables)


def _structured(results: dict[str, Any]) -> str:
    measured = results["structured"]
    rows = ["| layer | ours, ms | published form, ms | times published |", "|---" * 4 + "|"]
    for name, one in measured["rows"].items():
        rows.append(f"| {name} | {one['ms']:.1f} | {one['published ms']:.1f} | {one['times published']:.2g} |")
    return (
        f"### Kernels of a special structure, {Case(**measured['case'])}\n\n"
        "Forward and backward, against the published form in plain PyTorch; for the inverse, that is a loop over all"
        " positions.\n\n" + "\n".join(rows) + "\n"
    )


def _layers(results: dict[str, Any], phase: str) -> str:
    title = {"training": "forward and backward", "forward": "forward alone"}[phase]
    head = [*(f"{name}, ms" for name in CONTESTANTS), "ours, images/s", "times Conv2d", "faster than reference"]
    head += [f"{name}, MB" for name in CONTESTANTS if phase == "training"]
    rows = ["| layer | " + " | ".join(head) + " |", "|---" * (len(head) + 1) + "|"]
    for result in results["layers"]:
        by_name = result[phase]
        faster = f"{by_name['reference']['ours is faster']:.1f}x" if result["agrees"] else "parity failed"
        cells = [str(Case(**result["case"]))]
        cells += [f"{by_name[name]['ms']:.1f}" for name in CONTESTANTS]
        cells += [f"{by_name['ours']['images/s']:.0f}", f"{1 / by_name['Conv2d']['ours is faster']:.2f}", faster]
        cells += [_whole(by_name[name]["MB"]) for name in CONTESTANTS if phase == "training"]
        rows.append("| " + " | ".join(cells) + " |")
    return f"### One layer, {title}\n\n" + "\n".join(rows) + "\n"


def _whole(number: float | None) -> str:
    return "" if number is None else f"{number:.0f}"


def _searches(results: dict[str, Any]) -> str:
    names = list(results["searches"][0]["ms"])
    rows = ["| map | " + " | ".join(f"{name}, ms" for name in names) + " |", "|---" * (len(names) + 1) + "|"]
    for one in results["searches"]:
        case = Case(**one["case"])
        cells = [f"{case.inputs} channels, {case.side}x{case.side}, batch {case.batch}"]
        for name in names:
            speed = f" ({one['ours is faster'][name]:.1f}x ours)" if name != "ours" else ""
            cells.append(f"{one['ms'][name]:.1f}{speed}" if one["agrees"][name] else "other neighbours")
        rows.append("| " + " | ".join(cells) + " |")
    return "### The search alone, K = 9, cosine\n\n" + "\n".join(rows) + "\n"


def _tokens(results: dict[str, Any]) -> str:
    return "\n".join(
        f"### Layers on {one['length']:,} tokens of width 192, 3 heads, batch {one['tokens']['batch']}\n\n"
        + _cost_table(one["rows"], agrees=one["agrees"])
        for one in results["tokens"]
    )


def _vits(results: dict[str, Any]) -> str:
    return "\n".join(
        f"### ViT-Tiny on {one['tokens']['side']} pixels, {one['length']:,} tokens, batch {one['tokens']['batch']}\n\n"
        + _cost_table(one["rows"])
        for one in results["vits"]
    )


def _depthwise(results: dict[str, Any]) -> str:
    return "\n".join(
        f"### Depthwise convolutions, {one['case']['inputs']} channels, {one['case']['side']}x{one['case']['side']},"
        f" batch {one['case']['batch']}\n\n" + _depthwise_table(one["rows"])
        for one in results["depthwise"]
    )


def _depthwise_table(rows: dict[str, dict[str, Any]]) -> str:
    """Return a table with a row per kernel: forward; forward and backward."""
    names = list(next(iter(rows.values()))["forward"]["ms"])
    head = ["kernel", *(f"{name}, ms" for name in names), "times faster than the better", *(f"{n}, MB" for n in names)]
    lines = ["| " + " | ".join(head) + " |", "|---" * len(head) + "|"]
    for side, row in rows.items():
        forward, training = row["forward"], row["training"]
        cells = [f"{side} x {side}", *(f"{forward['ms'][n]:.1f}; {training['ms'][n]:.1f}" for n in names)]
        faster = "; ".join(f"{phase['ours is faster']['the better']:.1f}" for phase in (forward, training))
        cells += [faster if row["agrees"] else "parity failed"]
        cells += [_whole((training["MB"] or {}).get(name)) for name in names]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def _large_kernels(results: dict[str, Any]) -> str:
    measured = results["large_kernels"]
    names = list(next(iter(measured["rows"].values()))["ms"])
    head = ["network", *(f"{name}, ms" for name in names), "times faster than PyTorch", "than the better"]
    lines = ["| " + " | ".join(head) + " |", "|---" * len(head) + "|"]
    for network, row in measured["rows"].items():
        faster = [f"{row['ours is faster'][name]:.2f}" for name in ("PyTorch", "the better")]
        lines.append("| " + " | ".join([network, *(f"{row['ms'][name]:.0f}" for name in names), *faster]) + " |")
    side = measured["side"]
    return (
        f"### Bodies of networks with large kernels, forward and backward, {side} pixels, batch {measured['batch']}\n\n"
        + "\n".join(lines)
        + "\n"
    )


def _graphs(results: dict[str, Any]) -> str:
    """A row an aggregation: of PyTorch Geometric, ours of the same messages, and ours without messages."""
    measured = results["graphs"]
    names = list(measured["rows"]["Sum"]["ms"])
    head = ["aggregation", *(f"{name}, ms" for name in names), *(f"{n}, times faster" for n in names if n != "PyG")]
    lines = ["| " + " | ".join(head) + " |", "|---" * len(head) + "|"]
    for kind, row in measured["rows"].items():
        faster = [f"{number:.1f}" if row["agrees"] else "parity failed" for number in row["times faster"].values()]
        lines.append("| " + " | ".join([kind, *(f"{row['ms'][name]:.0f}" for name in names), *faster]) + " |")
    return (
        f"### Aggregation on a graph of {measured['nodes']:,} nodes, mean degree {measured['degree']},"
        f" {measured['channels']} channels\n\n"
        "Forward and backward, from the features of the nodes. *Of messages* is our aggregation in a layer of PyTorch"
        " Geometric, which stores a message for each edge; *ours* sums over lists that are found once a graph.\n\n"
        + "\n".join(lines)
        + "\n"
    )


def _graph_searches(results: dict[str, Any]) -> str:
    searches = results["graphs"]["searches"]
    names = list(searches[0]["ms"])
    head = ["points", *(f"{name}, ms" for name in names), "ours faster than Faiss", "same neighbours"]
    lines = ["| " + " | ".join(head) + " |", "|---" * len(head) + "|"]
    for one in searches:
        cells = [f"{one['points']:,}", *(f"{one['ms'][name]:.0f}" for name in names)]
        lines.append("| " + " | ".join([*cells, f"{one['times faster']:.1f}", f"{one['same']:.4f}"]) + " |")
    return "### The graph of the 16 nearest, 64 channels, Euclidean\n\n" + "\n".join(lines) + "\n"


def _cost_table(rows: dict[str, dict[str, Any]], *, agrees: bool = True) -> str:
    """Return a table with a row per contestant and a column per measure."""
    columns = list(next(iter(rows.values())))
    head = ["layer", *(column.replace(" ms", ", ms") for column in columns)]
    lines = ["| " + " | ".join(head) + " |", "|---" * len(head) + "|"]
    for name, row in rows.items():
        cells = [_cell(column, row[column], agrees) for column in columns]
        lines.append("| " + " | ".join([name.replace("— ", "&nbsp;&nbsp;"), *cells]) + " |")
    return "\n".join(lines) + "\n"


def _cell(column: str, number: float | None, agrees: bool) -> str:
    if column == "parameters":
        return f"{number:,}"
    if column == "MB":
        return _whole(number)
    if "times" in column and not agrees:
        return "parity failed"
    digits = {"GFLOPs": 3}.get(column, 1 if column.endswith("ms") else 2)
    return f"{number:.{digits}f}"


PAGE = """# Benchmarks

Made by `python -m benchmarks` on: {machines}.

Contestants run in turns in one process. Times are medians; ratios are medians of the ratios within each turn. Memory is
the peak of a separate process above its inputs. A speed-up is printed only if outputs and all gradients agree with the
definition. *reference* is the definition in plain PyTorch: all T x T scores in float64, ties resolved, a copy of all
neighbours. *matmul+topk+gather* is the same in float32, with ties left to topk. *ours* chooses exactly the neighbours
of the reference. GFLOPs are for one sequence or image, forward, counted by torch's flop counter with the formulas of
our operators: a multiply-add counts as two, comparisons and softmax as zero. Layers on tokens train with dropout 0.1,
for which PyTorch's attention writes all T x T weights on the CPU; a training step without dropout is listed too.

{tables}
### Against the size of the map

One image of 64 channels, 64 outputs, a training step.

![time and memory against the number of positions](scaling.png)
"""


def write(results: dict[str, Any], folder: Path) -> None:
    """Write the page and its plot."""
    page = PAGE.format(machines=describe_machines(results["machines"]), tables=tables(results))
    (folder / "README.md").write_text(page)
    draw(results["sizes"], folder / "scaling.png")


def describe_machines(machines: dict[str, str]) -> str:
    """Name the machine of all figures; where there are several, name the figures of each."""
    groups: dict[str, list[str]] = {}
    for group, machine in machines.items():
        groups.setdefault(machine, []).append(f"`{group}`")
    if len(groups) == 1:
        return next(iter(groups))
    return "; ".join(f"{machine} ({', '.join(names)})" for machine, names in groups.items())


def draw(points: list[dict[str, Any]], path: Path) -> None:
    """Plot time and memory over the number of positions, on logarithmic axes."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, panels = plt.subplots(1, 2, figsize=(10, 4), layout="constrained")
    for panel, key, label in zip(panels, ("ms", "MB"), ("milliseconds", "megabytes above the inputs"), strict=True):
        for name in CONTESTANTS:
            known = [point for point in points if name in point[key]]
            positions = [point["side"] ** 2 for point in known]
            panel.plot(positions, [point[key][name] for point in known], marker="o", label=name)
        panel.set(xscale="log", yscale="log", xlabel="positions of the map", ylabel=label)
        panel.grid(alpha=0.3)
    panels[0].legend()
    figure.savefig(path, dpi=120)
    plt.close(figure)

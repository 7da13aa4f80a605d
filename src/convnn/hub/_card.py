"""The model card: what a network is, what it reached, and how to load it."""

from convnn.data import ON_GRAPHS, REGRESSIONS, SEGMENTATION_SETS
from convnn.models import Network, layer_defaults, model_settings
from convnn.nn import LAYERS
from convnn.train import Recipe
from convnn.words import counted

PAPER = "https://arxiv.org/abs/2511.14137"

COMMANDS = {
    "image": ("convnn predict FOLDER cat.jpg", "convnn neighbors FOLDER cat.jpg"),
    "node": ("convnn evaluate FOLDER", "convnn predict FOLDER 0", "convnn neighbors FOLDER --index 0"),
    "graph": ("convnn evaluate FOLDER", "convnn predict FOLDER 0", "convnn neighbors FOLDER --index 0"),
}
"""What can be done with a network in a terminal, by what it reads."""

ANY_COMMANDS = ("convnn evaluate FOLDER",)
"""What can be done with the others."""

DENSE_COMMANDS = {
    "image": ("convnn segment predict FOLDER cat.jpg --out masks", "convnn segment evaluate FOLDER"),
    "volume": ("convnn segment evaluate FOLDER", "convnn segment predict FOLDER scan.npy --out masks"),
    "panorama": ("convnn segment evaluate FOLDER",),
}
"""What can be done with one that gives every place a class."""

NAMES_OF_INPUTS = {
    "node": "graph",
    "graph": "graph",
    "interaction": "interactions",
    "volume": "volumes",
    "panorama": "panoramas",
    "triple": "queries",
    "mixture": "mixtures",
}
"""What the example calls the input; the others are images."""

CLASSES = "classes = logits.argmax(1)  # of every {}"
NAMES = "names = [recipe.classes[i] for i in logits.argmax(1)]"

_CARD = """\
---
{metadata}
---

# {model} of {layer}

A network in which every position chooses its neighbours, made with convnn after
[Attention Via Convolutional Nearest Neighbors]({paper}).

| | |
|---|---|
{table}

## Use

```python
from convnn.hub import from_pretrained

network, recipe = from_pretrained("FOLDER OR USER/NETWORK")
logits = network({name})  # {inputs}
{answer}
```

```sh
{commands}
```

## Settings

{settings}

## Citation

```bibtex
@article{{kang2025attention,
  title   = {{Attention Via Convolutional Nearest Neighbors}},
  author  = {{Kang, M. and Farias Sales Rocha Neto, J.}},
  journal = {{arXiv preprint arXiv:2511.14137}},
  year    = {{2025}}
}}
```
"""


def model_card(network: Network, recipe: Recipe, *, license: str | None = None) -> str:
    """Write the README.md of a network on the Hugging Face hub, from its recipe.

    Args:
        network: the network.
        recipe: how it was built, and what it learned.
        license: of the weights, by its name on the hub; none is named when None.
    """
    is_dense = recipe.dataset in SEGMENTATION_SETS
    inputs = _inputs(recipe)
    rows = {
        "network": f"`{recipe.model}`, width {recipe.width:g}",
        "layer": f"`{recipe.layer}`, {LAYERS[recipe.layer].summary}",
        "parameters": f"{sum(p.numel() for p in network.parameters()):,}",
        "trained on": f"{recipe.dataset}, {counted(recipe.epoch, 'epoch')}",
        "test accuracy": "not measured" if recipe.test_top1 is None else f"{recipe.test_top1:.2%} (top-1)",
        f"{recipe.kind}s": inputs,
        "classes": f"{len(recipe.classes)}: {_names(recipe.classes)}",
    }
    return _CARD.format(
        metadata=_metadata(recipe, license),
        model=recipe.model,
        layer=recipe.layer,
        paper=PAPER,
        table="\n".join(f"| {name} | {_cell(value)} |" for name, value in rows.items()),
        inputs=inputs,
        name=NAMES_OF_INPUTS.get(recipe.kind, "images"),
        answer=CLASSES.format({"volume": "voxel", "panorama": "cell"}.get(recipe.kind, "pixel")) if is_dense else NAMES,
        commands="\n".join((DENSE_COMMANDS if is_dense else COMMANDS).get(recipe.kind, ANY_COMMANDS)),
        settings="\n".join(f"- `{name}`: {value!r}" for name, value in settings_read(recipe).items()),
    )


def settings_read(recipe: Recipe) -> dict[str, object]:
    """Return the settings that the network or its layer reads; a recipe keeps all flags."""
    read = model_settings(recipe.model) | layer_defaults(recipe.model, recipe.layer)
    return {name: value for name, value in recipe.settings.items() if name in read}


def _metadata(recipe: Recipe, license: str | None) -> str:
    """Return what the hub sorts by, in YAML."""
    from huggingface_hub import EvalResult, ModelCardData

    accuracies = [
        EvalResult(
            task_type=_task(recipe),
            dataset_type=recipe.dataset,
            dataset_name=recipe.dataset,
            dataset_split="test",
            metric_type="accuracy",
            metric_value=top1,
        )
        for top1 in [recipe.test_top1]
        if top1 is not None and recipe.dataset not in REGRESSIONS
    ]
    return ModelCardData(
        model_name=f"{recipe.model} of {recipe.layer}",
        library_name="convnn",
        license=license,
        pipeline_tag=_task(recipe),
        tags=["convnn", "nearest-neighbors", f"arxiv:{PAPER.rsplit('/')[-1]}"],
        eval_results=accuracies or None,
    ).to_yaml()


def _task(recipe: Recipe) -> str:
    """Return the task by a name of the hub, which has none for the classification of sequences in general."""
    if recipe.dataset in SEGMENTATION_SETS:
        return "image-segmentation"
    return {"image": "image-classification", "node": "graph-ml", "graph": "graph-ml"}.get(recipe.kind, "other")


def _inputs(recipe: Recipe) -> str:
    """Describe what the network reads."""
    if recipe.kind in ON_GRAPHS:
        return f"a convnn.nn.graphs.batch.GraphBatch with x (N, {recipe.input_shape[0]}) and edge_index (2, E)"
    if recipe.kind == "interaction":
        users, items = recipe.input_shape
        return f"a convnn.nn.graphs.batch.InteractionBatch of {users} users and {items} items"
    if recipe.kind == "triple":
        return f"convnn.nn.triples.Queries, of {counted(recipe.input_shape[0], 'relation')}"
    shape = f"(B, {', '.join(map(str, recipe.input_shape))})"
    if not recipe.mean:
        return shape
    return f"{shape}, normalised by mean {_plain(recipe.mean)} and standard deviation {_plain(recipe.std)}"


def _plain(values: tuple[float, ...]) -> str:
    return f"({', '.join(f'{value:.4g}' for value in values)})"


def _names(classes: tuple[str, ...], most: int = 20) -> str:
    """List the first names."""
    return ", ".join(classes[:most]) + (", ..." if len(classes) > most else "")


def _cell(text: str) -> str:
    """Make any text fit in a cell of a table."""
    return " ".join(text.replace("|", "\\|").split())

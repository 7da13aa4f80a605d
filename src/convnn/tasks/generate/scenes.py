"""What `convnn generate` does with scene graphs: pictures, files, and how far samples are from the data."""

from collections.abc import Mapping
from pathlib import Path

from convnn.data import Loader
from convnn.data.scene_graphs import write_scene_graphs
from convnn.models.scene_graphs import SceneGraphNetwork
from convnn.ops.scene_graphs import SPATIAL, SceneGraphs, joined, spatial_relations
from convnn.tasks.generate.draw import draw
from convnn.tasks.generate.judge import judge
from convnn.tasks.generate.protocol import sample
from convnn.tasks.generate.write import write
from convnn.train import Recipe

MOST = 512
"""How many samples are compared with a part of the data."""


@draw.register
def _draw(network: SceneGraphNetwork, samples: SceneGraphs, recipe: Recipe, path: Path) -> None:
    from convnn.tasks.generate.scene_graphs import draw_scene_graphs  # imports Matplotlib

    draw_scene_graphs(with_names(samples, recipe), path)


@write.register
def _write(network: SceneGraphNetwork, samples: SceneGraphs, recipe: Recipe, path: Path) -> None:
    write_scene_graphs(path, with_names(samples, recipe), overwrite=True)


@judge.register
def _judge(network: SceneGraphNetwork, recipe: Recipe, loader: Loader, seed: int) -> Mapping[str, float]:
    from convnn.tasks.generate.scene_graphs import compare

    real = joined([batch.inputs for batch in loader])
    drawn = with_names(sample(network, min(MOST, len(real)), recipe.input_shape, seed=seed), recipe)
    found = compare(drawn, real, spatial_relations if real.predicates == SPATIAL else None)
    return {f"sampled_{name}": value for name, value in found.items()}  # there are terms of the same names


def with_names(graphs: SceneGraphs, recipe: Recipe) -> SceneGraphs:
    """Return samples with the names of the categories and predicates of training.

    Raises:
        InputError: the recipe has other numbers of names.
    """
    count = len(graphs.categories)
    return graphs.renamed(recipe.names[:count], recipe.names[count:])

"""Scene graphs: relations of boxes in loops, files, measures by scikit-learn, and a network that learns them."""

import json
import warnings
from collections import Counter
from dataclasses import replace
from pathlib import Path

import networkx
import pytest
import torch
from sklearn.metrics.pairwise import rbf_kernel

from convnn.data.scene_graphs import from_geometric, make_scene_graphs, read_scene_graphs, size_of, write_scene_graphs
from convnn.errors import InputError
from convnn.models.scene_graphs import SceneGraphDiffusion
from convnn.ops.dense_graphs import DenseGraphs
from convnn.ops.edm import EDMSampler
from convnn.ops.scene_graphs import SceneGraphs, spatial_relations
from convnn.tasks.generate import scene_graphs as scenes

SMALL = {"dim": 16, "depths": (1,), "heads": (2,), "window": 4, "mlp_ratio": 2, "noise_channels": 16}


def _relation(a: list[float], b: list[float]) -> int:
    """Return the relation of a box to another, as the words say."""

    def within(one: list[float], other: list[float]) -> bool:
        return one != other and all(
            abs(one[axis] - other[axis]) <= (other[axis + 2] - one[axis + 2]) / 2 + 1e-9 for axis in (0, 1)
        )

    if within(a, b) or within(b, a):
        return 3 if within(a, b) else 0
    right, down = b[0] - a[0], b[1] - a[1]
    if abs(right) >= abs(down):
        return 1 if right > 0 else 0
    return 2 if down > 0 else 0


@pytest.mark.parametrize("nodes", [(1, 1), (2, 7)], ids=str)
def test_relations_are_those_of_the_words(nodes: tuple[int, int]) -> None:
    graphs = make_scene_graphs(60, 3, nodes=nodes, max_nodes=8)
    for b in range(len(graphs)):
        n = int(graphs.sizes[b])
        for i in range(8):
            for j in range(8):
                there = i < n and j < n and i != j
                wanted = _relation(graphs.boxes[b, i].tolist(), graphs.boxes[b, j].tolist()) if there else 0
                assert graphs.relations[b, i, j] == wanted
    assert nodes == (1, 1) or set(graphs.relations.unique().tolist()) == {0, 1, 2, 3}


def test_boxes_follow_from_categories_and_lie_in_the_picture() -> None:
    graphs = make_scene_graphs(400)
    torch.testing.assert_close(graphs.boxes[..., 2][graphs.flags], size_of(graphs.types)[graphs.flags])
    edges = graphs.boxes[..., :2] - graphs.boxes[..., 2:] / 2, graphs.boxes[..., :2] + graphs.boxes[..., 2:] / 2
    assert edges[0].min() >= -1e-6
    assert edges[1].max() <= 1 + 1e-6
    counts = Counter(graphs.types[graphs.flags].tolist())
    assert [kind for kind, _ in counts.most_common()] == [0, 1, 2, 3, 4]
    torch.testing.assert_close(make_scene_graphs(400).boxes, graphs.boxes)


def test_a_random_order_keeps_what_the_relations_say() -> None:
    graphs = make_scene_graphs(50, max_nodes=6)
    mixed = graphs.shuffled(torch.Generator().manual_seed(0))
    assert (mixed.types != graphs.types).any()
    assert scenes.share_right(mixed) == 1
    torch.testing.assert_close(mixed.types.sum(1), graphs.types.sum(1))
    assert mixed.types[~graphs.flags].eq(0).all()


def test_files_are_read_as_written(tmp_path: Path) -> None:
    graphs = make_scene_graphs(7, nodes=(2, 5))
    path = write_scene_graphs(tmp_path / "scenes.json", graphs)
    again = read_scene_graphs(path)
    torch.testing.assert_close(again.boxes, graphs.boxes)
    for names, ours, theirs in (("categories", "types", "types"), ("predicates", "relations", "relations")):
        words = [[getattr(one, names)[i] for i in getattr(one, of).flatten().tolist()]
                 for one, of in ((graphs, ours), (again, theirs))]  # fmt: skip
        there = graphs.flags if ours == "types" else torch.ones_like(graphs.relations)
        assert [w for w, t in zip(words[0], there.flatten(), strict=True) if t] == [
            w for w, t in zip(words[1], there.flatten(), strict=True) if t
        ]
    with pytest.raises(InputError, match="choose another, or pass --overwrite"):
        write_scene_graphs(path, graphs)


OBJECT = {"object_id": 7, "names": ["cup"], "x": 10, "y": 0, "w": 20, "h": 10}


def test_a_file_of_visual_genome(tmp_path: Path) -> None:
    other = {"object_id": 9, "name": "table", "x": 30, "y": 10, "w": 80, "h": 10}
    relation = {"subject": {"object_id": 7}, "predicate": " on ", "object": {"object_id": 9}}
    twice = [relation, {"subject_id": 7, "object_id": 9, "predicate": "near"}]
    entry = {"width": 100, "height": 40, "objects": [OBJECT, other], "relationships": twice}
    (tmp_path / "vg.json").write_text(json.dumps([entry, {"objects": [other]}]))
    graphs = read_scene_graphs(tmp_path / "vg.json", max_nodes=3)
    assert (graphs.categories, graphs.predicates) == (("cup", "table"), ("none", "on"))
    assert graphs.relations.nonzero().tolist() == [[0, 0, 1]]
    expected = torch.tensor([[0.2, 0.125, 0.2, 0.25], [0.65, 0.375, 0.7, 0.25]])  # the second is cut at the border
    torch.testing.assert_close(graphs.boxes[0, :2], expected)
    assert graphs.types[1, 0] == 1


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({}, "entry 2: it has no list of objects"),
        ({"objects": [3]}, "entry 2: object 1 is not a mapping"),
        ({"objects": [OBJECT, {**OBJECT, "names": []}]}, "entry 2: object 2 has no name"),
        ({"objects": [{**OBJECT, "w": 0}]}, r"object 1 has the box x, y, w, h = \[10, 0, 0, 10\], but w and h must be"),
        ({"objects": [{**OBJECT, "x": None}]}, "object 1 has the box"),
        ({"objects": [{**OBJECT, "x": 50}], "width": 40, "height": 40}, "object 1 lies outside of the picture"),
        ({"objects": [OBJECT], "width": 0}, "width 0 and height 10 must be above 0"),
        ({"objects": [OBJECT, OBJECT]}, "two of its objects have the same object_id"),
        ({"objects": [OBJECT] * 4}, "it has 4 objects, more than max_nodes=3"),
        ({"objects": [OBJECT], "relationships": [{"predicate": ""}]}, "relationship 1 has no predicate"),
        (
            {"objects": [OBJECT], "relationships": [{"predicate": "on", "subject_id": 7, "object_id": 8}]},
            "relationship 1 has object_id 8, which no object has",
        ),
    ],
)
def test_bad_entries_are_named_by_number(tmp_path: Path, entry: dict, message: str) -> None:
    path = tmp_path / "bad.json"
    path.write_text(json.dumps([{"objects": [OBJECT]}, entry]))
    with pytest.raises(InputError, match=f"'.*bad.json' has 1 bad entry: .*{message}"):
        read_scene_graphs(path, max_nodes=3)


def test_what_is_no_list_is_refused(tmp_path: Path) -> None:
    for text, message in (("{", "it is no JSON"), ("{}", "must hold a list of pictures"), ("[]", "must hold a list")):
        (tmp_path / "x.json").write_text(text)
        with pytest.raises(InputError, match=message):
            read_scene_graphs(tmp_path / "x.json")
    with pytest.raises(InputError, match="cannot be read: No such file"):
        read_scene_graphs(tmp_path / "nowhere.json")


def test_the_discrepancy_is_that_of_scikit_learns_kernel() -> None:
    torch.manual_seed(0)
    x, y = torch.randn(30, 3), torch.randn(20, 3) + 1
    within = [rbf_kernel(one, gamma=1 / (2 * 0.7**2)).mean() for one in (x, y)]
    expected = sum(within) - 2 * rbf_kernel(x, y, gamma=1 / (2 * 0.7**2)).mean()
    assert scenes.maximum_mean_discrepancy(x, y, 0.7) == pytest.approx(expected, rel=1e-6)
    assert scenes.maximum_mean_discrepancy(x, x) == pytest.approx(0, abs=1e-15)


def test_degrees_are_networkxs() -> None:
    graphs = make_scene_graphs(5, nodes=(2, 4))
    for row, shares in enumerate(scenes.degree_shares(graphs)):
        graph = networkx.DiGraph(graphs.relations[row].nonzero().tolist())
        graph.add_nodes_from(range(int(graphs.sizes[row])))
        counts = Counter(degree for _, degree in graph.degree())
        assert (shares * int(graphs.sizes[row])).round().tolist() == [counts[d] for d in range(7)]


def test_measures_see_what_is_wrong() -> None:
    graphs, other = (make_scene_graphs(100, seed) for seed in (0, 1))
    good = scenes.compare(other, graphs, spatial_relations)
    assert good.pop("right") == 1
    triples = good.pop("triples")  # there are 100 of them
    assert max(good.values()) < 0.1
    swapped = replace(other, relations=other.relations.roll(1, 0))
    bad = scenes.compare(swapped, graphs, spatial_relations)
    assert bad["right"] < 0.6
    assert bad["categories"] == good["categories"]
    assert bad["triples"] != triples
    same = replace(other, types=other.types.clamp_max(0), boxes=other.boxes / 2)
    worse = scenes.compare(same, graphs)
    assert worse["categories"] == pytest.approx(1 - (graphs.types[graphs.flags] == 0).double().mean().item())
    assert worse["boxes"] > 5 * good["boxes"]
    with pytest.raises(InputError, match="must have the same categories and predicates"):
        scenes.compare(make_scene_graphs(3, inside=False), graphs)


@pytest.mark.parametrize("code", ["scalar", "bits", "one_hot"])
def test_what_is_encoded_is_decoded(code: str) -> None:
    graphs = make_scene_graphs(20)
    model = SceneGraphDiffusion(graphs, code=code, **SMALL).double()
    again = model.decode(model.encode(graphs), graphs.flags)
    torch.testing.assert_close(again.boxes.float(), graphs.boxes)
    assert torch.equal(again.types, graphs.types)
    assert torch.equal(again.relations, graphs.relations)


@pytest.mark.parametrize("self_condition", [False, True])
def test_a_network_learns_and_draws_what_has_the_form_of_graphs(self_condition: bool) -> None:
    graphs = make_scene_graphs(100)
    torch.manual_seed(0)
    model = SceneGraphDiffusion(graphs, code="scalar", iou="none", self_condition=self_condition, **SMALL)
    losses = scenes.train(model, graphs, steps=40, lr=8e-3, batch_size=16, shuffle_nodes=self_condition)
    assert sum(losses[-10:]) / 10 < 0.8 * sum(losses[:3]) / 3
    draws = [model.sample(30, EDMSampler(steps=4), torch.Generator().manual_seed(0)) for _ in range(2)]
    assert torch.equal(draws[0].boxes, draws[1].boxes)
    assert set(draws[0].sizes.tolist()) == {3, 4}
    assert draws[0].relations.diagonal(dim1=1, dim2=2).eq(0).all()
    assert model.training


def test_graphs_of_pytorch_geometric() -> None:
    data = pytest.importorskip("torch_geometric.data")
    graphs = make_scene_graphs(6, nodes=(2, 4), max_nodes=5)
    listed = []
    for row, n in enumerate(graphs.sizes.tolist()):
        edges = graphs.relations[row].nonzero().T
        kinds = graphs.relations[row][edges[0], edges[1]]
        listed.append(data.Data(graphs.types[row, :n], edges, kinds, box=graphs.boxes[row, :n]))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        again = from_geometric(listed, graphs.categories, graphs.predicates, 5)
    for name in ("types", "boxes", "relations", "flags"):
        assert torch.equal(getattr(again, name), getattr(graphs, name))
    with pytest.raises(InputError, match=r"max_nodes=1 is less than the \d nodes of the largest graph"):
        from_geometric(listed, graphs.categories, graphs.predicates, 1)


def test_a_picture_is_drawn(tmp_path: Path) -> None:
    graphs = make_scene_graphs(2)
    swapped = replace(graphs, relations=graphs.relations.roll(1, 0))
    path = scenes.draw_scene_graphs(swapped, tmp_path / "x.svg", title="$t")
    assert "stroke-dasharray" in path.read_text()  # what does not follow from the boxes
    with pytest.raises(InputError, match=r"\.png"):
        scenes.draw_scene_graphs(graphs, tmp_path / "x.txt")


def _changed(**parts: object) -> SceneGraphs:
    return replace(make_scene_graphs(2), **parts)


def _encoded(graphs: SceneGraphs) -> DenseGraphs:
    return SceneGraphDiffusion(make_scene_graphs(2, nodes=(2, 4)), **SMALL).encode(graphs)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: _changed(types=torch.full((2, 4), 5)), "types have 5, but must be from 0 to 4"),
        (lambda: _changed(relations=torch.full((2, 4, 4), -1)), "relations have -1, but must be from 0 to 3"),
        (lambda: _changed(boxes=torch.full((2, 4, 4), 1.5)), "boxes have 1.5, but must be from 0 to 1"),
        (lambda: _changed(boxes=torch.full((2, 4, 4), float("nan"))), "boxes have nan"),
        (lambda: _changed(types=torch.ones(2, 4)), "types of torch.float32 must be int64"),
        (lambda: _changed(flags=torch.ones(2, 4)), r"flags of shape \(2, 4\) and torch.float32 must be \(B, N\) and"),
        (lambda: _changed(boxes=torch.zeros(2, 3, 4)), r"boxes of shape \(2, 3, 4\) must be \(2, 4, 4\)"),
        (lambda: make_scene_graphs(0), "number=0 must be an integer of at least 1"),
        (lambda: make_scene_graphs(1, nodes=(3, 2)), r"nodes\[1\]=2 must be an integer of at least 3"),
        (lambda: make_scene_graphs(1, max_nodes=3), "max_nodes=3 must be at least 4"),
        (lambda: scenes.share_right(make_scene_graphs(1, nodes=(1, 1))), "graphs have no pair of objects"),
        (lambda: _encoded(make_scene_graphs(2, max_nodes=5)), "graphs of 5 objects, .* must have 4 objects"),
        (lambda: SceneGraphDiffusion(make_scene_graphs(2), iou="xiou"), "iou='xiou' is not one of"),
        (lambda: scenes.maximum_mean_discrepancy(torch.ones(2, 3), torch.ones(2, 2)), r"must be \(n, C\) and \(m, C\)"),
    ],
)
def test_bad_input_is_named(call, message: str) -> None:
    with pytest.raises(InputError, match=message):
        call()

"""Every measure of the neighbours against a loop written from its definition."""

import dataclasses
import math
import statistics

import pytest
import torch
from torch import nn

from convnn.errors import InputError
from convnn.models import create_model
from convnn.nn import Conv1dNew, ConvNN2d, SparseAttention
from convnn.viz import LayerStatistics, neighbor_statistics
from convnn.viz.choices import Choices, window_side
from convnn.viz.statistics._class_centroids import ClassCentroids
from convnn.viz.statistics._tally import Tally, skewness
from convnn.viz.statistics.measure import MEASURES

VIT = {"patch_size": 4, "num_layers": 2, "d_hidden": 8, "d_mlp": 8}


def images(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


def window(**more) -> ConvNN2d:
    """Return the layer that is a 3 x 3 convolution."""
    settings = {"K": 9, "padding": 1, "similarity_type": "Loc", "metric": "euclidean"}
    return ConvNN2d(2, 2, **settings | more)


def by_definition(choices: Choices, classes: torch.Tensor | None = None) -> dict[str, float]:
    """Compute all measures by loops over images, heads, positions and slots."""
    height, width = choices.size
    on_map = {(row, column) for row in range(height) for column in range(width)}
    reach = next(k for k in range(1, 99, 2) if k * k >= choices.places.shape[3]) // 2
    distances, in_window, outside, agreeing, by_chance = [], [], [], [], []
    skews, never, most = [], [], []
    for image, heads in enumerate(choices.places.tolist()):
        for head, of_head in enumerate(heads):
            occurrence = dict.fromkeys(on_map, 0)
            for position, slots in enumerate(of_head):
                query = tuple(choices.queries[position].tolist())
                for slot, place in enumerate(map(tuple, slots)):
                    if place == query or not choices.is_filled[image, head, position, slot]:
                        continue
                    has_place = choices.outside == "padding" or place in on_map
                    rows, columns = abs(place[0] - query[0]), abs(place[1] - query[1])
                    if has_place:
                        distances.append(math.dist(place, query))
                    in_window.append(has_place and max(rows, columns) <= reach)
                    outside.append(place not in on_map)
                    if place not in on_map:
                        continue
                    occurrence[place] += 1
                    if classes is not None:
                        of = {(row, column): int(classes[image, row * width + column]) for row, column in on_map}
                        agreeing.append(of[place] == of[query])
                        others = [one for one in on_map if one != query]
                        by_chance.append(sum(of[one] == of[query] for one in others) / len(others))
            counts = list(occurrence.values())
            mean, deviation = statistics.fmean(counts), statistics.pstdev(counts)
            third = statistics.fmean((count - mean) ** 3 for count in counts)
            skews.append(third / deviation**3 if deviation else 0.0)
            never.append(counts.count(0) / len(counts))
            most.append(max(counts))
    mean_of = {
        "distance": distances,
        "in_window": in_window,
        "outside": outside,
        "hubness": skews,
        "never_chosen": never,
        "most_chosen": most,
        "class_agreement": agreeing,
        "chance_agreement": by_chance,
    }
    return {name: statistics.fmean(values) if values else math.nan for name, values in mean_of.items()}


def assert_measures(found: object, expected: dict[str, float]) -> None:
    measured = {name: getattr(found, name) for name in expected}
    assert measured == pytest.approx(expected, rel=1e-12, abs=1e-12, nan_ok=True)


def random_choices(size: tuple[int, int], K: int, outside: str, seed: int) -> tuple[Choices, torch.Tensor]:
    """Draw places on the map and around it, for two images, two heads and some of the positions."""
    random = torch.Generator().manual_seed(seed)
    height, width = size
    queries = torch.cartesian_prod(torch.arange(height), torch.arange(width)).reshape(-1, 2)[::2]
    shape = (2, 2, len(queries), K)
    rows = torch.randint(-1, height + 1, shape, generator=random)
    places = torch.stack([rows, torch.randint(-1, width + 1, shape, generator=random)], dim=-1)
    if outside == "class token":
        on_map = ((places >= 0) & (places < torch.tensor(size))).all(dim=-1, keepdim=True)
        places = places.where(on_map, -1)
    is_filled = torch.rand(shape, generator=random) < 0.8
    classes = torch.randint(0, 3, (2, height * width), generator=random)
    return Choices(size, queries, places, torch.ones(shape), is_filled, outside), classes


@pytest.mark.parametrize("outside", ["padding", "class token"])
@pytest.mark.parametrize(("size", "K"), [((3, 4), 1), ((5, 3), 4), ((4, 4), 9), ((1, 7), 10), ((1, 1), 2)])
def test_measures_are_those_of_the_definitions(size, K, outside):
    choices, classes = random_choices(size, K, outside, seed=K)
    tally = Tally(size, K)
    tally.add(choices, classes)
    assert_measures(tally, by_definition(choices, classes))


@pytest.mark.parametrize(
    "layer",
    [
        ConvNN2d(3, 2, K=5),
        ConvNN2d(3, 2, K=4, padding=0, metric="euclidean"),
        ConvNN2d(3, 2, K=3, sampling_type="spatial", num_samples=2),
        ConvNN2d(3, 3, K=3, padding=1, shuffle_pattern="BA", shuffle_scale=2),
    ],
    ids=["padding", "euclidean", "grid", "shuffled"],
)
def test_layers_on_maps(layer):
    x = images(3, 3, 4, 6)
    [found] = neighbor_statistics(layer, [[x]])
    field = layer.eval().field(x)
    places, queries = field.places(layer.neighbors(x).indices)[:, None], field.places(field.queries())
    ones = torch.ones(places.shape[:-1])
    expected = by_definition(Choices(field.real_size, queries, places, ones, ones.bool(), "padding"))
    assert_measures(found, expected)
    assert (found.height, found.width, found.K) == (*field.real_size, layer.search.K)
    assert found.relative_distance == pytest.approx(found.distance / math.hypot(*field.real_size))


def test_layers_on_tokens_count_every_head_by_itself():
    network = create_model("vit", "ConvNNAttention", K=3, num_heads=2, **VIT)
    entered = []
    attention = network.blocks[0].attention
    attention.register_forward_pre_hook(lambda _, inputs: entered.append(inputs[0]))
    found = neighbor_statistics(network, [[images(2, 3, 8, 12)]])
    indices = attention.neighbors(entered[0]).indices.unflatten(0, (2, 2))[:, :, 1:] - 1
    places = torch.stack([indices // 3, indices % 3], dim=-1).masked_fill(indices[..., None] < 0, -1)
    queries = torch.tensor([[row, column] for row in range(2) for column in range(3)])
    ones = torch.ones(indices.shape)
    expected = by_definition(Choices((2, 3), queries, places, ones, ones.bool(), "class token"))
    assert [one.name for one in found] == ["blocks.0.attention", "blocks.1.attention"]
    assert_measures(found[0], expected)


def test_slots_that_nobody_fills_are_no_neighbours():
    layer = SparseAttention(4, 1, sparse_mode="local", sparse_context_window=2)
    [found] = neighbor_statistics(nn.Sequential(nn.Flatten(2), Transposed(), layer), [[images(2, 4, 1, 3)]])
    assert (found.distance, found.K, found.most_chosen) == (1.0, 3, 2.0)


class Transposed(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.mT


def test_the_layer_that_is_a_convolution_looks_at_its_window():
    [padded] = neighbor_statistics(window(), [[images(2, 2, 4, 5)]])
    assert padded.in_window == 1.0
    assert padded.distance == pytest.approx((4 + 4 * math.sqrt(2)) / 8)
    assert padded.outside == pytest.approx(sum(9 - r * c for r in (2, 3, 3, 2) for c in (2, 3, 3, 3, 2)) / (8 * 20))
    [inside] = neighbor_statistics(window(padding=0), [[images(1, 2, 3, 3)]])
    assert (inside.outside, inside.most_chosen, inside.never_chosen, inside.hubness) == (0.0, 8.0, 0.0, 0.0)


@pytest.mark.parametrize(("padding", "K"), [(0, 4), (1, 4), (2, 9)])
def test_occurrences_itself_and_outside_make_all_slots(padding, K):
    layer, x = ConvNN2d(2, 2, K=K, padding=padding), images(1, 2, 4, 5)
    tally = Tally((4, 5), K)
    indices = layer.eval().neighbors(x).indices
    field = layer.field(x)
    places, ones = field.places(indices)[:, None], torch.ones(1, 1, 20, K)
    tally.add(Choices((4, 5), field.places(field.queries()), places, ones, ones.bool(), "padding"), None)
    itself = int((indices == field.queries()[:, None]).sum())
    assert itself == 20
    assert tally._neighbors + itself == 20 * K
    assert tally._outside <= tally._neighbors
    if not padding:
        assert tally._outside == 0


def test_hubness_of_a_hub():
    """Check one of n positions chosen n - 1 times: the skewness of a single one among zeros, (n - 2) / sqrt(n - 1)."""
    n = 12
    counts = torch.zeros(n, dtype=torch.float64)
    counts[3] = n - 1
    assert skewness(counts) == pytest.approx((n - 2) / math.sqrt(n - 1))
    assert skewness(torch.full((5,), 3.0).double()) == 0.0


def batches_of(x: torch.Tensor, labels: torch.Tensor, size: int) -> list[list[torch.Tensor]]:
    return [list(batch) for batch in zip(x.split(size), labels.split(size), strict=True)]


def test_neither_order_nor_size_of_batches_matters():
    torch.manual_seed(0)
    model = nn.Sequential(ConvNN2d(3, 4, K=4, padding=0), nn.ReLU(), ConvNN2d(4, 4, K=5)).double()
    x, labels = images(7, 3, 4, 6).double(), torch.tensor([0, 1, 2, 0, 1, 2, 2])

    def measured(order: torch.Tensor, size: int) -> list[LayerStatistics]:
        batches = batches_of(x[order], labels[order], size)
        return neighbor_statistics(model, batches, labelled_batches=batches)

    first = measured(torch.arange(7), 7)
    assert len(first) == 2
    assert first == measured(torch.arange(7).flip(0), 7)
    assert first == measured(torch.tensor([3, 0, 6, 2, 5, 1, 4]), 2)
    assert first == measured(torch.arange(7), 1)
    assert first != measured(torch.zeros(7, dtype=torch.long), 7)


def test_positions_belong_to_the_class_that_is_nearest_by_cosine_about_the_middle():
    torch.manual_seed(0)
    features, labels = torch.randn(6, 5, 3).double() + 10, torch.tensor([4, 0, 4, 2, 0, 2])
    centroids = ClassCentroids(3)
    centroids.add(features[:2], labels[:2])
    centroids.add(features[2:], labels[2:])
    means = {y: features[labels == y].mean(dim=(0, 1)) for y in (0, 2, 4)}
    middle = sum(means.values()) / 3
    found = centroids.nearest(features)
    for image in range(6):
        for position in range(5):
            x = features[image, position] - middle
            cosines = [float(torch.cosine_similarity(x, mean - middle, dim=0)) for mean in means.values()]
            assert found[image, position] == max(range(3), key=cosines.__getitem__)


def test_class_agreement_of_a_layer_is_that_of_the_features_that_enter_it():
    torch.manual_seed(0)
    layer = ConvNN2d(3, 2, K=4, padding=0)
    x, labels = images(6, 3, 4, 3), torch.tensor([0, 1, 2, 0, 1, 2])
    training = images(6, 3, 4, 3, seed=1)
    [found] = neighbor_statistics(layer, [[x]], labelled_batches=batches_of(training, labels, 4))
    centroids = ClassCentroids(3)
    centroids.add(training.flatten(2).mT, labels)
    classes = centroids.nearest(x.flatten(2).mT)
    field = layer.field(x)
    places = field.places(layer.eval().neighbors(x).indices)[:, None]
    ones = torch.ones(places.shape[:-1])
    expected = by_definition(
        Choices((4, 3), field.places(field.queries()), places, ones, ones.bool(), "padding"), classes
    )
    assert_measures(found, expected)
    assert 0 < found.class_agreement < 1


def test_two_halves_of_two_classes_agree_within_and_by_chance_less_often():
    """Check a left half of one class and a right half of the other: similar positions are in the same half."""
    x = torch.zeros(1, 2, 4, 4)
    x[:, 0, :, :2], x[:, 1, :, 2:] = 1, 1
    training = torch.stack(
        [torch.ones(2, 4, 4) * torch.tensor(channels)[:, None, None] for channels in ([1, 0], [0, 1])]
    )
    layer = ConvNN2d(2, 2, K=5, padding=0)
    [found] = neighbor_statistics(layer, [[x]], labelled_batches=[[training, torch.tensor([0, 1])]])
    assert found.class_agreement == 1.0
    assert found.chance_agreement == pytest.approx(7 / 15)


def test_without_labels_there_are_no_classes():
    [found] = neighbor_statistics(ConvNN2d(2, 2, K=3), [[images(1, 2, 4, 4)]])
    assert math.isnan(found.class_agreement)
    assert math.isnan(found.chance_agreement)


def test_alone_with_itself_nothing_is_measured():
    [found] = neighbor_statistics(ConvNN2d(2, 2, K=1, padding=0), [[images(1, 2, 3, 3)]])
    assert all(math.isnan(getattr(found, name)) for name in ("distance", "relative_distance", "in_window", "outside"))
    assert (found.hubness, found.never_chosen, found.most_chosen) == (0.0, 1.0, 0.0)


@pytest.mark.parametrize(("K", "side"), [(1, 1), (2, 3), (9, 3), (10, 5), (25, 5), (26, 7), (49, 7), (50, 9)])
def test_window(K, side):
    assert window_side(K) == side


def test_a_layer_called_twice_is_measured_twice():
    layer = ConvNN2d(2, 2, K=3)
    found = neighbor_statistics(nn.Sequential(layer, nn.ReLU(), layer), [[images(2, 2, 4, 4)], [images(1, 2, 4, 4)]])
    assert [one.name for one in found] == ["0", "0#2"]
    assert found[0] != dataclasses.replace(found[1], name="0")


def test_the_model_and_the_generators_stay_as_they_were():
    model = nn.Sequential(ConvNN2d(2, 2, K=3, sampling_type="random", num_samples=4), nn.BatchNorm2d(2), nn.Dropout())
    model.train()[1].eval()
    state, weights = torch.get_rng_state(), {name: t.clone() for name, t in model.state_dict().items()}
    batch = [images(2, 2, 4, 4), torch.tensor([0, 1])]
    neighbor_statistics(model, [batch], labelled_batches=[batch])
    assert torch.equal(torch.get_rng_state(), state)
    assert [module.training for module in model.modules()] == [True, True, False, True]
    assert all(torch.equal(t, weights[name]) for name, t in model.state_dict().items())
    assert not any(module._forward_pre_hooks for module in model.modules())


def test_a_compiled_model_is_measured_like_the_model_itself():
    x, plain = images(2, 2, 4, 4), nn.Sequential(ConvNN2d(2, 2, K=3), nn.ReLU(), ConvNN2d(2, 2, K=3)).eval()
    expected = neighbor_statistics(plain, [[x]])
    plain.compile(backend="eager")
    with torch.no_grad():
        plain(x)
    assert neighbor_statistics(plain, [[x]]) == expected


@pytest.mark.parametrize("batches", [[], [[torch.zeros(0, 2, 4, 4)]]], ids=["no batch", "empty batch"])
def test_no_image_is_refused(batches):
    with pytest.raises(InputError, match="batches hold no image; they must hold at least one"):
        neighbor_statistics(ConvNN2d(2, 2, K=3), batches)


def test_an_empty_batch_among_others_is_left_out():
    batches = [[images(2, 2, 4, 4)], [torch.zeros(0, 2, 4, 4)]]
    assert neighbor_statistics(window(), batches) == neighbor_statistics(window(), batches[:1])


def test_images_of_different_sizes_are_refused():
    with pytest.raises(InputError, match=r"maps of \(4, 5\) and \(4, 4\) cannot be averaged"):
        neighbor_statistics(window(), [[images(1, 2, 4, 4)], [images(1, 2, 4, 5)]])


def test_a_model_without_neighbours_is_refused():
    with pytest.raises(InputError, match="model Conv1dNew has no layer that chooses neighbours"):
        neighbor_statistics(Conv1dNew(2, 2), [])


def test_all_measures_are_attributes():
    assert set(MEASURES) < {f.name for f in dataclasses.fields(LayerStatistics)}

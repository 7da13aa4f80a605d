import pytest

from convnn.data import DATASETS, load_data
from convnn.errors import InputError


def test_data_set_names():
    made = ("masks", "shapes", "airways", "volumes", "sequential_digits", "sequential_cifar10", "adding", "waveforms")
    graphs = ("Cora", "CiteSeer", "texas", "cornell", "wisconsin", "MUTAG", "PROTEINS", "sbm", "digits-graph", "karate")
    last = ("hidden_groups", "lastfm", "interactions", "paraphrases", "triples", "wn18rr")
    last += ("moving_crops", "moving_textures", "frames")
    assert DATASETS[-len(last) :] == last
    others = DATASETS[: -len(last)]
    assert others[: -len(graphs)] == ("cifar10", "cifar100", "imagenet", "imagefolder", "digits", *made)
    assert set(others[-len(graphs) :]) == set(graphs)


def test_an_unknown_data_set_is_named_with_the_nearest():
    with pytest.raises(InputError, match=r"^dataset='cifar11' is not one of cifar10, .*; did you mean 'cifar10'\?"):
        load_data("cifar11")


@pytest.mark.parametrize(
    ("argument", "value"),
    [
        ("batch_size", 0),
        ("resize", 0),
        ("resize", -8),
        ("limit_train", 0),
        ("limit_test", -1),
        ("num_workers", -1),
        ("noise", -0.1),
        ("noise", float("nan")),
        ("noise", float("inf")),
    ],
)
def test_a_value_out_of_range_is_named(argument, value):
    with pytest.raises(InputError, match=rf"^{argument}={value} must be .*at least [01]$"):
        load_data("digits", **{argument: value})

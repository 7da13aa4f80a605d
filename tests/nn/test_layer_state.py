"""Tests of the state of layers between calls, and of saving and copying them, on maps and tokens."""

import copy
import pickle

import torch

from convnn.nn.kernels.convolution import BATCH_NORMS
from layer_cases import LayerCase, TokenCase


def test_deepcopy_pickle_and_state_dict(either: LayerCase | TokenCase) -> None:
    layer, x = either.layer(), either.input()
    expected = layer(x)
    other = either.layer(seed=1)
    assert not torch.equal(other(x), expected)
    other.load_state_dict(layer.state_dict())
    for twin in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer)), other):
        assert torch.equal(twin(x), expected)
        assert repr(twin) == repr(layer)


def test_forward_keeps_nothing_but_running_statistics(either: LayerCase | TokenCase) -> None:
    layer, x = either.layer(), either.input()
    norms = [module for module in layer.modules() if isinstance(module, BATCH_NORMS)]
    for norm in norms:
        norm.momentum = 0.0
    before = [{name: repr(value) for name, value in vars(module).items()} for module in layer.modules()]
    untouched = x.clone()
    layer(x)
    layer.train()(x)
    layer.eval()
    for norm in norms:
        norm.num_batches_tracked.zero_()
    after = [{name: repr(value) for name, value in vars(module).items()} for module in layer.modules()]
    assert after == before
    assert torch.equal(x, untouched)


def test_evaluation_is_deterministic_and_leaves_the_generator_alone(either: LayerCase | TokenCase) -> None:
    layer, x = either.layer(), either.input()
    state = torch.get_rng_state()
    first = layer(x)
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(layer(x), first)

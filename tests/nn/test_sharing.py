"""Tests of kernels that layers share: the tie, its gradient, and everything it must survive."""

import copy
import pickle
import re

import pytest
import torch
import torchvision
from torch import Tensor, nn
from torch.distributed.checkpoint.state_dict import StateDictOptions, get_state_dict, set_state_dict

import convnn
from convnn import nn as cnn
from convnn.errors import InputError
from convnn.models import create_model
from convnn.nn import SharingReport, share_kernels
from convnn.train.sealed import read_sealed, write_sealed


def block(channels: int = 4, **settings: object) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(channels, channels, 3, padding=1, **settings), nn.BatchNorm2d(channels), nn.ReLU())


def network(depth: int = 3, **settings: object) -> nn.Sequential:
    torch.manual_seed(0)
    blocks = nn.Sequential(*(block(**settings) for _ in range(depth)))
    return nn.Sequential(nn.Conv2d(2, 4, 1), blocks, nn.Flatten(), nn.Linear(4 * 25, 3)).double()


def images() -> Tensor:
    return torch.randn(2, 2, 5, 5, dtype=torch.double, generator=torch.Generator().manual_seed(1))


def count(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def kernels(model: nn.Module) -> list[nn.Parameter]:
    return [layer[0].weight for layer in model[1]]


def is_tied(model: nn.Module) -> bool:
    return all(kernel is kernels(model)[0] for kernel in kernels(model))


def test_the_tied_gradient_is_the_sum_of_the_untied() -> None:
    model = network()
    report = share_kernels(model)
    untied = network()
    untied.load_state_dict(model.state_dict())
    torch.testing.assert_close(model(images()), untied(images()), rtol=0, atol=0)
    for one in (model, untied):
        one(images()).square().sum().backward()
    for key in ("weight", "bias"):
        total = sum(getattr(layer[0], key).grad for layer in untied[1])
        torch.testing.assert_close(getattr(model[1][0][0], key).grad, total, rtol=0, atol=1e-12)
    assert report.parameters == (count(untied), count(untied) - 2 * (4 * 4 * 9 + 4))
    assert str(report).splitlines() == [
        "3 layers share 1 kernel, 1 left; 783 parameters, now 487",
        "1.0.0, 1.1.0, 1.2.0",
        "0 left: no other layer of its stage has its shape",
    ]


def test_layers_of_other_stages_and_shapes_do_not_share_nor_do_biases_if_not_asked() -> None:
    torch.manual_seed(0)
    stages = [nn.Sequential(block(), block(stride=2), block(groups=2), block(bias=False)) for _ in range(2)]
    by_stage, whole = copy.deepcopy(stages), copy.deepcopy(stages)
    groups = (("0.0.0", "0.1.0"), ("1.0.0", "1.1.0"))
    assert share_kernels(nn.Sequential(*by_stage)).groups == groups
    assert by_stage[0][0][0].weight is by_stage[0][1][0].weight
    assert by_stage[0][1][0].stride == (2, 2)
    assert by_stage[0][0][0].weight is not by_stage[1][0][0].weight
    report = share_kernels(nn.Sequential(*whole), scope="model", biases=False)
    assert report.groups[0] == ("0.0.0", "0.1.0", "1.0.0", "1.1.0")
    assert whole[0][0][0].weight is whole[1][1][0].weight
    assert whole[0][0][0].bias is not whole[0][1][0].bias
    assert share_kernels(nn.Sequential(*stages), where="0.*").groups == groups[:1]


def test_our_layers_share_all_but_their_normalisation() -> None:
    model = nn.Sequential(*(nn.Sequential(cnn.FDConv2d(4, 4, plain_up_to=0, frequency_groups=2)) for _ in range(2)))
    share_kernels(model)
    first, second = model[0][0], model[1][0]
    assert first.spectrum is second.spectrum
    assert first.modulation.shares.weight is second.modulation.shares.weight
    assert first.modulation.norm.weight is not second.modulation.norm.weight
    assert first.local.norm.weight is not second.local.norm.weight


@pytest.mark.parametrize(
    ("name", "share", "expected"), [("resnet18", "stage", 4), ("densenet121", "stage", 4), ("densenet121", "model", 29)]
)
def test_the_stages_of_other_libraries_are_found(name: str, share: str, expected: int) -> None:
    with torch.device("meta"):
        report = share_kernels(torchvision.models.get_model(name), scope=share)
    assert len(report.groups) == expected
    if share == "stage":
        assert all(len({re.search(r"(layer|block)\d", one)[0] for one in group}) == 1 for group in report.groups)


def test_survives_copies_conversions_and_state_dicts() -> None:
    model = network()
    share_kernels(model)
    state = model.state_dict()
    assert len(state) == len(network().state_dict())
    apart = {name: tensor.clone() for name, tensor in state.items()}
    others = [copy.deepcopy(model), pickle.loads(pickle.dumps(model)), copy.deepcopy(model).float().double()]
    assigned = copy.deepcopy(model)
    assigned.load_state_dict(apart, assign=True)
    empty = copy.deepcopy(model).to("meta").to_empty(device="cpu")
    empty.load_state_dict({name: tensor for name, tensor in apart.items() if not name.startswith(("1.1.0", "1.2.0"))})
    for other in [*others, assigned, empty]:
        assert is_tied(other)
        assert count(other) == count(model)
        torch.testing.assert_close(other.eval()(images()), model.eval()(images()), rtol=0, atol=0)
    apart["1.1.0.weight"] = apart["1.1.0.weight"] + 1
    with pytest.raises(InputError, match=r"different values for 1\.0\.0\.weight and 1\.1\.0\.weight, which share one"):
        model.load_state_dict(apart)


def test_is_saved_under_every_name(tmp_path) -> None:
    model = network()
    share_kernels(model)
    write_sealed(tmp_path / "a.safetensors", model.state_dict(), {})
    tensors, _ = read_sealed(tmp_path / "a.safetensors")
    assert tensors.keys() == model.state_dict().keys()
    torch.testing.assert_close(tensors["1.2.0.weight"], kernels(model)[0].detach(), rtol=0, atol=0)


def test_training_goes_on_to_the_bit() -> None:
    """The optimizer has one state for a shared kernel, which comes back with it."""

    def prepared() -> tuple[nn.Module, torch.optim.Optimizer]:
        model = network()
        share_kernels(model)
        return model, torch.optim.AdamW(model.parameters(), 0.01)

    def train(model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
        for _ in range(2):
            optimizer.zero_grad()
            model(images()).square().sum().backward()
            optimizer.step()

    model, optimizer = prepared()
    train(model, optimizer)
    options = StateDictOptions(full_state_dict=True, cpu_offload=True)
    weights, state = copy.deepcopy(get_state_dict(model, optimizer, options=options))
    train(model, optimizer)
    again, its_optimizer = prepared()
    set_state_dict(again, its_optimizer, model_state_dict=weights, optim_state_dict=state, options=options)
    train(again, its_optimizer)
    assert is_tied(again)
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, again.state_dict()[name])


def test_shared_layers_are_neither_merged_nor_replaced_and_replaced_ones_share() -> None:
    model = network()
    share_kernels(model)
    report = cnn.merge(model.eval())
    reason = "it shares its kernel, which would be a different one in each layer"
    assert [part.reason for part in report.left] == [reason] * 3
    assert count(report.model) == count(model)
    with pytest.raises(InputError, match=r"it shares a parameter with 1\.1\.0, and would no longer$"):
        convnn.replace_layers(model, "ConvNN", "1.*")
    other = network()
    convnn.replace_layers(other, "CondConv")
    assert share_kernels(other).groups == (("1.0.0", "1.1.0", "1.2.0"),)


def test_networks_share_by_their_flag() -> None:
    model = create_model("resnet18", "ConvNN", width=1 / 16, share_kernels="stage")
    assert count(model) < count(create_model("resnet18", "ConvNN", width=1 / 16)) / 2
    assert model(torch.randn(2, 3, 32, 32)).shape == (2, 10)
    external = create_model("torchvision:resnet18", "Conv2d", share_kernels="model")
    assert external.network.layer1[0].conv1.weight is external.network.layer1[1].conv2.weight


@pytest.mark.parametrize(
    ("share", "message"),
    [
        (lambda: share_kernels(nn.Linear(2, 2)), "model=Linear has no two layers that could share a kernel"),
        (
            lambda: share_kernels(nn.Sequential(nn.Conv2d(2, 4, 1), nn.Conv2d(4, 4, 1))),
            "model=Sequential has no two layers that could share a kernel; 0 was left: no other layer of its stage",
        ),
        (lambda: share_kernels("resnet18"), "model='resnet18' must be a torch.nn.Module"),
        (lambda: share_kernels(network(), scope="block"), "scope='block' is not one of stage, model"),
        (lambda: share_kernels(network(), "layer*"), "where admits no layer of Sequential: names='layer*' fits none"),
        (lambda: create_model("vgg11", share_kernels="all"), "share_kernels='all' is not one of none, stage, model"),
    ],
)
def test_refuses(share, message: str) -> None:
    with pytest.raises(InputError, match="^" + re.escape(message)):
        share()


def test_leaves_what_is_computed_or_tied_otherwise() -> None:
    model = network()
    nn.utils.parametrizations.weight_norm(model[1][1][0])
    assert share_kernels(model).left["1.1.0"] == "its weight is computed from others"
    other = network()
    other[1].extra = nn.ConvTranspose2d(4, 4, 3).double()
    other[1].extra.weight = other[1][0][0].weight
    with pytest.raises(InputError, match=r"1\.0\.0 was left: a layer of its shape shares a parameter with"):
        share_kernels(other, "1.*")


def test_a_report_is_a_value() -> None:
    assert SharingReport((("a", "b"),), {}, (2, 1)) == SharingReport((("a", "b"),), {}, (2, 1))

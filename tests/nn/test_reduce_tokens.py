"""Vision transformers of this library and of timm whose tokens become fewer."""

import copy
from collections.abc import Callable

import pytest
import timm
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from convnn.errors import InputError, UnsupportedError
from convnn.models import create_model
from convnn.nn import Propagation, ReducedBlocks, reduce_tokens, replace_layers

SIZES = {"num_layers": 3, "d_hidden": 24, "d_mlp": 32, "patch_size": 4}


def _ours(layer: str = "Attention", **settings: object) -> nn.Module:
    torch.manual_seed(0)
    return create_model("vit", layer, **SIZES | settings).double().eval()


def _timms(**settings: object) -> nn.Module:
    torch.manual_seed(0)
    sizes = {"img_size": 16, "patch_size": 4, "embed_dim": 24, "depth": 3, "num_heads": 3, "num_classes": 5}
    network = timm.models.VisionTransformer(**sizes | {"init_values": 0.5} | settings)
    return network.double().eval()


def _images(side: int = 16) -> Tensor:
    return torch.randn(2, 3, side, side, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def _outputs_and_gradients(network: nn.Module) -> list[Tensor]:
    out = network(_images())
    return [out, *torch.autograd.grad(out.square().sum(), list(network.parameters()), allow_unused=True)]


@pytest.mark.parametrize("make", [_ours, _timms])
@pytest.mark.parametrize("nothing", [{"num_prop": 0}, {"keep": 1.0}, {"num_prop": [0, 0, 0], "reducer": "mean"}])
def test_a_vit_that_keeps_all_tokens_is_unchanged(make: Callable, nothing: dict) -> None:
    plain, reduced = make(), make()
    reduce_tokens(reduced, **nothing)
    assert plain.state_dict().keys() == reduced.state_dict().keys()
    torch.testing.assert_close(_outputs_and_gradients(reduced), _outputs_and_gradients(plain))


@pytest.mark.parametrize("make", [_ours, _timms])
def test_fewer_tokens_are_plain_blocks_on_those_that_stay(make: Callable) -> None:
    """Without passing on, each block is attention to all, and then an MLP of those that stay."""
    network = make()
    plain = copy.deepcopy(network.blocks)
    blocks = reduce_tokens(network, "drop", num_prop=[0, 5, 0])
    x = torch.randn(2, 17, 24, dtype=torch.float64)
    _, first, second, third = blocks.steps(x)
    torch.testing.assert_close(first.x, plain[0](x))
    kept = torch.cat([torch.zeros(2, 1, dtype=torch.long), 1 + second.places], dim=1).unsqueeze(-1).expand(-1, -1, 24)
    torch.testing.assert_close(second.x, plain[1](plain[0](x)).gather(1, kept))
    torch.testing.assert_close(third.x, plain[2](second.x))


def test_scales_count_as_copies_of_tokens() -> None:
    """A token of scale 2 is attended to as two of them would be."""
    network = _timms(init_values=None)
    attention = network.blocks[0].attn
    x = torch.randn(1, 5, 24, dtype=torch.float64)
    twice = attention(torch.cat([x, x[:, 3:4]], dim=1))[:, :5]
    from convnn.nn.tokens.reduce.attended import attend, attend_and_tell

    log_scales = torch.tensor([[1.0, 1, 1, 2, 1]], dtype=torch.float64).log()
    torch.testing.assert_close(attend(attention, x, log_scales), twice)
    found, weights = attend_and_tell(attention, x, log_scales)
    torch.testing.assert_close(found, twice)
    torch.testing.assert_close(weights.sum(-1), torch.ones(1, 3, 5, dtype=torch.float64))


def test_kvt_of_all_tokens_loses_those_that_attention_loses() -> None:
    networks = _ours(num_layers=1), _ours("KvtAttention", K=17, num_layers=1)
    networks[1].load_state_dict(networks[0].state_dict())
    for network in networks:
        reduce_tokens(network, num_prop=5, K=3, scales=False)
    torch.testing.assert_close(*(network.forward_features(_images()) for network in networks))


def test_replaced_attention_of_timm_is_the_same() -> None:
    networks = _timms(), _timms()
    replace_layers(networks[1], "Attention", keep_weights=True, attention_dropout=0.0)
    found = []
    for network in networks:
        reduce_tokens(network, num_prop=4, K=4, sparsity=0.8)
        found.append(network.double()(_images()))
    torch.testing.assert_close(*found)


@pytest.mark.parametrize("registers", [0, 3])
@pytest.mark.parametrize("has_class", [True, False])
def test_tokens_before_the_patches_stay(registers: int, has_class: bool) -> None:
    pool = "token" if has_class else "avg"
    network = _timms(reg_tokens=registers, class_token=has_class, global_pool=pool)
    blocks = reduce_tokens(network, keep=0.5, K=4)
    assert blocks.first == registers + has_class
    assert network.forward_features(_images()).shape == (2, registers + has_class + 8, 24)


def test_the_distillation_token_stays() -> None:
    network = _ours(distillation_token=True)
    reduce_tokens(network, keep=0.25, K=4)
    assert network.forward_features(_images()).shape == (2, 2 + 4, 24)
    assert network(_images()).shape == (2, 10)


def test_how_many_leave_in_each_block() -> None:
    leaving = {
        (16, ("keep", 0.5)): [3, 3, 2],
        (16, ("keep", 0.01)): [5, 5, 5],
        (16, ("num_prop", 2)): [2, 2, 2],
        (9, ("num_prop", (0, 3, 5))): [0, 3, 5],
    }
    for (patches, setting), expected in leaving.items():
        assert reduce_tokens(_ours(), **dict([setting])).leaving(patches) == expected
    assert reduce_tokens(_ours(), keep=0.5, within=1).leaving(16) == [8, 0, 0]


REFUSED = {
    "reads the places of tokens": [
        "LocalAttention",
        "NeighborhoodAttention",
        "SparseAttention",
        "BlockSparseAttention",
    ],
    "does not tell to which tokens": ["LKCAttention", "BranchConv", "BranchAttention"],
}


@pytest.mark.parametrize("reducer", ["gtp", "mean", "drop"])
@pytest.mark.parametrize("layer", ["Attention", "KvtAttention", "ConvNNAttention"])
def test_layers_that_look_at_content_lose_tokens_and_learn(layer: str, reducer: str) -> None:
    network = create_model("vit", layer, K=4, reduce_tokens=reducer, token_neighbors=4, dropout=0.0, **SIZES).train()
    images, labels = _images().float(), torch.tensor([0, 1])
    optimizer = torch.optim.Adam(network.parameters(), 1e-2)
    losses = []
    for _ in range(12):
        optimizer.zero_grad()
        losses.append(F.cross_entropy(network(images), labels))
        losses[-1].backward()
        optimizer.step()
    assert all(p.grad is not None for p in network.parameters())
    assert losses[-1] < losses[0] / 2


@pytest.mark.parametrize("reason", REFUSED)
def test_other_layers_say_why_not(reason: str) -> None:
    for layer in REFUSED[reason]:
        with pytest.raises(UnsupportedError, match=rf"^{layer} of blocks\.0 cannot lose tokens: it {reason}"):
            create_model("vit", layer, reduce_tokens="gtp", **SIZES)


def _change(model: nn.Module, **settings: object) -> nn.Module:
    for name, value in settings.items():
        setattr(model, name, value)
    return model


@pytest.mark.parametrize(
    ("make", "settings", "message"),
    [
        (_ours, {"reducer": "tome"}, r"^reducer='tome' is not one of gtp, drop, mean"),
        (_ours, {"keep": 0.0}, r"^keep=0\.0 must be above 0 and at most 1, "),
        (_ours, {"num_prop": -1}, r"^num_prop=-1 must be an integer of at least 0$"),
        (_ours, {"num_prop": [1, 2]}, r"^num_prop=\[1, 2\] must have one number for each of the 3 blocks$"),
        (_ours, {"within": 4}, r"^within=4 must be at most 3$"),
        (_ours, {"alhpa": 0.1}, r"^setting 'alhpa' is unknown; did you mean 'alpha'\?$"),
        (_ours, {"reducer": Propagation(), "alpha": 0.1}, r"^alpha is a setting of Propagation.* give it there$"),
        (
            lambda: create_model("vgg11", "Conv2d", width=0.1),
            {},
            r"^model=VGG has 0 sequences of blocks .* or of timm$",
        ),
        (lambda: _ours(reduce_tokens="drop"), {}, r"^the tokens of model=ViT are reduced already; "),
        (
            lambda: _timms(class_token=False, global_pool="avg"),
            {"score": "class"},
            r"^score='class' needs a class token",
        ),
    ],
)
def test_bad_arguments_are_named(make: Callable, settings: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        reduce_tokens(make(), **settings)


@pytest.mark.parametrize(
    ("settings", "side", "message"),
    [
        ({"num_prop": 6, "K": 2}, 16, r"^num_prop=6 lets 6 patches leave in block 2, which reads 4; lower it$"),
        ({"num_prop": 16, "K": 2}, 16, r"^num_prop=16 lets 16 patches leave in block 0, which reads 16; lower it$"),
        ({"size": (2, 4), "K": 2}, 16, r"^size=\(2, 4\) must be rows and columns of the 16 patches$"),
        ({"K": 16}, 16, r"^K=16 must lie between 1 and 15, the number of other patches$"),
    ],
)
def test_images_that_do_not_fit_are_named(settings: dict, side: int, message: str) -> None:
    network = _ours()
    reduce_tokens(network, **settings)
    with pytest.raises(InputError, match=message):
        network(_images(side))


def test_maps_that_are_no_square_need_their_size() -> None:
    images = _images()[:, :, :8]
    network = _ours()
    reduce_tokens(network, K=3)
    with pytest.raises(InputError, match=r"^size=None is a square, which 8 patches are not; give size$"):
        network(images)
    network = _ours()
    reduce_tokens(network, K=3, size=(2, 4))
    assert network.forward_features(images).shape == (2, 1 + 4, 24)


def test_scales_and_sparsity_are_for_attention_to_all() -> None:
    with pytest.raises(
        UnsupportedError, match=r"^scales=True is for attention to all .* KvtAttention; give scales=False$"
    ):
        reduce_tokens(_ours("KvtAttention", K=4), scales=True)
    with pytest.raises(UnsupportedError, match=r"^sparsity=0\.5 is for attention to all tokens, .* give sparsity=1$"):
        reduce_tokens(_ours("KvtAttention", K=4), sparsity=0.5)
    with pytest.raises(UnsupportedError, match=r"^grad_checkpointing runs the blocks one by one"):
        reduce_tokens(_change(_timms(), grad_checkpointing=True))


def test_it_is_copied_and_shown() -> None:
    network = create_model("vit", reduce_tokens="gtp", keep_tokens=0.25, token_neighbors=4, token_alpha=0.3, **SIZES)
    assert isinstance(network.blocks, ReducedBlocks)
    assert "alpha=0.3" in repr(network)
    assert "keep=0.25, within=3" in repr(network)
    images = _images().float()
    torch.testing.assert_close(copy.deepcopy(network.eval())(images), network(images))


@pytest.mark.slow
def test_it_is_exported_and_compiled() -> None:
    network = _ours(num_layers=1).float()
    reduce_tokens(network, K=4)
    images = _images().float()
    program = torch.export.export(network, (images,), dynamic_shapes=({0: torch.export.Dim("batch", min=2)},))
    images = torch.cat([images, images.flip(3)])
    expected = network(images)
    torch.testing.assert_close(program.module()(images), expected)
    compiled = torch.compile(network, fullgraph=True, backend="eager")
    torch.testing.assert_close(compiled(images), expected)

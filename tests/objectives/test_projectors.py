"""Projectors of features, and the outputs of named layers: shapes, loops, training, and bad input."""

import pytest
import torch
from torch import nn

from convnn.errors import InputError
from convnn.models import create_model
from convnn.objectives import LayerOutputs, OFADistillation, make_projector
from convnn.objectives.distillation import PatchMerging, guess_class_tokens


@pytest.mark.parametrize("stage", [1, 2, 3, 4])
def test_maps_are_halved_until_the_last_stage(stage: int) -> None:
    projector = make_projector((4, 13, 16), 5, stage=stage, student_dim=6, teacher_dim=9)
    sizes = []
    for part in projector[:-3]:
        part.register_forward_hook(lambda _, __, output: sizes.append(tuple(output.shape[1:])))
    assert projector(torch.randn(2, 4, 13, 16)).shape == (2, 5)
    chain = [(4, 13, 16), (8, 7, 8), (16, 4, 4), (32, 2, 2)]  # floor((H - 1) / 2) + 1
    expected = [chain[halvings] for halvings in range(1, 5 - stage)]
    expected = [*expected, (9, 13, 16)] if stage == 4 else [*expected[:-1], (9, *chain[4 - stage][1:])]
    assert sizes == expected
    assert (isinstance(projector[0], nn.Conv2d)) == (stage == 4)


def test_merging_puts_four_neighbours_side_by_side() -> None:
    merging = PatchMerging(3, 5, activate=False).double()
    with torch.no_grad():
        merging.norm.weight.uniform_()
    tokens = torch.randn(2, 36, 3, dtype=torch.float64)
    merged = merging(tokens)
    for i in range(3):
        for j in range(3):
            square = [tokens[:, 6 * (2 * i + a) + 2 * j + b] for a, b in ((0, 0), (1, 0), (0, 1), (1, 1))]
            expected = merging.reduction(merging.norm(torch.cat(square, 1)))
            torch.testing.assert_close(merged[:, 3 * i + j], expected, rtol=0, atol=1e-14)


@pytest.mark.parametrize(("grid", "merges"), [(8, 0), (13, 0), (14, 1), (16, 1), (28, 2)])
@pytest.mark.parametrize("class_tokens", [0, 2])
def test_tokens_are_merged_to_about_seven_by_seven(grid: int, merges: int, class_tokens: int) -> None:
    projector = make_projector(
        (grid**2 + class_tokens, 8), 5, stage=3, student_dim=8, teacher_dim=6, class_tokens=class_tokens
    )
    assert len(projector.merge) == merges
    activations = [type(part.activation).__name__ for part in projector.merge]
    assert activations == {0: [], 1: ["GELU"], 2: ["GELU", "Identity"]}[merges]
    seen = []
    projector.blocks.register_forward_hook(lambda _, __, output: seen.append(output.shape[1]))
    assert projector(torch.randn(2, grid**2 + class_tokens, 8)).shape == (2, 5)
    assert seen == [(grid // 2**merges) ** 2 + class_tokens]


def test_what_is_read_are_the_class_tokens_or_the_mean() -> None:
    tokens = torch.randn(3, 50, 8, dtype=torch.float64)
    of_class = make_projector((50, 8), 5, stage=4, student_dim=8, teacher_dim=8, class_tokens=1).double()
    expected = of_class.head(of_class.blocks(tokens)[:, 0])
    torch.testing.assert_close(of_class(tokens), expected, rtol=0, atol=0)
    of_mean = make_projector((49, 8), 5, stage=1, student_dim=8, teacher_dim=8).double()
    shuffled = tokens[:, torch.randperm(50)[:49]]
    assert len(of_mean.blocks) == 3
    torch.testing.assert_close(of_mean(shuffled), of_mean(shuffled.flip(1)), rtol=0, atol=1e-14)  # an unordered set
    assert of_class.blocks[0].self_attn.in_proj_bias is None


def test_channels_of_merged_tokens_may_change_without_class_tokens() -> None:
    projector = make_projector((196, 6), 5, stage=2, student_dim=12, teacher_dim=8)
    assert projector(torch.randn(2, 196, 6)).shape == (2, 5)


def test_projectors_learn_with_the_network() -> None:
    torch.manual_seed(0)
    student = create_model("vit", patch_size=4, num_layers=2, num_heads=2, d_hidden=16, d_mlp=32, num_classes=3)
    outputs = LayerOutputs(student, ["blocks.0", "blocks.1"])
    projectors = {
        str(stage): make_projector((17, 16), 3, stage=stage, student_dim=16, teacher_dim=8, class_tokens=1)
        for stage in (3, 4)
    }
    scheme = OFADistillation(projectors, exponents=[1.5])
    images, teacher = torch.randn(12, 3, 16, 16), 3 * torch.randn(12, 3)
    optimizer = torch.optim.Adam([*student.parameters(), *scheme.parameters()], lr=1e-2)
    losses = []
    for _ in range(12):
        logits = student(images)
        features = dict(zip(("3", "4"), outputs.take().values(), strict=True))
        loss = sum(scheme(logits, features, teacher, teacher.argmax(1)))
        losses.append(loss.item())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert losses[-1] < 0.6 * losses[0]
    assert all(p.grad is not None for p in scheme.parameters())


def test_outputs_of_layers_are_kept_until_they_are_taken() -> None:
    network = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2))
    outputs = LayerOutputs(network, ["2", "0"])
    x = torch.randn(5, 4)
    y = network(x)
    taken = outputs.take()
    assert list(taken) == ["2", "0"]
    assert taken["2"] is y
    assert torch.equal(taken["0"], network[0](x))
    outputs.remove()
    network(x)
    with pytest.raises(InputError, match=r"^layer '2' was not run; name another$"):
        outputs.take()


@pytest.mark.parametrize(("tokens", "count"), [(49, 0), (50, 1), (51, 2), (196, 0), (197, 1), (198, 2), (1, 0)])
def test_class_tokens_are_what_is_left_of_a_square(tokens: int, count: int) -> None:
    assert guess_class_tokens(tokens) == count


def projector(shape: tuple[int, ...], stage: int = 3, dim: int = 8, **tokens: int) -> nn.Module:
    return make_projector(shape, 5, stage=stage, student_dim=dim, teacher_dim=8, **tokens)


LSTM = nn.Sequential(nn.LSTM(2, 2))
WRONG = {
    "stage": (lambda: projector((4, 7, 7), stage=5), "^stage=5 must be one of 1, 2, 3 and 4$"),
    "shape": (lambda: projector((4,)), r"^shape=\(4,\) must be that of a map, \(C, H, W\), or of tokens, \(T, C\)$"),
    "square": (
        lambda: projector((50, 8)),
        "^shape has 50 tokens, 0 of them class tokens; the others must be a square grid$",
    ),
    "odd": (lambda: projector((225, 8)), "^a grid of 15 x 15 tokens must have sides that can be halved 1 times$"),
    "class tokens": (
        lambda: projector((197, 4), class_tokens=1),
        "^student_dim=8 must be 4, the channels of the tokens: patches are merged, but class tokens keep theirs$",
    ),
    "heads": (lambda: projector((49, 6)), "^tokens of 6 channels must have a multiple of 4, the number of heads$"),
    "guess": (lambda: guess_class_tokens(7), "^7 tokens are no square grid, with or without one or two class tokens$"),
    "layer": (
        lambda: LayerOutputs(nn.Sequential(nn.ReLU()), ["1"]),
        "^layer '1' is not in Sequential; did you mean '0'.; it has 0$",
    ),
    "twice": (lambda: LayerOutputs(nn.Sequential(nn.ReLU()), ["0", "0"]), "^layers 0, 0 must differ$"),
}


@pytest.mark.parametrize(("call", "message"), WRONG.values(), ids=WRONG)
def test_bad_input(call, message: str) -> None:
    with pytest.raises(InputError, match=message):
        call()


def test_a_layer_must_return_a_tensor() -> None:
    outputs = LayerOutputs(LSTM, ["0"])
    LSTM(torch.randn(3, 2))
    with pytest.raises(InputError, match=r"^layer '0' returns tuple, not a tensor; name another$"):
        outputs.take()
    outputs.remove()

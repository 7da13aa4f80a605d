"""Tests of attention of patches by offset: the matrix of attention, other tokens, and published counts."""

import re

import pytest
import torch

from convnn import nn as cnn
from convnn.errors import InputError
from convnn.models import create_model


@pytest.mark.parametrize(("size", "others", "kernels"), [((3, 5), 2, 0), (None, 1, 1), ((4, 2), 0, 12)])
def test_is_attention_with_a_weight_for_each_offset(size: tuple[int, int] | None, others: int, kernels: int) -> None:
    layer = cnn.LKCAttention(12, 3, kernel_size=(5, 7), kernels=kernels, size=size).double()
    rows, columns = size or (4, 4)
    x = torch.randn(2, others + rows * columns, 12, dtype=torch.double)
    attention = layer.operator.attention((rows, columns))
    assert len(attention) == (kernels or 3)
    values = layer.value(x[:, others:]).unflatten(-1, (len(attention), -1))
    patches = torch.einsum("hij,bjhc->bihc", attention, values).flatten(2) + layer.operator.bias
    expected = torch.cat([patches.mean(1, keepdim=True).expand(-1, others, -1), patches], 1)
    torch.testing.assert_close(layer(x), layer.output(expected), rtol=0, atol=1e-12)


def test_projections_can_be_left_out() -> None:
    layer = cnn.LKCAttention(12, 3, kernel_size=5, value_projection=False, output_projection=False, kernel_bias=False)
    assert [name for name, _ in layer.named_parameters()] == ["operator.weight"]
    assert layer.extra_repr() == (
        "12, 3, kernel_size=5, kernel_bias=False, value_projection=False, output_projection=False"
    )


@pytest.mark.parametrize(("kernels", "published"), [(1, 4_838_740), (0, 4_856_236), (192, 6_509_608)])
def test_counts_of_the_definition(kernels: int, published: int) -> None:
    with torch.device("meta"):
        ours = create_model("vit_tiny", "LKCAttention", num_classes=1000, kernel_size=27, kernels=kernels)
    counted = sum(
        p.numel() for name, p in ours.named_parameters() if name != "class_token" and "embed.norm" not in name
    )
    assert counted == published - 196 * 192 - 2 * 192  # its learned positions and last norm, which ours does without


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: cnn.LKCAttention(12, 5), "dim=12 must be a multiple of num_heads=5, of which each has a kernel"),
        (lambda: cnn.LKCAttention(12, 3, kernels=5), "kernels=5 must divide the 12 channels"),
        (lambda: cnn.LKCAttention(12, 3, kernels=-1), "kernels=-1 must be an integer of at least 0"),
        (lambda: cnn.LKCAttention(12, 3, kernel_size=4), "kernel_size=4 must be odd"),
        (lambda: cnn.LKCAttention(12, 3, size=4), "size=4 must be two numbers, rows and columns"),
        (
            lambda: cnn.LKCAttention(12, 3, size=(3, 4))(torch.zeros(1, 11, 12)),
            "size=(3, 4) has more patches than the 11 tokens of the input",
        ),
    ],
)
def test_refuses(call, message: str) -> None:
    with pytest.raises(InputError, match=re.escape(message)):
        call()

"""Lists of any length on every instruction set of this machine."""

import pytest
import torch

from convnn.ops import ragged
from convnn.ops.ragged import Lists


@pytest.mark.parametrize("channels", [1, 8, 33, 64, 200])
def test_instruction_sets_agree(channels: int, core: str) -> None:
    generator = torch.Generator().manual_seed(0)
    lists = Lists(torch.tensor([0, 30, 30, 35, 125]), torch.randint(40, (125,), generator=generator), 40)
    values, queries = (torch.randn(n, channels, generator=generator) for n in (40, 4))
    scores = torch.randn(125, channels, generator=generator)
    operators = (
        lambda backend: ragged.total(values, lists, backend=backend),
        lambda backend: ragged.total(values, lists, scores, backend=backend),
        lambda backend: ragged.softmax_mean(20 * values, lists, 3.0, backend=backend),
        lambda backend: ragged.maximum(values, lists, backend=backend),
        lambda backend: ragged.products(queries, values, lists, backend=backend),
    )
    for operator in operators:
        torch.testing.assert_close(operator("cpu"), operator("reference"), rtol=1e-5, atol=1e-5)

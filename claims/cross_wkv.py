"""CrossWKV: a state that a text writes by the delta rule, and tokens of an image read."""

from statistics import mean, median
from time import process_time

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from claims._experiment import Outcome, spread
from convnn.nn import CrossWKV

SYSTEM = "CrossWKV"
CLAIM = (
    "Attention through a state of fixed size tracks what a text says last, and its reading does not slow with the text."
)
EXPERIMENT = (
    "A text of 12 pairs of 6 keys and 6 values, in which keys repeat and the last value counts; a query for each key;"
    " width 32, 2 heads, 800 steps of batch 64: accuracy in percent, also of softmax attention with learned positions"
    " and of linear attention; time of 1,024 queries. The cross form is ours: there is no code. FID is out of reach."
)
SEEDS = (0, 1)
KEYS, VALUES, PAIRS, WIDTH = 6, 6, 12, 32


class Attention(nn.Module):
    def __init__(self, is_linear: bool) -> None:
        super().__init__()
        self.is_linear, self.places = is_linear, nn.Parameter(0.1 * torch.randn(PAIRS, WIDTH))
        self.query, self.key, self.value, self.output = (nn.Linear(WIDTH, WIDTH, bias=False) for _ in range(4))

    def forward(self, x: Tensor, context: Tensor) -> Tensor:
        context = context if self.is_linear else context + self.places
        rows = (self.query(x), self.key(context), self.value(context))
        q, k, v = (one.unflatten(2, (2, -1)).transpose(1, 2) for one in rows)
        heads = q @ (k.mT @ v) if self.is_linear else F.scaled_dot_product_attention(q, k, v)
        return self.output(heads.transpose(1, 2).flatten(2))


LAYERS = {
    "CrossWKV": lambda: CrossWKV(WIDTH, WIDTH, head_dim=16, decay_rank=8, rate_rank=8, gate_rank=8),
    **{name: lambda name=name: Attention(name[0] == "l") for name in ("softmax attention", "linear attention")},
}


def measure(seeds: list[int], quick: bool) -> Outcome:
    scores = {name: [learned(name, seed, 2 if quick else 800) for seed in seeds] for name in LAYERS}
    times = {length: milliseconds(length) for length in (256, 4096)}
    rows = [[f"{name}, accuracy, %", spread(found)] for name, found in scores.items()]
    rows += [[f"reading after {length:,} tokens, ms", f"{found:.2f}"] for length, found in times.items()]
    checks = {
        "CrossWKV finds at least 99 % of the last values": mean(scores["CrossWKV"]) >= 99,
        "linear attention finds fewer than 90 %": mean(scores["linear attention"]) < 90,
        "reading takes as long after 4,096 tokens as after 256": times[4096] < 1.5 * times[256],
    }
    return Outcome([["", "result"], *rows], checks)


def learned(name: str, seed: int, steps: int) -> float:
    torch.manual_seed(seed)
    queries, pairs, head = nn.Embedding(KEYS, WIDTH), nn.Embedding(KEYS * VALUES, WIDTH), nn.Linear(WIDTH, VALUES)
    parts = nn.ModuleList([layer := LAYERS[name](), queries, pairs, head])
    optimizer = torch.optim.Adam(parts.parameters(), 3e-3)
    for batch in [64] * steps + [1000]:
        keys, values = (torch.randint(count, (batch, PAIRS)) for count in (KEYS, VALUES))
        where = keys.flip(1).unsqueeze(2) == torch.arange(KEYS)
        out = head(layer(queries.weight.expand(batch, -1, -1), pairs(VALUES * keys + values)))[where.any(1)]
        last = values.flip(1).gather(1, where.int().argmax(1))[where.any(1)]
        optimizer.zero_grad()
        F.cross_entropy(out, last).backward()
        optimizer.step()
    return 100 * (out.argmax(1) == last).double().mean().item()


@torch.no_grad()
def milliseconds(length: int) -> float:
    layer = LAYERS["CrossWKV"]()
    x, state = torch.randn(1, 1024, WIDTH), layer.state(torch.randn(1, length, WIDTH))
    times = [(process_time(), layer.read(x, state), process_time()) for _ in range(9)]
    return 1000 * median(end - start for start, _, end in times)

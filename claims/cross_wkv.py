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
    "A text of 12 pairs of 6 keys and 6 values, in which keys repeat and the last value counts; 6 queries ask for each"
    " key. Width 32, 2 heads of 16, 800 steps of batch 64, Adam: accuracy in percent, also of softmax attention with"
    " learned positions of the text, and of linear attention. Then the time to read 1,024 queries after 256 and 4,096"
    " tokens. The cross form is ours: of the paper there is no code. Image quality (FID) is out of reach."
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
        rows = self.query(x), self.key(context), self.value(context)
        q, k, v = (one.unflatten(2, (2, -1)).transpose(1, 2) for one in rows)
        heads = q @ (k.mT @ v) if self.is_linear else F.scaled_dot_product_attention(q, k, v)
        return self.output(heads.transpose(1, 2).flatten(2))


LAYERS = {
    "CrossWKV": lambda: CrossWKV(WIDTH, WIDTH, head_dim=16, decay_rank=8, rate_rank=8, gate_rank=8),
    "softmax attention": lambda: Attention(False),
    "linear attention": lambda: Attention(True),
}


def measure(seeds: list[int], quick: bool) -> Outcome:
    scores = {name: [learned(name, seed, 2 if quick else 800) for seed in seeds] for name in LAYERS}
    short, long = milliseconds(256), milliseconds(4096)
    rows = [[f"{name}, accuracy, %", spread(found)] for name, found in scores.items()]
    read = [["read after 256 tokens, ms", f"{short:.2f}"], ["read after 4,096 tokens, ms", f"{long:.2f}"]]
    checks = {
        "CrossWKV finds at least 99 % of the last values": mean(scores["CrossWKV"]) >= 99,
        "linear attention finds fewer than 90 %": mean(scores["linear attention"]) < 90,
        "reading takes as long after 4,096 tokens as after 256": long < 1.5 * short,
    }
    return Outcome([["", "result"], *rows, *read], checks)


def learned(name: str, seed: int, steps: int) -> float:
    torch.manual_seed(seed)
    parts = nn.ModuleList([LAYERS[name](), nn.Embedding(KEYS, WIDTH), nn.Embedding(KEYS * VALUES, WIDTH)])
    parts.append(nn.Linear(WIDTH, VALUES))
    optimizer = torch.optim.Adam(parts.parameters(), 3e-3)
    for step in range(steps + 1):
        keys, values = torch.randint(KEYS, (1000 if step == steps else 64, PAIRS)), torch.randint(VALUES, (1000, PAIRS))
        values, where = values[: keys.shape[0]], keys.flip(1).unsqueeze(2) == torch.arange(KEYS)
        out = parts[3](parts[0](parts[1].weight.expand(len(keys), -1, -1), parts[2](VALUES * keys + values)))[
            where.any(1)
        ]
        last = values.flip(1).gather(1, where.int().argmax(1))[where.any(1)]
        optimizer.zero_grad()
        F.cross_entropy(out, last).backward()
        optimizer.step()
    return 100 * (out.argmax(1) == last).double().mean().item()


@torch.no_grad()
def milliseconds(length: int) -> float:
    layer, x = LAYERS["CrossWKV"](), torch.randn(1, 1024, WIDTH)
    state = layer.state(torch.randn(1, length, WIDTH))
    times = [(process_time(), layer.read(x, state), process_time()) for _ in range(9)]
    return 1000 * median(end - start for start, _, end in times)

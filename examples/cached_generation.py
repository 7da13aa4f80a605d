"""Ask a small Llama of transformers, which keeps a quarter of a prompt, what the prompt says; draw what it kept."""

import sys
from functools import partial

import torch
from torch.nn import functional as F
from transformers import LlamaConfig, LlamaForCausalLM

from convnn.nn.tokens import caches
from convnn.viz import draw_text

NAMES = ["anna", "bert", "carl", "dora", "emil", "fred", "gina", "hans", "ines", "jan"]
THINGS = ["apple", "bread", "candle", "drum", "egg", "flute", "grape", "hat", "ink", "jug"]
ASKED, SAID = [f"{name}? " for name in NAMES], [f"{name}={thing} " for name in NAMES for thing in THINGS]
N, OFTEN = 10, 1 / torch.arange(1.0, 11)


def texts(count: int, length: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Texts that say what each owns, some often, with questions; and what would be said at each place."""
    owned, names = torch.rand(2, count, N).argsort(2)
    names = names.gather(1, torch.multinomial(OFTEN.expand(count, -1), length, replacement=True))
    said = N + N * names + owned.gather(1, names)
    return torch.where(torch.rand(count, length) < 0.25, names, said), said


torch.manual_seed(0)
sizes = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "initializer_range": 0.1}
heads = {"num_attention_heads": 4, "num_key_value_heads": 2, "bos_token_id": None, "eos_token_id": None}
model = LlamaForCausalLM(LlamaConfig(vocab_size=N + N * N, **sizes, **heads))
optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3)
for _ in range(100):
    ids, said = texts(32, 72)
    is_known = ((ids[:, None] == said[..., None]) & torch.ones(72, 72).tril(-1).bool()).any(2)
    loss = F.cross_entropy(model(ids).logits.flatten(0, 1), said.where(is_known & (ids < N), -100).flatten())
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
policies = {
    "all tokens": caches.KeyValueCache,
    "random": partial(caches.RandomCache, 24, window=8),
    "SnapKV": partial(caches.SnapKVCache, 24, window=8),
    "LouisKV": partial(caches.ClusteredCache, 24, cluster_size=8, window=4),
    "GraphKV": partial(caches.GraphKVCache, 24, window=8, num_sources=4, num_neighbors=16, rounds=3),
}
ids, said = texts(64, 96)
last = [[row[row // N == n + 1][-1:].tolist() for row in ids] for n in range(N)]  # what is said of each name, if it is
shares = {}
for name, make in policies.items():
    right = []
    with caches.attached(model, make) as cache, torch.no_grad():
        model(ids, cache=cache)
        for n, answers in enumerate(last):
            found = model(torch.full((64, 1), n), cache=cache).logits[:, -1].argmax(1).tolist()
            right += [one == answer[0] for one, answer in zip(found, answers, strict=True) if answer]
        shares[name] = cache.of_layers[0].read[0, :, :96].double().mean(0)
    print(f"{name}: right answers {sum(right) / len(right):.3f}")
if len(sys.argv) > 1:
    del shares["all tokens"]
    draw_text([(ASKED + SAID)[i] for i in ids[0]], shares, sys.argv[1], title="What the first layer read at the end")

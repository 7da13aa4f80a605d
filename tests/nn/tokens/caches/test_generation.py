"""A model of transformers generates with our caches: with a full budget what it generates without, token for token."""

from functools import partial

import pytest
import torch
from torch import Tensor

from convnn import packages
from convnn.errors import InputError, UnsupportedError
from convnn.nn.tokens.caches import (
    ClusteredCache,
    GraphKVCache,
    KeyValueCache,
    RandomCache,
    SinkCache,
    SnapKVCache,
    attached,
    measure,
    record,
)

transformers = pytest.importorskip("transformers", reason="the models need pip install 'convnn[caches]'")

CLUSTERED = partial(ClusteredCache, cluster_size=4, sinks=2, window=3)
FULL = {
    "everything": KeyValueCache,
    "SnapKV": partial(SnapKVCache, 40, window=4),
    "sinks": partial(SinkCache, 40),
    "LouisKV": partial(CLUSTERED, 1000),
    "LouisKV, at every token": partial(CLUSTERED, 1000, threshold=1.1),
}
SPARSE = {
    "SnapKV": partial(SnapKVCache, 12, window=4),
    "GraphKV": partial(GraphKVCache, 12, window=4, num_sources=2, num_neighbors=3),
    "sinks": partial(SinkCache, 12),
    "random": partial(RandomCache, 12, window=4),
    "LouisKV": partial(CLUSTERED, 12),
}


@pytest.fixture(scope="module")
def model():
    """Two layers of four heads, of which two share their keys, with weights that make the next token depend on all."""
    config = transformers.LlamaConfig(
        vocab_size=61,
        hidden_size=32,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        initializer_range=0.3,
        bos_token_id=0,
        eos_token_id=None,
        pad_token_id=1,
    )
    torch.manual_seed(0)
    return transformers.LlamaForCausalLM(config).eval().double()


@pytest.fixture(scope="module")
def prompts() -> dict[str, Tensor]:
    """Two prompts of 40 tokens, of which the first has 12 of padding."""
    ids = torch.randint(2, 61, (2, 40), generator=torch.Generator().manual_seed(0))
    mask = torch.ones_like(ids)
    mask[0, :12], ids[0, :12] = 0, 1
    return {"input_ids": ids, "attention_mask": mask}


def generate(model, prompts: dict[str, Tensor], make=None, **settings) -> Tensor:
    settings = {"max_new_tokens": 16, "do_sample": False} | settings
    if make is None:
        return model.generate(**prompts, **settings)
    with attached(model, make) as cache:
        return model.generate(**prompts, cache=cache, **settings)


@pytest.fixture(scope="module")
def expected(model, prompts: dict[str, Tensor]) -> dict[int, Tensor]:
    """What is generated without a policy, by the number of beams."""
    return {beams: generate(model, prompts, num_beams=beams) for beams in (1, 3)}


@pytest.mark.parametrize("beams", [1, 3])
@pytest.mark.parametrize("name", FULL)
def test_a_full_budget_generates_what_is_generated_without(model, prompts, expected, name: str, beams: int) -> None:
    with attached(model, FULL[name]) as cache:
        found = model.generate(**prompts, cache=cache, num_beams=beams, max_new_tokens=16, do_sample=False)
        assert all(isinstance(one, ClusteredCache) == ("LouisKV" in name) for one in cache.of_layers)
    assert torch.equal(found, expected[beams])
    assert model.config._attn_implementation == "sdpa"


@pytest.mark.parametrize("name", SPARSE)
def test_a_small_budget_reads_less_and_generates_something_else(model, prompts, expected, name: str) -> None:
    with attached(model, SPARSE[name]) as cache:
        found = model.generate(**prompts, cache=cache, max_new_tokens=16, do_sample=False)
        assert len(cache.of_layers) == 2
        for one in cache.of_layers:
            assert one.seen == 55  # the last token is not computed with
            assert int(one.read.sum(2).max()) < 12 + 16 + 3
            assert not one.read[0, :, :12].any(), "padding"
    assert found.shape == (2, 56)
    assert not torch.equal(found, expected[1])


@pytest.mark.parametrize("name", ["GraphKV", "sinks", "LouisKV"])
def test_a_step_is_a_pass_under_a_mask(model, prompts, name: str) -> None:
    """The logits are those of all tokens under a mask that shows the last one what it read."""
    ids = prompts["input_ids"][1:]
    single = transformers.LlamaForCausalLM(
        transformers.LlamaConfig(**{**model.config.to_dict(), "num_hidden_layers": 1})
    )
    single.double().eval().load_state_dict({k: v for k, v in model.state_dict().items() if ".layers.1." not in k})
    make = partial(CLUSTERED, 12) if name == "LouisKV" else SPARSE[name]
    with attached(single, make) as cache, torch.no_grad():
        single(ids, cache=cache)
        found = single(ids[:, :1], cache=cache).logits
        read = cache.of_layers[0].read.repeat_interleave(2, 1)
    mask = torch.ones(41, 41, dtype=torch.bool).tril().expand(1, 4, 41, 41).clone()
    mask[:, :, 40] = read
    with torch.no_grad():
        whole = single(torch.cat([ids, ids[:, :1]], 1), attention_mask=mask).logits
    torch.testing.assert_close(found[:, -1], whole[:, -1], rtol=0, atol=1e-12)


def test_padding_changes_nothing(model, prompts) -> None:
    alone = generate(model, {"input_ids": prompts["input_ids"][:1, 12:]}, partial(SnapKVCache, 12, window=4, kernel=1))
    both = generate(model, prompts, partial(SnapKVCache, 12, window=4, kernel=1))
    assert torch.equal(both[:1, 12:], alone)


def test_a_recorded_text_is_what_the_model_computes(model, prompts) -> None:
    ids = prompts["input_ids"][1:]
    text, traces = record(model, ids, max_new_tokens=6, do_sample=False)
    assert torch.equal(text, generate(model, {"input_ids": ids}, max_new_tokens=6))
    assert [one.prompt for one in traces] == [40, 40]
    assert traces[0].queries.shape == (1, 4, 45, 8)
    with torch.no_grad():
        whole = model(text[:, :-1], use_cache=True).cache
    for one, layer in zip(traces, whole.layers, strict=True):
        torch.testing.assert_close(one.keys, layer.keys, rtol=0, atol=1e-12)
    mass = {name: measure(make(), traces[1]).mass for name, make in SPARSE.items()}
    assert all(0 < one < 1 for one in mass.values())


def test_a_cache_is_reset_and_a_batch_is_chosen_from(model, prompts) -> None:
    with attached(model, SPARSE["SnapKV"]) as cache, torch.no_grad():
        first = model(**prompts, cache=cache).logits
        cache.batch_repeat_interleave(2)
        assert cache.of_layers[0].keys.shape[0] == 4
        cache.batch_select_indices(torch.tensor([0, 2]))
        assert cache.of_layers[0].keys.shape[0] == 2
        cache.reset()
        assert cache.get_seq_length() == 0
        assert torch.equal(model(**prompts, cache=cache).logits, first)


def test_what_cannot_be_is_refused(model, prompts) -> None:
    ids = prompts["input_ids"][1:]
    with attached(model, SPARSE["SnapKV"]) as cache, torch.no_grad():
        with pytest.raises(InputError, match="has a cache attached already"), attached(model, KeyValueCache):
            pass
        model(ids, cache=cache)
        with pytest.raises(UnsupportedError, match="2 tokens after the prompt must come one by one"):
            model(ids[:, :2], cache=cache)
        with pytest.raises(UnsupportedError, match="tokens_to_remove=-1 must be 0"):
            cache.crop(-1)
    with pytest.raises(InputError, match="no longer attends to it"):
        model(ids[:, :1], cache=cache)
    with pytest.raises(InputError, match=r"budget=12 .* need 48 tokens|need 48 tokens"):
        generate(model, {"input_ids": ids}, partial(GraphKVCache, 12, window=4))
    assert model.config._attn_implementation == "sdpa"
    window = transformers.MistralConfig(
        vocab_size=11,
        hidden_size=8,
        intermediate_size=8,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=1,
        sliding_window=4,
    )
    with pytest.raises(UnsupportedError, match="sliding_window=4 of MistralAttention is not in the attention"):
        generate(transformers.MistralForCausalLM(window), {"input_ids": ids[:, :8] % 11}, KeyValueCache)


def test_without_transformers_one_sentence_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str):
        raise ModuleNotFoundError(name=name)

    monkeypatch.setattr(packages.importlib, "import_module", missing)
    with pytest.raises(InputError, match=r"attached needs the package transformers: pip install 'convnn\[caches\]'$"):
        attached(None, KeyValueCache)

"""Vision transformers whose tokens become fewer from block to block."""

from collections.abc import Iterator, Sequence
from math import isqrt
from reprlib import repr as shortened
from typing import Any

from torch import Tensor, nn

from convnn.errors import InputError, UnsupportedError, check_at_least, check_at_most, check_choice
from convnn.nn.registry import check_settings, keyword_defaults
from convnn.nn.tokens.reduce.attended import attend, attend_and_tell, is_dense, why_it_keeps_all
from convnn.nn.tokens.reduce.reducers import REDUCERS, Dropping, Propagation, Tokens
from convnn.words import counted

TIMMS = "timm.models.vision_transformer"


def reduce_tokens(
    model: nn.Module,
    reducer: str | Dropping = "gtp",
    *,
    keep: float = 0.5,
    num_prop: int | Sequence[int] | None = None,
    within: int | None = None,
    size: tuple[int, int] | None = None,
    **settings: Any,
) -> "ReducedBlocks":
    """Let tokens leave a vision transformer from block to block, in place.

    It needs no training, has no weights of its own, and leaves those of the transformer under their names. A token of
    a class, of a teacher, and registers stay. Of the layers of this library, attention whose neighbours do not depend
    on the places of tokens runs on those that are left.

    Args:
        model: a `ViT` of this library or of timm.
        reducer: "gtp" (`Propagation`): tokens that leave pass on their features to their neighbours; "mean"
            (`Averaging`): they are replaced by their mean; "drop" (`Dropping`): they are lost. Or one of these objects.
        keep: share of the patches that is left after the last block, above 0 and at most 1; as many leave in each
            block, as nearly as possible.
        num_prop: number of patches that leave in each block, or one number a block, in place of `keep`.
        within: number of first blocks in which they leave, so that the later ones are faster; None is all, as
            published.
        size: rows and columns of the patches; None is that of the model, or a square.
        settings: settings of the reducer by name: score, over_heads and sparsity, and for "gtp" graph, K, alpha and
            scales. Scales are on by default only where the attention of all blocks is dense.

    Returns:
        The blocks, which are in the model.

    Raises:
        InputError: an argument is unknown or out of range, or the model has no such blocks, or reduces tokens already;
            in forward: too few patches are left in a block.
        UnsupportedError: the attention of a block cannot lose tokens, or has no scales or sparsity; the message says
            why.

    Reference:
        Xu et al., "GTP-ViT: Efficient Vision Transformers via Graph-based Token Propagation", arXiv 2311.03035. "mean":
        Liang et al., "Not All Patches are What You Need", arXiv 2202.07800, with equal weights.

    Example:
        >>> import torch
        >>> from convnn.models import create_model
        >>> model = create_model("vit", num_layers=4, d_hidden=24)
        >>> blocks = reduce_tokens(model, "gtp", keep=0.25, K=4)
        >>> blocks.leaving(16), model.forward_features(torch.randn(2, 3, 64, 64)).shape
        ([3, 3, 3, 3], torch.Size([2, 5, 24]))
    """
    if not isinstance(model, nn.Module):
        raise InputError(f"model={shortened(model)} must be a torch.nn.Module")
    name, owner, blocks = _find(model)
    layers = {f"{name}.{i}": Halves(block).layer for i, block in enumerate(blocks)}
    if isinstance(reducer, str):
        reducer = _reducer(reducer, settings, all(map(is_dense, layers.values())))
    elif settings:
        raise InputError(f"{next(iter(settings))} is a setting of {reducer}, which is given; give it there")
    _check_layers(layers, reducer)
    _check_numbers(len(blocks), keep, num_prop, within)
    if getattr(owner, "grad_checkpointing", False):
        raise UnsupportedError("grad_checkpointing runs the blocks one by one, past the reducer; turn it off")
    if size is None and not getattr(owner, "dynamic_img_size", False):
        size = getattr(getattr(owner, "patch_embed", None), "grid_size", None)
    first: int = getattr(owner, "num_prefix_tokens", 0)
    if reducer.score == "class" and not first:
        raise InputError("score='class' needs a class token, which the model does not have; use score='image'")
    reduced = ReducedBlocks(blocks, reducer, first=first, size=size, keep=keep, num_prop=num_prop, within=within)
    model.set_submodule(name, reduced.train(blocks.training))
    return reduced


def _find(model: nn.Module) -> tuple[str, nn.Module, nn.Sequential]:
    """Return the name of the blocks of a vision transformer, the module that has them, and the blocks.

    Raises:
        InputError: there are none, several, or ours.
    """
    found = {
        name: module
        for name, module in model.named_modules()
        if name and isinstance(module, nn.Sequential) and len(module) and all(map(_is_block, module))
    }
    if len(found) != 1:
        raise InputError(
            f"model={type(model).__name__} has {counted(len(found), 'sequence')} of blocks of attention and MLP; tokens"
            " can leave those of a ViT of this library or of timm"
        )
    name, blocks = found.popitem()
    if isinstance(blocks, ReducedBlocks):
        raise InputError(f"the tokens of model={type(model).__name__} are reduced already; reduce those of a new model")
    return name, model.get_submodule(name.rpartition(".")[0]), blocks


def _is_block(module: nn.Module) -> bool:
    if type(module).__name__ != "Block":
        return False
    return type(module).__module__ == TIMMS or hasattr(module, "attention_norm")


def _reducer(name: str, settings: dict[str, Any], is_dense: bool) -> Dropping:
    """Return a reducer with its settings.

    Raises:
        InputError: the name or a setting is unknown, or a value is out of range.
    """
    check_choice("reducer", name, REDUCERS)
    kind = REDUCERS[name]
    check_settings(settings, keyword_defaults(kind))
    return kind(**({} if is_dense or kind is not Propagation else {"scales": False}) | settings)


def _check_layers(layers: dict[str, nn.Module], reducer: Dropping) -> None:
    """Refuse layers that cannot lose tokens, or lack what the reducer asks for.

    Raises:
        UnsupportedError: a layer is refused; the message names it and why.
    """
    for name, layer in layers.items():
        kind = type(layer).__name__
        if reason := why_it_keeps_all(layer):
            raise UnsupportedError(f"{kind} of {name} cannot lose tokens: {reason}")
        for setting, usual in (("scales", False), ("sparsity", 1)):
            value = getattr(reducer, setting, usual)
            if value != usual and not is_dense(layer):
                raise UnsupportedError(
                    f"{setting}={value} is for attention to all tokens, and {name} has {kind}; give {setting}={usual}"
                )


def _check_numbers(depth: int, keep: float, num_prop: int | Sequence[int] | None, within: int | None) -> None:
    if not 0 < keep <= 1:
        raise InputError(f"keep={keep} must be above 0 and at most 1, the share of the patches that is left")
    if within is not None:
        check_at_least("within", within, 1)
        check_at_most("within", within, depth)
    for number in num_prop if isinstance(num_prop, Sequence) else [num_prop or 0]:
        check_at_least("num_prop", number, 0)
    if isinstance(num_prop, Sequence) and len(num_prop) != depth:
        raise InputError(f"num_prop={num_prop} must have one number for each of the {counted(depth, 'block')}")


class ReducedBlocks(nn.Sequential):
    r"""Blocks of a vision transformer in which tokens leave between attention and MLP.

    .. math:: y = x + f(\operatorname{norm}(x)), \qquad y' = \text{reducer}(y), \qquad
        z = y' + \operatorname{MLP}(\operatorname{norm}(y'))

    The blocks and their weights are those of the transformer, under the same names.

    Args:
        blocks: blocks of this library's `ViT` or of timm's.
        reducer: who stays, and what the others pass on.
        first: number of tokens before the patches, which stay.
        size: rows and columns of the patches; None is a square.
        keep: share of the patches that is left after the last block.
        num_prop: number of patches that leave in each block, or one number a block, in place of `keep`.
        within: number of first blocks in which they leave; None is all.
    """

    def __init__(
        self,
        blocks: nn.Sequential,
        reducer: Dropping,
        *,
        first: int = 1,
        size: tuple[int, int] | None = None,
        keep: float = 0.5,
        num_prop: int | Sequence[int] | None = None,
        within: int | None = None,
    ) -> None:
        super().__init__(*blocks)
        self.reducer, self.first, self.size = reducer, first, size
        self.keep, self.num_prop, self.within = keep, num_prop, len(blocks) if within is None else within

    def forward(self, x: Tensor) -> Tensor:
        """Map tokens (B, T, D) to the tokens that are left.

        Raises:
            InputError: the patches are no map of the size, or too few.
        """
        for tokens in self.steps(x):
            x = tokens.x
        return x

    def steps(self, x: Tensor) -> Iterator[Tokens]:
        """Yield the tokens before the first block and after each.

        Raises:
            InputError: as in forward.
        """
        patches = x.shape[1] - self.first
        leaving = self.leaving(patches)
        tokens = self.reducer.start(x, self.first, self.size_of(patches))
        yield tokens
        for block, number in zip(self, leaving, strict=True):
            tokens = self._step(block, tokens, number)
            yield tokens

    def leaving(self, patches: int) -> list[int]:
        """Return how many patches leave in each block.

        Raises:
            InputError: too few are left in a block.
        """
        depth = len(self)
        if isinstance(self.num_prop, int):
            numbers = [self.num_prop] * self.within + [0] * (depth - self.within)
        elif self.num_prop is not None:
            numbers = list(self.num_prop)
        else:
            every, rest = divmod(patches - max(1, round(patches * self.keep)), self.within)
            numbers = [every + (i < rest) if i < self.within else 0 for i in range(depth)]
        left = patches
        for i, number in enumerate(numbers):
            if number >= left and number:
                raise InputError(
                    f"num_prop={self.num_prop} lets {number} patches leave in block {i}, which reads {left}; lower it"
                )
            left += -number + (self.reducer.adds if number else 0)
        return numbers

    def size_of(self, patches: int) -> tuple[int, int]:
        """Return rows and columns of a number of patches.

        Raises:
            InputError: they are not those of the size, or no square.
        """
        if self.size is not None:
            if self.size[0] * self.size[1] != patches:
                raise InputError(
                    f"size={self.size} must be rows and columns of the {counted(patches, 'patch', 'patches')}"
                )
            return self.size
        side = isqrt(patches)
        if side * side != patches and isinstance(self.reducer, Propagation):
            raise InputError(f"size=None is a square, which {counted(patches, 'patch', 'patches')} are not; give size")
        return side, side

    def _step(self, block: nn.Module, tokens: Tokens, leaving: int) -> Tokens:
        halves, tokens = Halves(block), tokens._replace(kept=None, leaving=None)
        log_scales = None if tokens.scales is None else tokens.scales.log()
        x = halves.norm(tokens.x)
        if not leaving and self.reducer.sparsity == 1:
            return tokens._replace(x=halves.mlp(tokens.x + halves.after(attend(halves.layer, x, log_scales))))
        y, attention = attend_and_tell(halves.layer, x, log_scales, self.reducer.sparsity)
        tokens = tokens._replace(x=tokens.x + halves.after(y))
        if leaving:
            tokens = self.reducer.reduce(tokens, *self.reducer.select(attention, tokens.first, leaving))
        return tokens._replace(x=halves.mlp(tokens.x))

    def extra_repr(self) -> str:
        """Return the reducer and how many tokens leave."""
        how_many = f"keep={self.keep}" if self.num_prop is None else f"num_prop={self.num_prop}"
        return f"{self.reducer}, {how_many}, within={self.within}"


class Halves:
    """The two halves of a block of this library's `ViT` or of timm's."""

    def __init__(self, block: Any) -> None:
        self.is_timms = hasattr(block, "norm1")
        self.block = block
        self.norm = block.norm1 if self.is_timms else block.attention_norm
        layer = block.attn if self.is_timms else block.attention
        self.layer = getattr(layer, "layer", layer)  # that of a `SelfAttention`, which stands in for another one's

    def after(self, y: Tensor) -> Tensor:
        """Return what the first half adds to its input, given its attention."""
        block = self.block
        return block.drop_path1(block.ls1(y)) if self.is_timms else block.dropout(y)

    def mlp(self, x: Tensor) -> Tensor:
        """Return the second half of x."""
        block = self.block
        if self.is_timms:
            return x + block.drop_path2(block.ls2(block.mlp(block.norm2(x))))
        return x + block.dropout(block.mlp(block.mlp_norm(x)))

"""LKCA: a kernel as large as the map in the place of attention."""

import torch

from claims._experiment import Outcome, is_above, spread
from claims._learn import accuracy, digits, fit
from convnn.models import create_model
from convnn.nn import LKCAttention
from convnn.train import summarize

SYSTEM = "LKCA of tokens"
CLAIM = (
    "One large kernel over the grid of tokens, which is attention with weights by offset, replaces self-attention in"
    " a vision transformer: no less accurate, with fewer parameters."
)
EXPERIMENT = (
    "A vision transformer of two blocks of width 48 with 3 heads on scikit-learn's digits, patches of 1 pixel, 200"
    " steps of 64 images: accuracy in percent, and parameters, with LKCAttention of 15 x 15, which relates all"
    " patches, and with self-attention. The code of LKCA is not public: projections and the class token, which"
    " receives the mean, are ours. Both views of the layer in float64: the matrix of attention, and the convolution."
)
SEEDS = (0, 1, 2)
SIZES = {"patch_size": 1, "num_layers": 2, "d_hidden": 48, "d_mlp": 96, "num_heads": 3, "in_channels": 1}


def measure(seeds: list[int], quick: bool) -> Outcome:
    steps, layers = 2 if quick else 200, ("LKCAttention", "Attention")
    images, labels, test_images, test_labels = digits()
    scores = {
        layer: [
            accuracy(fit(lambda layer=layer: made(layer), images, labels, seed=seed, steps=steps, lr=2e-3),
                     test_images, test_labels)
            for seed in seeds
        ]
        for layer in layers
    }  # fmt: skip
    counts = {layer: summarize(made(layer), (1, 8, 8)) for layer in layers}
    difference = views_differ_by()
    return Outcome(
        [
            ["layer", "accuracy, %", "parameters", "GFLOPs"],
            *(
                [layer, spread(scores[layer]), f"{counts[layer].parameters:,}", f"{counts[layer].gflops:.4f}"]
                for layer in layers
            ),
        ],
        {
            "both views agree to 1e-12": difference < 1e-12,
            "the accuracy is not below that of self-attention": not is_above(*reversed(list(scores.values()))),
            "it has fewer parameters": counts["LKCAttention"].parameters < counts["Attention"].parameters,
        },
    )


def made(layer: str):
    return create_model("vit", layer, kernel_size=15, **SIZES)


@torch.no_grad()
def views_differ_by() -> float:
    """Return the largest difference between the matrix of attention and the convolution."""
    operator = LKCAttention(12, 3, kernel_size=15).double().operator
    x = torch.randn(2, 12, 8, 8, dtype=torch.double)
    by_matrix = torch.einsum("hij,bhcj->bhci", operator.attention((8, 8)), x.flatten(2).unflatten(1, (3, 4)))
    return (by_matrix.flatten(1, 2) + operator.bias.unsqueeze(1) - operator(x).flatten(2)).abs().max().item()

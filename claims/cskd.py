"""CSKD: what a CNN sees at every place teaches the patches of a ViT."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from claims._experiment import Outcome, is_above, spread
from claims._learn import accuracy, digits, fit
from convnn.models import ViT
from convnn.nn import layer_factory
from convnn.objectives import CSKD, dense_responses

SYSTEM = "CSKD"
CLAIM = (
    "A CNN's answers at every place teach a ViT more than its answer for the image; first the places, then the whole."
)
EXPERIMENT = (
    "Digits: a CNN of three layers learns from 1,000 images and answers on a grid of 2 x 2; a ViT of two blocks on"
    " 4 x 4 patches has 300 of them and 30 epochs, with hard targets. Accuracy in percent on the test images."
)
SEEDS = (0, 1, 2)
IMAGE, PLACES = "the CNN's class of the image (DeiT)", "each place's, then the image's (CSKD)"
TAUGHT: dict[str, tuple[CSKD, int, float | None]] = {  # scheme, how many answers count, share of the places' own
    "labels": (CSKD(token="none"), 1, None),
    IMAGE: (CSKD(weight=0.0), 2, None),
    PLACES: (CSKD(), 3, None),
    "each place's throughout": (CSKD(), 3, 1.0),
}


def cnn() -> nn.Sequential:
    def layer(before: int, after: int, side: int) -> nn.Sequential:
        convolution = nn.Conv2d(before, after, side, padding=side // 2)
        return nn.Sequential(convolution, nn.BatchNorm2d(after), nn.ReLU(), nn.MaxPool2d(2))

    last = (nn.Conv2d(24, 48, 1), nn.BatchNorm2d(48), nn.ReLU())
    features = nn.Sequential(layer(1, 24, 3), layer(24, 24, 1), *last)
    return nn.Sequential(features, nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(48, 10)))


def measure(seeds: list[int], quick: bool) -> Outcome:
    runs = [scores_of(seed, (2, 1) if quick else (200, 30)) for seed in seeds]
    scores = {name: [run[name] for run in runs] for name in runs[0]}
    return Outcome(
        [["taught by", "accuracy, %"], *([name, spread(found)] for name, found in scores.items())],
        {f"{PLACES}, is above {name}": is_above(scores[PLACES], scores[name]) for name in TAUGHT if name != PLACES},
    )


def scores_of(seed: int, lengths: tuple[int, int]) -> dict[str, float]:
    images, labels, *test = digits()
    teacher = fit(cnn, images[:1000], labels[:1000], seed=seed, steps=lengths[0])
    with torch.no_grad():
        responses = dense_responses(teacher[0](images[:300]), teacher[1])
    found = {"the teacher itself": accuracy(teacher, *test)}
    for name, (scheme, answers, ratio) in TAUGHT.items():
        torch.manual_seed(seed)
        student = train(images[:300], labels[:300], responses, scheme, ratio, lengths[1])
        with torch.no_grad():
            image, token, patches = student.responses(student.forward_features(test[0]))
        answer = sum([image, token, patches.mean(1)][:answers])
        found[name] = 100 * (answer.argmax(1) == test[1]).double().mean().item()
    return found


def train(images: Tensor, labels: Tensor, responses: Tensor, scheme: CSKD, ratio: float | None, epochs: int) -> ViT:
    sizes = {"patch_size": 2, "num_layers": 2, "num_heads": 2, "d_hidden": 32, "d_mlp": 64, "dropout": 0.0}
    student = ViT(layer_factory("Attention", on="tokens"), in_channels=1, distillation_token=True, **sizes)
    optimizer = torch.optim.AdamW(student.parameters(), 2e-3)
    for epoch in range(epochs):
        share = scheme.ratio(epoch, epochs) if ratio is None else ratio
        for batch in torch.randperm(len(images)).split(50):
            image, token, patches = student.responses(student.forward_features(images[batch]))
            losses = scheme.losses(token, patches, responses[batch], share)
            optimizer.zero_grad()
            scheme.total(F.cross_entropy(image, labels[batch]), *losses).backward()
            optimizer.step()
    return student.eval()

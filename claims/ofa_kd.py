"""OFA-KD: a CNN teaches a network of another kind, through logits of every stage."""

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from claims._experiment import Outcome, is_above, spread
from claims._learn import accuracy, digits
from convnn.objectives import LayerOutputs, OFADistillation, logit_distillation

SYSTEM = "OFA-KD"
CLAIM = "Between networks of different kinds it teaches more than distillation of the last logits alone."
EXPERIMENT = (
    "Digits, moved by up to a pixel in training: a CNN of three layers learns from 1,000 images for 10 epochs, and"
    " teaches an MLP of three, which has 150 of them and 80 epochs. Accuracy in percent on the test images."
)
SEEDS = (0, 1, 2, 3, 4)
EXPONENTS = {"labels alone": None, "last logits": None, "OFA, exponent 1": 1.0, "OFA, exponent 1.5": 1.5}
STAGES = {"1": 64, "2": 48, "3": 48}


def cnn() -> nn.Sequential:
    def layer(before: int, after: int) -> nn.Sequential:
        return nn.Sequential(nn.Conv2d(before, after, 3, padding=1), nn.BatchNorm2d(after), nn.ReLU())

    head = (nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(48, 10))
    return nn.Sequential(layer(1, 24), layer(24, 24), nn.MaxPool2d(2), layer(24, 48), *head)


def mlp() -> nn.Sequential:
    stages = (nn.Sequential(nn.Linear(*widths), nn.ReLU()) for widths in pairwise((64, *STAGES.values())))
    return nn.Sequential(nn.Flatten(), *stages, nn.Linear(48, 10))


def measure(seeds: list[int], quick: bool) -> Outcome:
    runs = [scores_of(seed, (1, 1) if quick else (10, 80)) for seed in seeds]
    scores = {name: [run[name] for run in runs] for name in runs[0]}
    best, *others = reversed(EXPONENTS)
    return Outcome(
        [["taught by", "accuracy, %"], *([name, spread(found)] for name, found in scores.items())],
        {f"{best} is above: {name}": is_above(scores[best], scores[name]) for name in others},
    )


def scores_of(seed: int, epochs: tuple[int, int]) -> dict[str, float]:
    images, labels, *test = digits()
    torch.manual_seed(seed)
    teacher = train(cnn(), images[:1000], labels[:1000], epochs[0])
    found = {"the teacher": accuracy(teacher, *test)}
    for name, exponent in EXPONENTS.items():
        torch.manual_seed(seed)
        few = (images[:150], labels[:150], epochs[1])
        found[name] = accuracy(train(mlp(), *few, None if name == "labels alone" else teacher, exponent), *test)
    return found


def train(student: nn.Module, images: Tensor, labels: Tensor, epochs: int, teacher=None, exponent=None) -> nn.Module:
    stages = STAGES if exponent else {}
    heads = {
        stage: nn.Sequential(nn.Linear(width, 48), nn.ReLU(), nn.Linear(48, 10)) for stage, width in stages.items()
    }
    outputs, scheme = LayerOutputs(student, list(heads)), OFADistillation(heads, exponents=[exponent or 1.0])
    optimizer = torch.optim.AdamW([*student.parameters(), *scheme.parameters()], 3e-3)
    for _ in range(epochs):
        for batch in torch.randperm(len(images)).split(50):
            x, y = images[batch].roll(torch.randint(-1, 2, (2,)).tolist(), (2, 3)), labels[batch]
            logits = student(x)
            losses = [F.cross_entropy(logits, y)]
            if teacher is not None:
                wanted = teacher(x).detach()
                losses += (
                    scheme(logits, outputs.take(), wanted, y) if exponent else [logit_distillation(logits, wanted)]
                )
            optimizer.zero_grad()
            sum(losses).backward()
            optimizer.step()
    return student.eval()

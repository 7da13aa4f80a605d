"""GKEDM: attention over the neighbours, and a large network that teaches a small one by it."""

import copy

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from claims._experiment import Outcome, is_above, spread
from claims._nodes import descend, geometric, random_graph, watching
from convnn.nn.graphs import GKEDM
from convnn.objectives import attention_distillation, distilled_cross_entropy

SYSTEM = "GKEDM: attention that enhances and teaches"
CLAIM = "Attention in place of the classifier helps a small graph network, and a large one's attention teaches it more."
EXPERIMENT = (
    "400 nodes of four classes, edges of probability 0.03 within and 0.008 between them, 16 noisy features; 60 nodes"
    " to train and 100 to choose the step by. Accuracy in percent on 240 nodes of two GCN layers, 64 channels for the"
    " teacher and 4 for the student, after 120 steps, and 120 more with four heads of attention."
)
SEEDS = (0, 1, 2, 3, 4)
NODES, CLASSES = 400, 4


class Network(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.first, self.second = geometric.GCNConv(16, width), geometric.GCNConv(width, width)
        self.head = nn.Linear(width, CLASSES)

    def features(self, x: Tensor, edges: Tensor) -> Tensor:
        return F.relu(self.second(F.relu(self.first(x, edges)), edges))

    def forward(self, x: Tensor, edges: Tensor) -> Tensor:
        of_head = (edges,) if isinstance(self.head, GKEDM) else ()
        return self.head(self.features(x, edges), *of_head)


def measure(seeds: list[int], quick: bool) -> Outcome:
    runs = [scores_of(seed, 2 if quick else 120) for seed in seeds]
    scores = {name: [run[name] for run in runs] for name in runs[0]}
    return Outcome(
        [["network", "accuracy, %"], *([name, spread(found)] for name, found in scores.items())],
        {
            "attention helps the student": is_above(scores["student, attention"], scores["student, more steps"]),
            "the teacher's helps it more": is_above(scores["student, taught by 1.0"], scores["student, attention"]),
            "attention helps the teacher": is_above(scores["teacher, attention"], scores["teacher"]),
        },
    )


def scores_of(seed: int, steps: int) -> dict[str, float]:
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(CLASSES, (NODES,), generator=generator)
    edges = random_graph(torch.where(labels == labels.unsqueeze(1), 0.03, 0.008), generator)
    centres = torch.randn(CLASSES, 16, generator=generator)
    x = centres[labels] + 2.5 * torch.randn(NODES, 16, generator=generator)
    train, valid, test = (torch.arange(3) == torch.tensor([0] * 60 + [1] * 100 + [2] * 240).unsqueeze(1)).T

    def trained(network: nn.Module, attention=None, alpha: float = 0.0) -> float:
        def loss() -> Tensor:
            if attention is None:
                return F.cross_entropy(network(x, edges)[train], labels[train])
            logits, _, *own = network.head.enhance(network.features(x, edges), edges)
            distance = attention_distillation(attention, tuple(own), NODES)
            return distilled_cross_entropy(logits, labels, train, distance, alpha=alpha)

        watch = watching(lambda: network(x, edges), labels, valid, test)
        return descend(network, loss, steps=steps, lr=0.01, weight_decay=5e-4, watch=watch)

    torch.manual_seed(seed)
    teacher, student = Network(64), Network(4)
    found = {"teacher": trained(teacher), "student": trained(student)}
    found["student, more steps"] = trained(copy.deepcopy(student))
    teacher.head, student.head = (GKEDM(width, CLASSES, heads=4, head_channels=8) for width in (64, 4))
    found["teacher, attention"] = trained(teacher)
    attention = teacher.head.enhance(teacher.features(x, edges), edges)[2:]
    found["student, attention"] = trained(copy.deepcopy(student))
    by = {f"student, taught by {alpha}": trained(copy.deepcopy(student), attention, alpha) for alpha in (0.1, 1.0)}
    return found | by

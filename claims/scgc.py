"""SCGC: a perceptron clusters the nodes of a graph that only its loss sees."""

import torch
from sklearn.cluster import KMeans
from sklearn.datasets import load_digits
from sklearn.metrics import normalized_mutual_info_score
from torch import Tensor
from torch.nn import functional as F

from claims._experiment import Outcome, is_above, spread
from claims._graphs import block_model
from claims._named_graphs import citations
from convnn.graphs import knn_graph
from convnn.objectives.contrastive import SCGC, Autoencoder

SYSTEM = "SCGC"
CLAIM = "A perceptron takes the graph in through its loss, and clusters better than an autoencoder of the features."
EXPERIMENT = (
    "300 nodes in four blocks, edges of probability 0.06 within and 0.006 between, 30 noisy features; and 600 of"
    " scikit-learn's digits with their five nearest. An autoencoder F-64-64-10 of 300 steps, then its encoder for 150"
    " steps on SCGC* (alpha 1, beta 0.1, tau 1, the second power of the graph, or the sum of three). CiteSeer, with the"
    " published alpha 1, beta 0.1, tau 0.25 and the first power, takes 100 and 50 steps. Normalised mutual information"
    " with the classes, in percent, of k-means and of the soft labels after the last step, which no label chooses."
)
SEEDS = (0, 1, 2)
FIRST = {"first power": {"order": 1, "cumulative": False, "tau": 0.25}}
TWO = {"second power": {"order": 2, "cumulative": False}, "sum of three": {"order": 3, "cumulative": True}}
SETS = {
    "blocks": (lambda seed: blocks(seed), TWO, (300, 150)),
    "digits": (lambda _: digits(), TWO, (300, 150)),
    "CiteSeer": (lambda _: citations("CiteSeer", scaled=False), FIRST, (100, 50)),
}


def measure(seeds: list[int], quick: bool) -> Outcome:
    rows, checks = [], {}
    for name in ("blocks", "digits") if quick else SETS:
        data, forms, steps = SETS[name]
        runs = [scores_of(*data(seed), forms, seed, (3, 3) if quick else steps) for seed in seeds]
        of = {key: [run[key] for run in runs] for key in runs[0]}
        rows += [[name, key, spread(values)] for key, values in of.items()]
        best, soft = (of[f"{next(iter(forms))}, {way}"] for way in ("k-means", "soft labels"))
        others = [of["features, k-means"], of["autoencoder, k-means"]]
        checks[f"{name}: above features and autoencoder"] = all(is_above(best, other) for other in others)
        worse = [after - before for before, after in zip(best, soft, strict=True)]
        checks[f"{name}: the soft labels are as good, to 5 %"] = min(worse) > -5
    return Outcome([["data", "of", "mutual information, %"], *rows], checks)


def blocks(seed: int) -> tuple[Tensor, Tensor, Tensor]:
    return block_model(300, 4, 0.06, 0.006, features=30, noise=3.0, known=1, seed=seed)[:3]


def digits() -> tuple[Tensor, Tensor, Tensor]:
    pixels, labels = (torch.from_numpy(part[:600]) for part in load_digits(return_X_y=True))
    x = (pixels / 16).float()
    return x, knn_graph(x, 5), labels


def scores_of(x: Tensor, edges: Tensor, labels: Tensor, forms: dict, seed: int, steps: tuple) -> dict[str, float]:
    classes = len(labels.unique())

    def mutual(clusters: Tensor) -> float:
        return 100 * normalized_mutual_info_score(labels, clusters)

    def by_k_means(rows: Tensor) -> float:
        return mutual(KMeans(classes, n_init=10, random_state=seed).fit_predict(rows))

    found = {"features, k-means": by_k_means(x)}
    torch.manual_seed(seed)
    network, given = Autoencoder(x.shape[1], (64, 64)), {"alpha": 1.0, "beta": 0.1, "seed": seed}
    started = SCGC(classes, network, epochs=0, pretraining=steps[0], order=1, **given).fit(x, edges)
    found["autoencoder, k-means"] = by_k_means(started.embedding_)
    weights = {key: value.clone() for key, value in network.state_dict().items()}
    for name, form in forms.items():
        network.load_state_dict(weights)
        model = SCGC(classes, network, epochs=steps[1], pretraining=0, **given, **form).fit(x, edges)
        found[f"{name}, k-means"] = by_k_means(F.normalize(model.embedding_, dim=1))
        found[f"{name}, soft labels"] = mutual(model.labels_)
    return found

"""Tasks that come one after another: a kernel machine of each, on samples that a generator replays."""

import copy
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from sklearn.base import ClassifierMixin
from sklearn.utils import check_random_state
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, validate_data
from torch import Tensor, nn
from torch.nn import functional as F

from convnn.errors import InputError, check_at_least, check_not_negative, check_positive
from convnn.learners.base import FLOATS, KernelLearner
from convnn.learners.kernels import Kernel, Kernelish, RadialKernel
from convnn.learners.products import KernelMatrix, Product
from convnn.objectives.contrastive import supervised_contrast
from convnn.ops.ridge import kernel_ridge


class ReplayLoss(NamedTuple):
    """The loss of a generator on a batch, and its three terms before they are weighted."""

    loss: Tensor
    reconstruction: Tensor
    kl: Tensor
    contrastive: Tensor


class ConditionalVAE(nn.Module):
    r"""A variational autoencoder whose classes have places of their own: one Gaussian each, which is learned.

    .. math:: z = m(x) + e^{s(x) / 2} \epsilon, \qquad \hat x = d(z, y), \qquad
        p(z \mid y) = N(\mu_y, \operatorname{diag} e^{v_y})

    Encoder (m, s) and decoder have one hidden layer of ReLU each; the decoder takes the class as one-hot numbers.

    Args:
        features: width p of x.
        latent_dim: width d of z.
        hidden: width of the hidden layers.
        classes: C.
    """

    def __init__(self, features: int, latent_dim: int, hidden: int, classes: int) -> None:
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(features, hidden), nn.ReLU(), nn.Linear(hidden, 2 * latent_dim))
        self.decoder = nn.Sequential(nn.Linear(latent_dim + classes, hidden), nn.ReLU(), nn.Linear(hidden, features))
        self.prior_mean = nn.Parameter(2 * torch.randn(classes, latent_dim))
        self.prior_logvar = nn.Parameter(torch.zeros(classes, latent_dim))

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return mean and log-variance (N, d) of z for x (N, p)."""
        mean, logvar = self.encoder(x).chunk(2, 1)
        return mean, logvar

    def decode(self, z: Tensor, y: Tensor) -> Tensor:
        """Return x (N, p) of z (N, d) and classes (N,)."""
        return self.decoder(torch.cat([z, F.one_hot(y, self.prior_mean.shape[0]).to(z.dtype)], 1))

    def sample(self, y: Tensor, noise: Tensor) -> Tensor:
        """Return samples (N, p) of classes (N,), made of normal numbers (N, d)."""
        return self.decode(self.prior_mean[y] + (self.prior_logvar[y] / 2).exp() * noise, y)

    def loss(
        self, x: Tensor, y: Tensor, noise: Tensor, beta: float = 1.0, contrast: float = 1.0, temperature: float = 0.3
    ) -> ReplayLoss:
        r"""Return the loss of a batch: reconstruction, plus beta times divergence, plus a multiple of the contrast.

        .. math:: \frac{1}{2N} \sum_i |x_i - \hat x_i|^2 + \frac{\beta}{N} \sum_i
            \mathrm{KL}\big(N(m_i, e^{s_i}) \,\|\, p(z \mid y_i)\big) + \gamma\, \mathrm{contrast}(m, y)

        Args:
            x: (N, p).
            y: (N,) int64.
            noise: epsilon (N, d).
            beta: weight of the divergence.
            contrast: gamma, weight of `supervised_contrast`.
            temperature: of the contrast.
        """
        mean, logvar = self.encode(x)
        guess = self.decode(mean + (logvar / 2).exp() * noise, y)
        reconstruction = (x - guess).square().sum() / (2 * x.shape[0])
        center, wide = self.prior_mean[y], self.prior_logvar[y]
        each = wide - logvar + (logvar.exp() + (mean - center).square()) / wide.exp() - 1
        kl = each.sum() / (2 * x.shape[0])
        contrastive = supervised_contrast(mean, y, temperature=temperature)
        return ReplayLoss(reconstruction + beta * kl + contrast * contrastive, reconstruction, kl, contrastive)


class ReplayedMachine:
    """Kernel ridge regression of one-hot classes on samples that a generator draws of them, between encoder means.

    Args:
        generator: what draws, and encodes.
        kernel: between encoder means.
        classes: (c,) the classes, in the order of the columns.
        noise: (c n, d) normal numbers, n of each class in turn.
        ridge: lambda.
        product: how to multiply by the kernel matrix of new points.

    Attributes:
        samples: (c n, p).
        anchors: their encoder means (c n, d).
        alpha: coefficients (c n, c).
    """

    def __init__(
        self, generator: ConditionalVAE, kernel: Kernel, classes: Tensor, noise: Tensor, ridge: float, product: Product
    ) -> None:
        self.generator, self.kernel, self.product = generator, kernel, product
        y = classes.repeat_interleave(noise.shape[0] // classes.shape[0])
        with torch.no_grad():
            self.samples = generator.sample(y, noise)
            self.anchors = generator.encode(self.samples)[0].double()
            targets = (y.unsqueeze(1) == classes).to(self.anchors)
            self.alpha = kernel_ridge(kernel.block(self.anchors, self.anchors), targets, ridge)

    @torch.no_grad()
    def __call__(self, x: Tensor) -> Tensor:
        """Return the scores (N, c) of points (N, p)."""
        means = self.generator.encode(x)[0].double()
        return (KernelMatrix(self.kernel, means, self.anchors, self.product) @ self.alpha).to(x)


class GenerativeKernelContinual(ClassifierMixin, KernelLearner):
    r"""Learn tasks with classes of their own one after another, and keep no data: a generator replays them.

    Each task trains a `ConditionalVAE` on its data and on samples of earlier classes, which the generator as it was
    before draws. The classifier of a task, or of all, is kernel ridge regression on samples that the generator of today
    draws of its classes, between encoder means, and is not trained. Features should lie between 0 and 1, or near:

    .. math:: f(x) = k(m(x), m(\tilde X))\, (k(m(\tilde X), m(\tilde X)) + \lambda I)^{-1}\, T

    `fit` learns one task from the start, as any classifier does. Random numbers are drawn in this order: the weights of
    the generator; for each step the rows of the batch, the classes of the replayed samples, their noise and that of the
    batch; after a task the noise of its classifier, which is kept, so that predictions repeat.

    Args:
        latent_dim: d, width of the encoder means, at least 1.
        hidden: width of the hidden layers, at least 1.
        classes: all classes of all tasks, or their number C for 0 to C - 1; None is those of `fit`.
        kernel: see `KernelLearner`, of encoder means; "linear" has no intercept, and finds classes by direction.
        gamma: see `KernelLearner`.
        ridge: :math:`\lambda`, positive; at least 0 for kernels of the distance.
        per_class: samples of each class in a classifier, at least 1.
        beta: weight of the divergence, at least 0.
        contrast: weight of `convnn.objectives.contrastive.supervised_contrast`, at least 0.
        temperature: of the contrast, positive.
        steps: of Adam for each task, at least 1.
        batch_size: rows of the task in each step, at least 1.
        replay: samples of earlier classes in each step, for each earlier task; 0 forgets them.
        lr: learning rate, positive.
        product: how to multiply by kernel matrices; None is `Chunked()`.
        device: where to compute; None is the processor.
        random_state: seed or generator.
        verbose: whether to print the loss after each task.

    Attributes:
        classes_: the classes learned until now, in the order of their tasks, sorted within each.
        tasks_: for each task, its classes, sorted.
        generator_: the `ConditionalVAE`.
        loss_curve_: the loss of each step.
        n_iter_: steps taken.

    Raises:
        InputError: a setting is out of range, the kernel is precomputed, a class is not one of `classes`, or it has
            been learned in an earlier task, or features are so large that the loss is not finite; in `predict`, there
            is no such task. What was learned before stays.

    Reference:
        Derakhshani, Zhen, Shao and Snoek, "Generative kernel continual learning", arXiv 2112.13410. There is no public
        code; the prior has one Gaussian a class, and the networks one hidden layer, the simplest form.
    """

    classes_: np.ndarray
    tasks_: list[np.ndarray]
    generator_: ConditionalVAE
    loss_curve_: list[float]
    n_iter_: int

    def __init__(
        self,
        latent_dim: int = 10,
        hidden: int = 64,
        classes: int | Sequence[Any] | None = None,
        *,
        kernel: Kernelish = "linear",
        gamma: float | None = None,
        ridge: float = 0.1,
        per_class: int = 20,
        beta: float = 0.3,
        contrast: float = 1.0,
        temperature: float = 0.3,
        steps: int = 150,
        batch_size: int = 32,
        replay: int = 16,
        lr: float = 3e-3,
        product: Product | None = None,
        device: str | None = None,
        random_state: Any = None,
        verbose: bool | int = False,
    ) -> None:
        self.latent_dim = latent_dim
        self.hidden = hidden
        self.classes = classes
        self.kernel = kernel
        self.gamma = gamma
        self.ridge = ridge
        self.per_class = per_class
        self.beta = beta
        self.contrast = contrast
        self.temperature = temperature
        self.steps = steps
        self.batch_size = batch_size
        self.replay = replay
        self.lr = lr
        self.product = product
        self.device = device
        self.random_state = random_state
        self.verbose = verbose

    def fit(self, X: Any, y: Any) -> "GenerativeKernelContinual":
        """Forget all tasks, and learn points (N, p) with labels (N,) as the first one."""
        points, labels = validate_data(self, X, y, dtype=list(FLOATS), ensure_min_samples=2)
        check_classification_targets(labels)
        self._start(self._tensor(points), labels, np.unique(labels) if self.classes is None else self._all_classes())
        return self._learn(self._tensor(points), labels)

    def fit_task(self, X: Any, y: Any) -> "GenerativeKernelContinual":
        """Learn points (N, p) with labels (N,) of classes that no earlier task had."""
        is_first = not self.__sklearn_is_fitted__()
        points, labels = validate_data(self, X, y, reset=is_first, dtype=list(FLOATS))
        check_classification_targets(labels)
        if is_first:
            if self.classes is None:
                raise InputError("classes=None must be all classes of all tasks, or their number, in fit_task")
            self._start(self._tensor(points), labels, self._all_classes())
        return self._learn(self._tensor(points), labels)

    def decision_function(self, X: Any, task: int | None = None) -> np.ndarray:
        """Return the scores (N, classes) of points (N, p); of two classes, those of the second minus the first (N,).

        Args:
            X: points.
            task: number of the task, from 0, whose classes may be; None is those of all tasks.
        """
        values, _ = self._scores(X, task)
        return values[:, 1] - values[:, 0] if values.shape[1] == 2 else values

    def predict(self, X: Any, task: int | None = None) -> np.ndarray:
        """Return the class (N,) of points (N, p), of those of a task, by number from 0, or of all tasks."""
        values, classes = self._scores(X, task)
        return classes[values.argmax(1)]

    def embed(self, X: Any) -> np.ndarray:
        """Return the encoder means (N, d) of points (N, p), between which the kernel is."""
        points = self._check_points(X, reset=False).to(self.generator_.prior_mean)
        with torch.no_grad():
            return self.generator_.encode(points)[0].cpu().numpy()

    def sample(self, y: Any, random_state: Any = None) -> np.ndarray:
        """Return what the generator of today draws (N, p) of classes (N,) that were learned."""
        check_is_fitted(self)
        wanted = np.atleast_1d(np.asarray(y))
        if unknown := set(wanted.tolist()) - set(self.classes_.tolist()):
            raise InputError(f"y has {min(unknown)!r}, which was not learned; only {self.classes_.tolist()} were")
        draws = np.random.RandomState() if random_state is None else check_random_state(random_state)
        numbers = self._numbers(wanted)
        with torch.no_grad():
            return self.generator_.sample(numbers, self._noise(draws, len(numbers))).cpu().numpy()

    def __sklearn_is_fitted__(self) -> bool:
        return bool(getattr(self, "tasks_", []))

    def _scores(self, X: Any, task: int | None) -> tuple[np.ndarray, np.ndarray]:
        """Return the scores (N, c) of points, and their classes (c,)."""
        points = self._check_points(X, reset=False).to(self.generator_.prior_mean)
        if task is not None and not (isinstance(task, int | np.integer) and 0 <= task < len(self.tasks_)):
            raise InputError(f"task={task!r} must be a number from 0 to {len(self.tasks_) - 1}, of a task learned")
        if task not in self._machines:
            chosen = slice(None) if task is None else slice(task, task + 1)
            classes, noise = np.concatenate(self.tasks_[chosen]), torch.cat(self._noises[chosen])
            self._machines[task] = ReplayedMachine(
                self.generator_, self.kernel_, self._numbers(classes), noise, self.ridge, self._product()
            )
        return self._machines[task](points).cpu().numpy(), self.classes_ if task is None else self.tasks_[task]

    def _start(self, points: Tensor, labels: np.ndarray, known: np.ndarray) -> None:
        """Make the generator, after checks."""
        _places(labels, known)
        self._product()
        for name in ("latent_dim", "hidden", "per_class", "steps", "batch_size"):
            check_at_least(name, getattr(self, name), 1)
        check_at_least("replay", self.replay, 0)
        for name in ("beta", "contrast"):
            check_not_negative(name, getattr(self, name))
        for name in ("temperature", "lr"):
            check_positive(name, getattr(self, name))
        if self._is_precomputed:
            raise InputError("kernel='precomputed' must be a kernel of points, for samples are drawn")
        self._set_kernel(self.latent_dim)
        check = check_not_negative if isinstance(self.kernel_, RadialKernel) else check_positive
        check("ridge", self.ridge)
        self._random = self._draws()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(int(self._random.randint(2**31)))
            generator = ConditionalVAE(points.shape[1], self.latent_dim, self.hidden, len(known))
        self._known, self.tasks_, self.loss_curve_, self.n_iter_ = known, [], [], 0
        self._noises: list[Tensor] = []
        self.generator_ = generator.to(points)

    def _learn(self, points: Tensor, labels: np.ndarray) -> "GenerativeKernelContinual":
        """Train a copy of the generator on a task, then take it."""
        numbers, new = self._numbers(labels), np.unique(labels)
        if twice := set(new.tolist()) & {label for task in self.tasks_ for label in task.tolist()}:
            raise InputError(f"y has {min(twice)!r}, a class of an earlier task; classes of a task must be new")
        generator, curve = self._trained(points.to(self.generator_.prior_mean), numbers)
        self._noises.append(self._noise(self._random, len(new) * self.per_class))
        self.tasks_.append(new)
        self.generator_, self.classes_ = generator, np.concatenate(self.tasks_)
        self.loss_curve_ += curve
        self.n_iter_ += self.steps
        self._machines: dict[int | None, ReplayedMachine] = {}
        self._report(f"task {len(self.tasks_) - 1}: loss {curve[-1]:.4f}")
        return self

    def _trained(self, points: Tensor, numbers: Tensor) -> tuple[ConditionalVAE, list[float]]:
        """Return the generator after the steps of a task, and their losses; the one before replays its classes."""
        old, generator = self.generator_, copy.deepcopy(self.generator_)
        earlier = self._numbers(np.concatenate(self.tasks_)) if self.tasks_ else numbers[:0]
        count = self.replay * len(self.tasks_)
        optimizer, curve = torch.optim.Adam(generator.parameters(), self.lr), []
        for step in range(self.steps):
            rows = self._integers(points.shape[0], self.batch_size)
            x, y = points[rows], numbers[rows]
            if count:
                again = earlier[self._integers(len(earlier), count)]
                with torch.no_grad():
                    x = torch.cat([x, old.sample(again, self._noise(self._random, count))])
                y = torch.cat([y, again])
            noise = self._noise(self._random, len(y))
            loss = generator.loss(x, y, noise, self.beta, self.contrast, self.temperature).loss
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            curve.append(loss.item())
            if not math.isfinite(curve[-1]):
                raise InputError(f"X makes the loss {curve[-1]} in step {step}; bring its features to between 0 and 1")
        return generator, curve

    def _integers(self, below: int, count: int) -> Tensor:
        return self._tensor(self._random.randint(below, size=count))

    def _noise(self, draws: np.random.RandomState, count: int) -> Tensor:
        """Return normal numbers (count, d)."""
        return self._tensor(draws.standard_normal((count, self.latent_dim))).to(self.generator_.prior_mean)

    def _all_classes(self) -> np.ndarray:
        """Return the classes of all tasks, sorted."""
        if isinstance(self.classes, int | np.integer):
            check_at_least("classes", int(self.classes), 1)
            return np.arange(self.classes)
        return np.unique(np.asarray(self.classes))

    def _numbers(self, labels: np.ndarray) -> Tensor:
        """Return the places (N,) of labels among all classes."""
        return self._tensor(_places(labels, self._known))


def _places(labels: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Return the places (N,) of labels among sorted classes."""
    if unknown := set(np.unique(labels).tolist()) - set(known.tolist()):
        raise InputError(f"y has {min(unknown)!r}, which is not one of the classes {known.tolist()}")
    return np.searchsorted(known, labels).astype(np.int64)

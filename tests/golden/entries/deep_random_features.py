"""Random features of several layers, a ridge on them, and their limit (arXiv 2404.17461)."""

from collections.abc import Callable, Mapping

import torch
from sklearn.kernel_ridge import KernelRidge
from sklearn.linear_model import Ridge
from torch import Tensor

from convnn.learners import MultiLayerRandomFeatures
from golden.case import Case
from golden.entry import Entry


def _features(case: Case) -> Callable[..., Mapping[str, Tensor]]:
    config = case.config
    widths, alpha, has_phase = config["widths"], config["alpha"], config["fourier_bias"]

    def run(x: Tensor, z: Tensor, y: Tensor) -> Mapping[str, Tensor]:
        ours = MultiLayerRandomFeatures(widths, config["activations"], config["sigma_w"], config["sigma_b"])
        ours.fit(x.numpy())
        if has_phase != any(name == "fourier" for name in config["activations"]):
            raise ValueError(f"fourier_bias={has_phase}")
        ours.weights_ = [case.tensors[f"weight.{layer}"].numpy() for layer in range(len(widths))]
        biases = [case.tensors.get(f"bias.{layer}") for layer in range(len(widths))]
        if [each is None for each in biases] != [each is None for each in ours.biases_]:
            raise ValueError("the file has biases where ours has none, or none where ours has")
        ours.biases_ = [None if each is None else each.numpy() for each in biases]
        features, others = ours.transform(x), ours.transform(z)
        ridge = Ridge(alpha, fit_intercept=False, solver="svd").fit(features.numpy(), y.numpy())
        K, K_others = ours.kernel_.block(x, x), ours.kernel_.block(z, x)
        limit = KernelRidge(alpha=alpha, kernel="precomputed").fit(K.numpy(), y.numpy())
        return {
            "features_x": features,
            "features_z": others,
            "coef": torch.from_numpy(ridge.coef_).view(y.shape[1], -1).T,
            "pred_z": torch.from_numpy(ridge.predict(others.numpy())).view(-1, y.shape[1]),
            "nngp_xx": K,
            "nngp_zx": K_others,
            "pred_nngp_z": torch.from_numpy(limit.predict(K_others.numpy())).view(-1, y.shape[1]),
        }

    return run


ENTRIES = {"mlrf": Entry(_features, ("x", "z", "y"))}
